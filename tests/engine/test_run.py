"""The run folder's files: what is not as training writes it is refused with its place, whoever reads it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from frugan import files, recipes
from frugan.claims import claimed
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.recipe import to_dict
from frugan.registry import UserError

FACTS: dict[str, Any] = {
    "frugan": "0.1.0", "id": "a", "versions": {"python": "3.11"}, "given": {}, "image_range": [-1.0, 1.0],
    "shipped": {"generator": {"network": "generator", "averaged": True, "direction": None, "reader": None}},
    "data": {"train": {"name": "n", "count": 64, "hash": "h", "path": "/n", "classes": ["0"], "exclusive": [[0]]}},
}  # fmt: skip
LINE: dict[str, Any] = {"images": 4, "rounds": 1, "seconds": 0.5, "health.spread": 1, "generator.loss": float("nan")}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.write_json(folder.recipe, to_dict(recipes.find("vanilla")))
    folder.write_json(folder.facts, FACTS)
    folder.append(folder.log, LINE)
    return folder


def changed(value: Any, place: str, to: Any) -> Any:
    """A copy of a value with another at a place such as ``data/train/path``."""
    copy = inner = json.loads(json.dumps(value))
    *steps, last = place.split("/")
    for step in steps:
        inner = inner[step]
    inner[last] = to
    return copy


def test_what_training_writes_is_read(run):
    assert run.read_json(run.facts) == {"format": 1, **FACTS}
    assert [line["images"] for line in run.lines(run.log)] == [4]


@pytest.mark.parametrize(("place", "to"), [
    ("shipped", None), ("shipped", {}), ("shipped/generator", None), ("shipped/generator/network", "x"),
    ("shipped/generator/reader", "x"), ("data", None), ("data", {}), ("data/train", None), ("data/train/path", None),
    ("data/train/count", "64"), ("data/train/classes", [0]), ("data/train/exclusive", ["0"]), ("given", None),
    ("given", 5), ("given", {"generator": 1}), ("versions", None), ("id", None), ("id", 1), ("image_range", ["a"]),
    ("shipped/generator/averaged", 1), ("data/train/count", True), ("format", "1"), ("format", None),
])  # fmt: skip
def test_facts_that_no_training_wrote_are_refused_with_their_place(run, place, to):
    files.write(run.facts, json.dumps(changed({"format": 1, **FACTS}, place, to)))
    with pytest.raises(UserError, match=rf"run\.json.*{'x' if to == 'x' else place.split('/')[-1]}.*good copy"):
        run.read_json(run.facts)


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "5"])
def test_a_file_that_holds_no_map_is_said_to_be_damaged_not_new(run, text):
    files.write(run.facts, text)
    with pytest.raises(UserError, match=r"run\.json is .*, but must be a map"):
        run.read_json(run.facts)


@pytest.mark.parametrize(("place", "to"), [
    ("images", "a"), ("images", None), ("images", 1.5), ("health.spread", None), ("seconds", "1"), ("evaluations", [1]),
])  # fmt: skip
def test_a_line_that_no_training_wrote_is_refused_with_its_number(run, place, to):
    files.append(run.log, json.dumps(changed({**LINE, "evaluations": []}, place, to)))
    with pytest.raises(UserError, match=rf"log\.jsonl, line 2: {place}"):
        run.rewind(4)


@pytest.mark.parametrize("name", ["recipe.json", "run.json", ".lock-1", "checkpoint"])
def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(run, name):
    run.checkpoints.mkdir()
    path = run.checkpoints / f"images-{4:012}-{'0' * 16}.safetensors" if name == "checkpoint" else run.path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    use = {"checkpoint": lambda: checkpoint.newest(run.checkpoints), ".lock-1": lambda: claimed(run.path).__enter__()}
    with pytest.raises(UserError, match=rf"{path.name} is no plain file|is damaged.*{path.name}"):
        use.get(name, lambda: run.read_json(path))()


@pytest.mark.parametrize("place", [".", "samples", "checkpoints"])
def test_a_run_that_goes_on_removes_what_was_left_half_written_and_nothing_that_is_being_written(run, place):
    folder = run.path / place
    folder.mkdir(exist_ok=True)
    left, pictures, busy = (folder / f".tmp-{number:016x}" for number in range(3))
    left.write_text("half")
    (pictures / "inner").mkdir(parents=True)
    with busy.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for path in (left, pictures, busy):
            os.utime(path, (0, 0))
        run.rewind(4)
    assert [path.name for path in folder.glob(".tmp-*")] == [busy.name]
