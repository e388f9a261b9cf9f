"""The five files under examples/extending train, are interrupted, continued, compared, saved and loaded."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import frugan
from frugan import owncode, reporting
from frugan.comparison.running import jobs
from frugan.engine import checkpoint, loop

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "extending"
FILES = sorted(FOLDER.glob("*.py"))
SMALL = {"data.limit": 200, "batch_size": 16, "precision": "float32", "kernels": "plain"}
RECIPES: dict[str, dict[str, Any]] = {
    "style-digits": {
        "generator.width": 0.125, "discriminator.width": 0.125, "penalties": "lecam+r1,every=2",
        "discriminator.families": [{"pattern": "*", "family": "ghost"}],
    },
    "vae-digits": {"generator.width": 0.1, "discriminator.width": 0.1, "encoder.width": 0.1},
}


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    owncode.forget()


def train(recipe: str, out: Path, images: int = 96) -> Path:
    changes = {**SMALL, **RECIPES[recipe]}
    return frugan.train(recipe, changes=changes, data="glyphs", images=images, out=out, code=FILES, quiet=True).path


def state(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.newest(run / "checkpoints")
    assert newest is not None
    return checkpoint.read(newest)[0]


def test_there_is_one_file_for_each_of_five_kinds():
    assert [path.stem for path in FILES] == ["cmmd", "ghost", "lecam", "stylegan_lite", "vaegan"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_run_continues_bit_for_bit_and_ships(recipe, tmp_path, monkeypatch):
    whole = train(recipe, tmp_path / "whole")
    usual = loop.play_round

    def interrupted(parts: Any) -> Any:
        if parts.clock.rounds == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(parts)

    monkeypatch.setattr(loop, "play_round", interrupted)
    with pytest.raises(SystemExit):
        train(recipe, tmp_path / "broken")
    monkeypatch.setattr(loop, "play_round", usual)
    one, other = state(whole), state(train(recipe, tmp_path / "broken"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(name.startswith("penalty.lecam") for name in one) is (recipe == "style-digits")

    generator = frugan.load(whole)
    images = generator.sample(5, seed=1)
    again = frugan.load(generator.save(tmp_path / "artefact"), code=FILES)
    assert np.array_equal(again.sample(5, seed=1), images)
    if recipe == "vae-digits":
        encoder = frugan.load(whole, role="encoder")
        assert encoder.encode(images).shape == (5, 2 * generator.latents.size)


def test_they_are_compared_by_a_metric_of_their_own(tmp_path, monkeypatch):
    def in_this_process(planned: Sequence[Any], *rest: Any) -> None:
        for job in planned:
            told = dict(zip(job.command[5::2], job.command[6::2], strict=True))
            frugan.train(job.command[4], seed=int(told["--seed"]), out=told["--out"], code=FILES, quiet=True)

    monkeypatch.setattr(jobs, "run_jobs", in_this_process)  # processes need seconds to start
    monkeypatch.setattr(reporting, "report", lambda folder: None)  # and so do charts
    found = frugan.compare(
        ["mnist"], families=["standard", "ghost"], seeds=[0], images=32, data="glyphs", metrics=["cmmd"], count=200,
        view="pixels", out=tmp_path / "pair", code=FILES, quiet=True,
        changes={**SMALL, "generator.width": 0.125, "discriminator.width": 0.125},
    )
    arms = {arm["name"]: arm for arm in found.data["arms"]}
    values = {name: arm["runs"]["0"]["values"]["cmmd"] for name, arm in arms.items()}
    assert all(value["values"]["cmmd"] > 0 and value["protocol"]["metric_code"] for value in values.values())
    assert arms["ghost"]["generator"]["macs"] < arms["standard"]["generator"]["macs"]
