"""A short form of faults.py, and what is kept between runs: it is what it says, or it is made again."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frugan import cache
from frugan.data import open_dataset
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.kernels import _compiler
from frugan.registry import UserError

spec = importlib.util.spec_from_file_location("faults", Path(__file__).with_name("faults.py"))
assert spec is not None
assert spec.loader is not None
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    ground = faults.Ground(tmp_path_factory.mktemp("faults"))
    yield ground
    ground.close()


@pytest.mark.parametrize("kind", faults.KINDS)
def test_no_bad_input_and_no_interruption_ends_in_a_traceback_or_in_silence(ground, kind):
    count = 1 if kind in ("caches", "interruptions", "disk") else 2
    assert [fault for number in range(count) if (fault := faults.attempt(kind, number, ground))] == []


def test_the_judge_finds_faults():
    assert faults.judged("", faults.Answer(1, "", "Traceback ...")) is not None
    assert faults.judged("", faults.Answer(-11, "", "")) is not None
    assert faults.judged("", faults.Answer(2, "", "")) is not None
    assert faults.judged("", faults.Answer(0, "made of \x1b[2J", "")) is not None
    assert faults.judged("", faults.Answer(0, "made", ""), refused=True) is not None
    assert faults.judged("", faults.Answer(2, "", "frugan: no"), refused=True) is None


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "manifest.json"])
def test_a_pack_that_was_changed_is_packed_again_and_that_is_said(tmp_path, capsys, name):
    source = tmp_path / "data.npz"
    np.savez(source, images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2)
    before = open_dataset(str(source), cache=tmp_path)
    path = before.folder / name
    data = bytearray(path.read_bytes())
    data[-12] ^= 1  # of labels and images a value, of the manifest a letter
    path.write_bytes(data)
    again = open_dataset(str(source), cache=tmp_path)
    assert f"{before.folder} is damaged or was changed" in capsys.readouterr().err
    assert again.content_hash == before.content_hash
    assert again.images.max() == 0
    assert again.labels.tolist() == before.labels.tolist()
    open_dataset(str(source), cache=tmp_path)
    assert not capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused_by_name(ground, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copytree(ground.run, one)
    assert ground.do(ground.train(two, "seed=1", images="8")).status == 0
    newest = checkpoint.newest(two / "checkpoints")
    assert newest is not None
    shutil.rmtree(one / "checkpoints")
    shutil.copytree(two / "checkpoints", one / "checkpoints")
    for answer in (ground.do(ground.train(one)), ground.made(one, tmp_path)):
        assert isinstance(answer, faults.Answer)
        assert answer.status == 2
        assert f"{newest.name} is the checkpoint of another run. Delete it" in answer.err
    # As runs of earlier versions have no id, it cannot be known of them.
    tensors, _ = checkpoint.read(newest, run=RunFolder(two).read_json(RunFolder(two).facts)["id"])
    assert tensors
    with pytest.raises(UserError, match="another run"):
        checkpoint.read(newest, run="0" * 16)


def test_a_damaged_compiled_library_is_never_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_compiler, "compiler", lambda: ("c++", "1.0"))
    damaged = tmp_path / "kernels" / f"norm-{_compiler.fingerprint()}-{'0' * 16}.so"
    damaged.parent.mkdir()
    damaged.write_bytes(b"cut short")
    failed = SimpleNamespace(returncode=1, stderr="no compiler in this test", stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: failed)
    with cache.cached_in(tmp_path):
        assert _compiler.load.__wrapped__("norm") is None
    assert f"{damaged} is damaged and is compiled again" in capsys.readouterr().err
    assert not damaged.exists()


def test_images_of_one_name_in_two_folders_get_names_of_their_own():
    from frugan.translating import _Names

    names = _Names(["a b", "a-b"])
    made = [name for path in ("x/1.png", "y/1.jpg", "1-2.png", "I.png", "i.png") for name in names.of(Path(path))]
    assert len({name.casefold() for name in made}) == 10
    assert made[:4] == ["1-a-b.png", "1-a-b-2.png", "1-2-a-b.png", "1-2-a-b-2.png"]
