"""How files are written: whole or not at all, whatever stands in the way; and what the cache does when it cannot."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from frugan import cache, claims, files
from frugan.cli._arguments import check_out
from frugan.engine.run import RunFolder
from frugan.owncode import CodeFile, _trust
from frugan.registry import UserError


def full(*given: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "picture.png"
    files.write(path, b"good")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space") as refused:
                files.write(path, b"bad")
        assert refused.value.filename == str(path)  # and not the temporary name

    def interrupted() -> None:
        with files.whole(path) as beside:
            assert beside.suffix == ".png"
            beside.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path.read_bytes(), names(path.parent)) == (b"good", ["picture.png"])


def test_files_of_a_folder_come_together_and_others_stay(tmp_path):
    out = tmp_path / "out"

    def interrupted() -> None:
        with files.folder(out) as beside:
            (beside / "a").write_text("half")
            full()

    with pytest.raises(OSError, match="No space") as refused:
        interrupted()
    assert refused.value.filename == str(out)
    assert names(tmp_path) == []
    for content in ("one", "two"):
        with files.folder(out) as beside:
            (beside / "a").write_text(content)
        (out / "mine").write_text("kept")
        assert (names(tmp_path), names(out), (out / "a").read_text()) == (["out"], ["a", "mine"], content)


def test_a_folder_in_a_folder_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "out"
    (out / "own").mkdir(parents=True)
    for name in ("a", "b"):
        with files.folder(out) as beside:
            (beside / "parts").mkdir()
            (beside / "parts" / name).write_text(name)
    assert (names(tmp_path), names(out), names(out / "parts")) == (["out"], ["own", "parts"], ["b"])


def mount_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be renamed to a mount point, nor into or out of it."""

    def refusing(usual: Callable[..., None]) -> Callable[..., None]:
        def move(one: Path, two: Path, **named: bool) -> None:
            if folder in (one, two):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(one))
            if one.is_relative_to(folder) != two.is_relative_to(folder):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(one))
            usual(one, two, **named)

        return move

    for name in ("rename", "replace", "link"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


@pytest.mark.parametrize("kind", ["plain", "link", "dangling link", "mount point"])
def test_a_folder_is_written_whatever_stands_for_it(kind, tmp_path, monkeypatch):
    out, real = tmp_path / "out", tmp_path / "elsewhere" / "real"
    if "link" in kind:
        out.symlink_to(real)
        if kind == "link":
            real.mkdir(parents=True)
    else:
        out.mkdir()
    if kind == "mount point":
        mount_point(out, monkeypatch)
    for content in ("one", "two"):
        with files.folder(out) as beside:
            (beside / "a").write_text(content)
            (beside / "parts").mkdir()
            (beside / "parts" / content).write_text(content)
        assert (names(out), (out / "a").read_text(), names(out / "parts")) == (["a", "parts"], content, [content])
    assert out.is_symlink() == ("link" in kind)
    assert names(tmp_path) == (["elsewhere", "out"] if "link" in kind else ["out"])


@pytest.mark.parametrize("second_names", [True, False])
def test_a_folder_that_cannot_be_filled_stays_as_it_was(second_names, tmp_path, monkeypatch):
    """But for a file that was replaced before that, where the file system has no second names: it is the new one."""
    out = tmp_path / "out"
    (out / "parts").mkdir(parents=True)
    for name in ("a", "parts/old", "z"):
        (out / name).write_text("old")
    usual = os.replace

    def replace(one, two):
        if Path(two) == out / "z":
            full()
        usual(one, two)

    monkeypatch.setattr(os, "replace", replace)
    if not second_names:
        monkeypatch.setattr(os, "link", full)

    def write() -> None:
        with files.folder(out) as beside:
            (beside / "parts").mkdir()
            for name in ("a", "b", "parts/new", "z"):
                (beside / name).write_text("new")

    with pytest.raises(OSError, match="No space") as refused:
        write()
    assert refused.value.filename == str(out)
    assert (names(out), names(out / "parts"), (out / "z").read_text()) == (["a", "parts", "z"], ["old"], "old")
    assert (out / "a").read_text() == ("old" if second_names else "new")


def test_a_folder_with_what_a_killed_program_left_is_as_good_as_empty(tmp_path):
    (tmp_path / f".tmp-{0:016x}").mkdir()
    assert files.is_empty(tmp_path)
    check_out(tmp_path, overwrite=False, endings=("",))
    (tmp_path / "mine").write_text("")
    assert not files.is_empty(tmp_path)
    with pytest.raises(UserError, match="--overwrite"):
        check_out(tmp_path, overwrite=False, endings=("",))


def test_what_killed_programs_left_is_removed_and_what_others_write_is_not(tmp_path):
    left, busy, folder, other = (tmp_path / f".tmp-{number:016x}" for number in range(4))
    new = tmp_path / f".tmp-{4:016x}"
    for path in (left, busy, other, new):
        path.write_text("half")
    (folder / "images").mkdir(parents=True)
    other.rename(tmp_path / ".tmp-mine")
    for path in (left, busy, folder):
        os.utime(path, (0, 0))
    with busy.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        files.write(tmp_path / "file", "whole")
    assert names(tmp_path) == sorted([busy.name, new.name, ".tmp-mine", "file"])


def test_a_line_that_was_cut_short_does_not_swallow_the_next_one(tmp_path):
    run = RunFolder(tmp_path)
    run.append(run.metrics, {"fid": 1})
    with run.metrics.open("a") as file:
        file.write('{"fid": 2')
    run.append(run.metrics, {"fid": 3})
    assert run.lines(run.metrics) == [{"fid": 1}, {"fid": 3}]


def test_links_in_somebodys_run_folder_reach_no_other_file(tmp_path):
    mine, run = tmp_path / "mine", RunFolder(tmp_path / "run")
    mine.write_text("precious")
    run.path.mkdir()
    for name in (".lock-1", "log.jsonl", "recipe.json.tmp", "recipe.json", ".recipe.json"):
        (run.path / name).symlink_to(mine)
    with pytest.raises(UserError, match="cannot be used as a run folder"), run.locked():
        pass
    with pytest.raises(OSError, match="symbolic links"):
        run.append(run.log, {"images": 1})
    run.write_json(run.recipe, {})
    assert mine.read_text() == "precious"
    assert not run.recipe.is_symlink()


@pytest.mark.parametrize("kind", ["moved", "replaced"])
def test_a_run_folder_that_is_gone_is_noticed(tmp_path, kind):
    run = RunFolder(tmp_path / "run")
    with run.locked():
        run.append(run.log, {"images": 1})
        assert run.moved_to() is None
        run.path.rename(tmp_path / "elsewhere")
        if kind == "replaced":
            with RunFolder(run.path).locked():
                pass
        for write in (lambda: run.append(run.log, {"images": 2}), lambda: run.write_json(run.facts, {})):
            with pytest.raises(FileNotFoundError, match="deleted or moved"):
                write()
        assert run.moved_to() == tmp_path / "elsewhere"


@pytest.mark.parametrize(("variables", "place"), [
    ({}, "HOME/.cache/frugan"), ({"XDG_CACHE_HOME": "XDG"}, "XDG/frugan"),
    ({"XDG_CACHE_HOME": "not/absolute"}, "HOME/.cache/frugan"),
    ({"XDG_CACHE_HOME": "XDG", "FRUGAN_CACHE": "~/mine"}, "HOME/mine"),
])  # fmt: skip
def test_the_cache_is_where_people_want_it(variables, place, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("FRUGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("XDG", str(tmp_path)))
    assert str(cache.cache_root()) == place.replace("HOME", str(Path.home())).replace("XDG", str(tmp_path))


def test_a_home_that_cannot_be_written_leaves_a_folder_for_temporary_files(tmp_path, monkeypatch, capsys):
    """As in containers without a home. A folder of that name that others may write, or made, is not trusted."""
    for name in ("FRUGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/homeless/me")
    monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cache.tempfile, "mkdtemp", lambda prefix: str(tmp_path / f"{prefix}own"))
    cache._elsewhere.cache_clear()
    mine = tmp_path / f"frugan-{os.getuid()}"
    assert cache.cache_root() == cache.cache_root() == mine
    assert mine.stat().st_mode & 0o077 == 0
    said = capsys.readouterr().err
    assert said.count("/homeless/me/.cache/frugan cannot be made") == 1
    assert "FRUGAN_CACHE" in said
    mine.chmod(0o777)
    cache._elsewhere.cache_clear()
    assert cache.cache_root() == tmp_path / "frugan-own"
    cache._elsewhere.cache_clear()


def test_a_home_that_cannot_be_looked_into_is_as_one_that_cannot_be_written(tmp_path, monkeypatch):
    """As in containers that run as another user than the one whose home it is."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("FRUGAN_CACHE", "XDG_CACHE_HOME", "FRUGAN_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    usual = os.stat

    def stat(path, *given, **named):
        if str(path).startswith(f"{home}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return usual(path, *given, **named)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: path != home)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    cache._elsewhere.cache_clear()
    assert cache.cache_root() == tmp_path / f"frugan-{os.getuid()}"
    cache._elsewhere.cache_clear()
    code = CodeFile(tmp_path / "own.py", "0" * 64, {})
    _trust.remember(code)
    assert not _trust.is_remembered(code.hash)


def test_a_cache_that_cannot_be_written_is_said_once_and_costs_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "_told", [])
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        cache.keep_json(tmp_path / "file" / "floor.json", {"fid": 1})
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1
    assert "File exists" in said
    assert "FRUGAN_CACHE" in said


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace("7.5", "7.4"), lambda text: "[]"])
def test_a_value_of_the_cache_that_has_changed_is_not_used(tmp_path, damage):
    path = tmp_path / "floor.json"
    cache.keep_json(path, {"fid": 7.5})
    assert cache.kept_json(path) == {"fid": 7.5}
    path.write_text(damage(path.read_text()))
    assert cache.kept_json(path) is None
    path.write_text(json.dumps({"fid": 7.5}))  # as earlier versions wrote it
    assert cache.kept_json(path) is None


@pytest.mark.parametrize("content", [b"{", b"\x90\x01", b"[" * 100_000, b"\xff\xfe"])
def test_a_damaged_json_file_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json is not valid JSON \("):
        files.read_json(path)


def test_a_missing_key_is_said_to_be_missing_in_its_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"format": 1, "data": {"train": {"name": "glyphs"}}}')
    facts = RunFolder(tmp_path).read_json(path)
    with pytest.raises(UserError, match=r"run\.json is damaged or of another version: it has no 'hash'"):
        facts["data"]["train"]["hash"]
    assert facts.get("shipped") is None
    assert facts["data"]["train"]["name"] == "glyphs"


def test_lines_that_are_no_objects_are_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"images": 1}\n3\n\xff\xfe\n[]\n{"images": 2}\n')
    assert RunFolder(tmp_path).lines(tmp_path / "log.jsonl") == [{"images": 1}, {"images": 2}]


def test_previews_are_pictures_of_a_full_name_and_others_stay(tmp_path):
    run = RunFolder(tmp_path)
    run.samples.mkdir()
    run.log.touch()
    ours = [run.samples / f"images-{images:012d}.png" for images in (100, 200, 300)]
    own = [run.samples / name for name in ("images-favourite.png", "images-000000000300 (copy).png")]
    for path in (*ours, *own):
        path.touch()
    assert run.previews() == [(100, ours[0]), (200, ours[1]), (300, ours[2])]
    run.rewind(200)
    assert [path.exists() for path in (*ours, *own)] == [True, True, False, True, True]


@pytest.mark.parametrize(("path", "said"), [
    ("~nosuchuser/x", "there is no user nosuchuser"), ("~/x", "this user has no home folder.*set HOME"),
])
def test_a_home_that_is_not_there_is_said(path, said, monkeypatch):
    def missing(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", missing)
    with pytest.raises(UserError, match=said):
        files.expanded(path)


def test_an_object_with_one_key_twice_is_no_json(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"batch_size": 8, "batch_size": 64}')
    with pytest.raises(UserError, match=r"recipe\.json is not valid JSON \('batch_size' stands in it twice\)"):
        files.read_json(path)


def test_who_waits_for_another_process_says_so(tmp_path, monkeypatch, capsys):
    held = claims.HeldError("another process (12 on here) holds it.")

    @contextlib.contextmanager
    def claimed(folder):
        if times.pop():
            raise held
        yield

    times = [False, True, True]
    monkeypatch.setattr(cache.claims, "claimed", claimed)
    monkeypatch.setattr(cache, "SILENT", -1.0)
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path))
    with cache.one_at_a_time(tmp_path / "net"):
        pass
    assert capsys.readouterr().err == f"Waiting for another process, which makes the same (net): {held}\n"
