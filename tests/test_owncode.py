"""A user's own files: hashed with what they import, run once, run anew after a change, and only if they are allowed."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from frugan import metrics, owncode
from frugan.owncode import changes, load, load_of, named_in
from frugan.registry import UserError

METRIC = """
from frugan import metrics
from frugan.metrics import Metric
{imports}

def compute(*, pixels):
    return {{"own": {value}}}

metrics.add("{name}", Metric("{name}", compute, ("pixels",), better="lower", headline="own", least=2))
"""


def write(path: Path, value: object, *, name: str = "own", imports: str = "") -> Path:
    """A file that adds a metric with a value of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(METRIC.format(name=name, value=value, imports=imports))
    return path


def value(name: str = "own") -> object:
    return metrics.find(name).compute(pixels=None)["own"]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -------------------------------------------------------------------------------------------------------------- running


def test_a_file_is_run_once_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("my.py"), 1)
    (first,) = load("my.py")
    found = metrics.find("own")
    assert load([tmp_path / "my.py", "./my.py"]) == (first,)
    assert load(None) == ()
    assert metrics.find("own") is found
    assert first.path == tmp_path / "my.py"
    assert first.hash == sha(first.path)
    assert first.beside == {}


def test_a_file_that_is_absent_or_fails_gets_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--code .*absent\.py: there is no such file\.$"):
        load(tmp_path / "absent.py")
    (tmp_path / "text.txt").write_text("hello\n")
    with pytest.raises(UserError, match=r"its name must end in \.py"):
        load(tmp_path / "text.txt")
    broken = write(tmp_path / "broken.py", 1)
    broken.write_text(broken.read_text() + "1 / 0\n")
    with pytest.raises(UserError, match=r"^--code .*broken\.py failed when it was run: ZeroDivisionError: "):
        load(broken)
    assert "broken" not in sys.modules
    assert "own" not in metrics.names()
    broken.write_text("raise SystemExit(0)\n")  # which would end the program as if all had gone well
    with pytest.raises(UserError, match=r"failed when it was run: SystemExit"):
        load(broken)
    broken.write_text("this is no Python\n")
    with pytest.raises(UserError, match=r"failed when it was run: SyntaxError: .*broken\.py, line 1"):
        load(broken)


def test_a_changed_file_is_run_anew_and_what_it_had_added_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "my.py", 1)
    (before,) = load(path)
    # As long as before, and within the same second: no compiled file may be taken for the new text.
    write(path, 2)
    (after,) = load(path)
    assert value() == 2
    assert before.hash != after.hash
    assert capsys.readouterr().err == f"frugan: {path} has changed since it was run here; it is run again.\n"
    write(path, 3, name="other")
    load(path)
    assert value("other") == 3
    assert "own" not in metrics.names()
    path.write_text("1 / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load(path)
    assert "other" not in metrics.names()
    write(path, 4)
    load(path)
    assert value() == 4
    owncode.forget()
    assert "own" not in metrics.names()
    assert "my" not in sys.modules


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a" / "my.py", 1, name="one"), write(tmp_path / "b" / "my.py", 2, name="two")
    assert [one.path for one in load([first, second])] == [first, second]
    assert (value("one"), value("two")) == (1, 2)
    write(first, 3, name="one")
    load([first, second])
    assert (value("one"), value("two")) == (3, 2)


def test_two_files_that_add_one_name_are_both_told(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.py", 1), write(tmp_path / "b.py", 2)
    with pytest.raises(UserError, match=r"metric 'own' was added twice, by .*a\.py and by .*b\.py\. Give one"):
        load([first, second])
    assert value() == 1


# -------------------------------------------------------------------------------------------------- files beside a file


def test_files_beside_a_file_are_imported_and_count(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("from pieces.inner import ONE\nVALUE = ONE + 1\n")
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / "inner.py").write_text("ONE = 1\n")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "__init__.py").write_text("from .part import PART\n")
    (tmp_path / "whole" / "part.py").write_text("PART = 10\n")
    (tmp_path / "later.py").write_text("LATER = 100\n")
    (tmp_path / "unused.py").write_text("1 / 0\n")
    path = write(
        tmp_path / "my.py", "helper.VALUE + whole.PART + late()",
        imports="import helper, whole\nimport json\n\ndef late():\n    import later\n    return later.LATER\n",
    )
    (code,) = load(path)
    assert value() == 112
    beside = ["helper.py", "later.py", "pieces/inner.py", "whole/__init__.py", "whole/part.py"]
    assert {name: sha(tmp_path / name) for name in beside} == code.beside
    assert list(code.beside) == beside
    listed = "\n".join([sha(path), *(f"{sha(tmp_path / name)}  {name}" for name in beside)])
    assert code.hash == hashlib.sha256(listed.encode()).hexdigest()

    (tmp_path / "unused.py").write_text("2 / 0\n")
    assert load(path)[0].hash == code.hash
    for name in beside:
        old = (tmp_path / name).read_text()
        (tmp_path / name).write_text(old.replace("= 1", "= 2") + "# changed\n")
        (now,) = load(path)
        assert now.hash != code.hash
        assert [key for key in beside if now.beside[key] != code.beside[key]] == [name]
        if "= 1" in old:
            assert value() != 112
        (tmp_path / name).write_text(old)
        load(path)
        assert value() == 112


def test_files_beside_each_other_may_import_each_other_in_any_order(tmp_path: Path) -> None:
    for order in (["blocks.py", "net.py"], ["net.py", "blocks.py"]):
        folder = tmp_path / order[0].partition(".")[0]
        write(folder / "blocks.py", 1, name="blocks")
        write(folder / "net.py", "blocks.compute(pixels=None)['own'] + 1", name="net", imports="import blocks")
        load([folder / name for name in order])
        assert (value("blocks"), value("net")) == (1, 2)
        write(folder / "blocks.py", 5, name="blocks")
        load([folder / name for name in order])
        assert (value("blocks"), value("net")) == (5, 6)
        owncode.forget()


def test_what_was_hashed_is_what_runs_even_if_the_file_changes_in_between(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text("LATER = 1\n")
    path = write(tmp_path / "my.py", "late()", imports="def late():\n    import later\n    return later.LATER\n")
    load(path)
    (tmp_path / "later.py").write_text("LATER = 2\n")
    assert value() == 1
    load(path)
    assert value() == 2


def test_a_module_of_the_same_name_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text("VALUE = 1\n")
    load(write(tmp_path / "a" / "one.py", 1, name="one", imports="import helper"))
    other = write(tmp_path / "b" / "two.py", 1, name="two", imports="import helper")
    with pytest.raises(UserError, match=r"b/helper\.py, but in Python 'helper' already means .*a/helper\.py"):
        load(other)
    owncode.forget()
    load(other)
    # Nor does an installed package give way, or is taken for the file.
    monkeypatch.syspath_prepend(str(tmp_path / "a"))
    owncode.forget()
    with pytest.raises(UserError, match=r"b/helper\.py, but in Python 'helper' already means .*a/helper\.py"):
        load(other)
    # Names of Python's own modules always mean those.
    (tmp_path / "b" / "statistics.py").write_text("1 / 0\n")
    assert load(write(tmp_path / "b" / "three.py", 1, imports="import statistics"))[0].beside == {}


def test_what_a_notebook_imported_before_is_not_taken_for_what_is_named_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    path = write(tmp_path / "my.py", "helper.VALUE", imports="import helper")
    importlib.import_module("my")
    assert value() == 1
    assert metrics.registry.origin("own").name == str(path)
    (tmp_path / "helper.py").write_text("VALUE = 22\n")
    (code,) = load(path)
    assert value() == 22
    assert metrics.registry.origin("own").hash == code.hash


def test_a_file_imported_by_a_name_that_is_put_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    imports = "import importlib\nhelper = importlib.import_module({})"
    path = write(tmp_path / "my.py", "helper.VALUE", imports=imports.format("'hel' + 'per'"))
    with pytest.raises(UserError, match=r"it computes, .* Write in my\.py: imp"):
        load(path)
    sys.modules.pop("helper")
    (code,) = load(write(path, "helper.VALUE", imports=imports.format("'helper'")))
    assert list(code.beside) == ["helper.py"]


# ------------------------------------------------------------------------------------------------- origins of variants


def test_every_variant_tells_where_it_comes_from(tmp_path: Path) -> None:
    (code,) = load(write(tmp_path / "my.py", 1))
    assert metrics.registry.origin("own") == (str(tmp_path / "my.py"), code.hash, False)
    assert metrics.registry.origin("own").short == code.hash[:16]
    assert metrics.registry.origin("fid") is None


def test_a_cell_of_a_notebook_may_be_run_again_and_tells_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.registry, "_added", {})

    def cell(value: int, name: str) -> None:
        import linecache

        text = METRIC.format(name="own", value=value, imports="")
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), {"__name__": "__main__"})

    cell(1, "<cell 1>")
    first = metrics.registry.origin("own")
    cell(1, "<cell 2>")
    assert metrics.registry.origin("own").hash == first.hash
    cell(2, "<cell 3>")
    assert value() == 2
    assert metrics.registry.origin("own").hash != first.hash


# ---------------------------------------------------------------------------------------------------------------- trust


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that names ``my.py`` and ``helper.py``, none of which this user has ever run here."""
    monkeypatch.setenv("FRUGAN_CONFIG", str(tmp_path / "theirs"))
    (tmp_path / "helper.py").write_text("VALUE = 7\n")
    path = write(tmp_path / "my.py", "helper.VALUE", imports="import helper")
    code = load(path)
    owncode.forget()
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"format": 1, "code": [one.as_dict() for one in code]}))
    monkeypatch.setenv("FRUGAN_CONFIG", str(tmp_path / "mine"))
    return run


def test_code_of_a_stranger_is_named_and_runs_only_if_it_is_allowed(stranger: Path) -> None:
    path = stranger.parent / "my.py"
    for _ in range(2):
        with pytest.raises(UserError) as error:
            load_of(stranger)
        assert str(path) in str(error.value)
        assert "helper.py" in str(error.value)
        assert named_in(stranger)[0].hash in str(error.value)
        assert "--trust-code" in str(error.value)
        assert "own" not in metrics.names()
    (code,) = load_of(stranger, trust_code=True)
    assert code.hash == named_in(stranger)[0].hash
    assert value() == 7
    owncode.forget()
    load_of(stranger)
    assert value() == 7


@pytest.mark.parametrize("changed", ["my.py", "helper.py"])
def test_a_file_that_changed_is_not_run_for_an_allowed_one(
    changed: str, stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_of(stranger, trust_code=True)
    owncode.forget()
    file = stranger.parent / changed
    file.write_text(file.read_text() + "# changed\n")
    beside = r" \(beside it helper\.py\)" if changed == "helper.py" else ""
    for trust in (False, True):
        with pytest.raises(UserError, match=rf"other code: .*my\.py has the hash \w{{12}} and had \w{{12}}{beside}\."):
            load_of(stranger, trust_code=trust)
    assert "own" not in metrics.names()
    # Named by its user it runs, with a word about it, and is allowed from then on.
    (code,) = load_of(stranger, stranger.parent / "my.py")
    assert "was made with other code" in capsys.readouterr().err
    assert value() == 7
    named = {"code": [code.as_dict()]}
    (stranger / "run.json").write_text(json.dumps(named))
    owncode.forget()
    load_of(stranger)


def test_what_was_run_by_its_name_is_allowed_wherever_it_lies(stranger: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("my.py", "helper.py"):
        (copied / name).write_bytes((tmp_path / name).read_bytes())
    load(copied / "my.py")
    owncode.forget()
    assert load_of(stranger)[0].path == tmp_path / "my.py"


def test_files_named_beside_those_of_a_run_are_run_too(stranger: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more.py", 2, name="more")
    with pytest.raises(UserError, match="--trust-code"):
        load_of(stranger, more)
    assert "more" not in metrics.names()  # nothing is run before everything is allowed
    assert [one.path.name for one in load_of(stranger, more, trust_code=True)] == ["my.py", "more.py"]
    assert (value(), value("more")) == (7, 2)


def test_a_moved_file_is_named_anew(stranger: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("my.py", "helper.py"):
        (tmp_path / name).rename(moved / name)
    with pytest.raises(UserError, match=r"needs the code file .*my\.py, but it is not there.*--code FILE"):
        load_of(stranger, trust_code=True)
    assert [one.path for one in load_of(stranger, moved / "my.py")] == [moved / "my.py"]
    owncode.forget()
    # By another name and with other content it is what the user says it is.
    write(moved / "renamed.py", 8)
    load_of(stranger, moved / "renamed.py")
    assert value() == 8


def test_a_run_of_before_names_a_path_without_a_hash(stranger: Path, tmp_path: Path) -> None:
    (stranger / "run.json").write_text(json.dumps({"code": str(tmp_path / "my.py")}))
    with pytest.raises(UserError, match="--trust-code"):
        load_of(stranger)
    load_of(stranger, trust_code=True)
    assert value() == 7
    for kept in (None, []):
        (stranger / "run.json").write_text(json.dumps({"code": kept}))
        assert load_of(stranger) == ()
    (stranger / "run.json").write_text(json.dumps({"code": [5]}))
    with pytest.raises(UserError, match="not a list of code files"):
        load_of(stranger)
    assert load_of(tmp_path / "nowhere") == load_of("mnist") == ()


def test_the_store_of_the_tests_is_not_the_users() -> None:
    from frugan.cache import config_root

    assert Path(os.environ["FRUGAN_CONFIG"]) == config_root()
    assert not config_root().is_relative_to(Path.home())


def test_a_store_that_cannot_be_written_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FRUGAN_CONFIG", str(tmp_path / "file"))
    load(write(tmp_path / "my.py", 1))
    assert value() == 1


# -------------------------------------------------------------------------------------------------------------- changes


def test_changes_say_which_file_and_what_of_it(stranger: Path, tmp_path: Path) -> None:
    before = named_in(stranger)
    now = load(tmp_path / "my.py")
    assert changes(before, now) == []
    (tmp_path / "helper.py").write_text("VALUE = 8\n")
    other = load([tmp_path / "my.py", write(tmp_path / "more.py", 1, name="more")])
    assert changes(before, other) == [
        f"{tmp_path / 'my.py'} has the hash {other[0].short} and had {now[0].short} (beside it helper.py)",
        f"{tmp_path / 'more.py'} is new ({other[1].short})",
    ]
    assert changes(before, ()) == [f"{tmp_path / 'my.py'} is left out"]
    assert owncode.changed_since(now) == [changes(before, other)[0]]
    with pytest.raises(UserError, match=r"^It was begun with other code: .*--allow-changed-code"):
        owncode.refuse_changes(before, other, "It")
