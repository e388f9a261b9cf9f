"""A file of one's own with one of every small variant: trained, continued bit for bit, watched without a trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frugan
from frugan import augment, cli, losses, optimisers, penalties, schedules
from frugan.engine import checkpoint, observers
from frugan.engine.run import RunFolder
from frugan.registry import UserError

CODE = '''
import json
from dataclasses import replace

import torch

from frugan import augment, losses, optimisers, penalties, schedules
from frugan.augment import Augmentation
from frugan.engine import observers
from frugan.engine.observers import every
from frugan.schedules import Schedule


def gentle(*, scale=0.5):
    hinge = losses.find("hinge")

    def discriminator(real, fake, random=None):
        return scale * hinge.discriminator(real, fake)

    return replace(hinge, name="gentle", discriminator=discriminator)


class Anchored:
    """Scores are drawn to their moving average."""

    name, every, needs_scores = "anchored", 1, True

    def __init__(self, *, weight=0.1):
        self.weight, self.mean = weight, torch.zeros(())

    def __call__(self, judgement):
        self.mean = 0.9 * self.mean.to(judgement.real_scores) + 0.1 * judgement.mean(judgement.real_scores.mean())
        return self.weight * (judgement.real_scores - self.mean).square().mean()

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


def darker(*, most=0.5):
    def change(images, random):
        return images * (1 - most * torch.rand(len(images), 1, 1, 1, generator=random).to(images))

    return Augmentation("darker", change)


class Lion(torch.optim.Optimizer):
    def __init__(self, parameters, lr, betas):
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                state.setdefault("mean", torch.zeros_like(weight))
                weight -= group["lr"] * torch.lerp(weight.grad, state["mean"], group["betas"][0]).sign()
                state["mean"].lerp_(weight.grad, 1 - group["betas"][1])


def lion(parameters, learning_rate, betas, epsilon, weight_decay, *, share=1.0):
    return Lion(parameters, share * learning_rate, betas)


def waves(*, length=16):
    return Schedule(lambda images, budget: 1 + images // length % 2)


class Tracker:
    def __init__(self, run, *, period=8):
        self.due, self.path, self.run = every(period), run.folder.path / "tracked.jsonl", run

    def look(self, moment):
        images = moment.sample(self.run.first["train"], 0)
        line = {"images": moment.images, "mean": round(float(images.mean()), 4), "title": self.run.title}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\\n")

    def close(self):
        with self.path.open("a") as file:
            file.write(json.dumps({"closed": True}) + "\\n")


def clumsy(run):
    class Clumsy:
        due = staticmethod(every(8))

        def look(self, moment):
            torch.rand(1)
            raise OSError("the network is down")

    return Clumsy()


losses.add("gentle", gentle)
penalties.add("anchored", Anchored)
augment.add("darker", darker)
optimisers.add("lion", lion)
schedules.add("waves", waves)
observers.add("tracker", Tracker)
observers.add("clumsy", clumsy)
'''
CHANGES = {
    "generator.hidden": [8], "discriminator.hidden": [8], "latents.size": 4, "data.size": 8, "batch_size": 4,
    "precision": "float32", "loss": "gentle,scale=0.25", "penalties": "anchored,weight=0.5", "augment": "darker",
    "players.generator.optimiser": "lion,share=0.1", "schedule": "waves,length=8",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _known_only_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for catalogue in (losses, penalties, augment, optimisers, schedules, observers):
        monkeypatch.setattr(catalogue._known, "_added", {})
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(CODE)
    pictures = np.random.default_rng(0).integers(0, 255, (32, 8, 8), dtype=np.uint8)
    np.savez("noise.npz", images=pictures, labels=np.arange(32) % 10)
    yield
    for name in [name for name in sys.modules if name.startswith("frugan_user_own")]:
        del sys.modules[name]


def train(out: str, images: int, changes: dict[str, Any] = CHANGES, **more: Any) -> RunFolder:
    given = {"data": "noise.npz", "code": "own.py", "device": "cpu", "quiet": True, **more}
    return frugan.train("vanilla", images=images, out=out, changes=changes, **given)


def kept(run: RunFolder) -> dict[str, bytes]:
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    tensors, _ = checkpoint.read(newest)
    return {name: tensor.numpy(force=True).tobytes() for name, tensor in tensors.items()}


def test_a_run_of_ones_own_variants_continues_bit_for_bit() -> None:
    whole = kept(train("whole", 64))
    train("parts", 24)
    assert kept(train("parts", 64)) == whole
    assert "penalty.anchored/mean" in whole
    assert any(name.startswith("optimiser.generator") and name.endswith("mean") for name in whole)
    recipe = json.loads(Path("parts/recipe.json").read_text())
    assert recipe["players"]["generator"]["optimiser"] == {"name": "lion", "options": {"share": 0.1}}


@pytest.mark.parametrize(("key", "plain"), [
    ("loss", "hinge"), ("penalties", "none"), ("augment", "none"), ("players.generator.optimiser", "adam"),
    ("schedule", "constant"),
])  # fmt: skip
def test_each_of_ones_own_variants_changes_what_is_learnt(key: str, plain: str) -> None:
    whole, changed = kept(train("whole", 16)), kept(train("changed", 16, {**CHANGES, key: plain}))
    assert any(changed.get(name) != value for name, value in whole.items() if name.startswith("network."))


def test_observers_of_ones_own_leave_no_trace_in_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    bare = train("bare", 32)
    watched = train("watched", 32, observers="tracker,period=16+clumsy")
    assert kept(watched) == kept(bare)
    lines = [json.loads(line) for line in Path("watched/tracked.jsonl").read_text().splitlines()]
    assert [line.get("images") for line in lines] == [16, 32, None]
    assert lines[0]["title"].startswith("vanilla on npz noise")
    assert lines[-1] == {"closed": True}
    told = [line for line in capsys.readouterr().err.splitlines() if "clumsy" in line]
    raising = next(number for number, line in enumerate(CODE.splitlines(), start=1) if "raise OSError" in line)
    assert told == [
        "The observer 'clumsy' failed after 8 images and is not called again: OSError: the network is down "
        f"({Path('own.py').resolve()}, line {raising}). The run goes on."
    ]
    assert "observers" not in Path("watched/recipe.json").read_text()


def test_observers_are_checked_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"no observer called 'trackr'\. Did you mean 'tracker'"):
        train("none", 32, observers=["trackr"])
    with pytest.raises(UserError, match=r"The observer 'tracker' has no option 'perod'\. Did you mean 'period'"):
        train("none", 32, observers="tracker,perod=3")
    assert not Path("none").exists()
    with pytest.raises(SystemExit):
        cli.main(["train", "vanilla", "--code", "own.py", "--observers", "trackr"])
    assert "Did you mean 'tracker'" in capsys.readouterr().err


def test_the_names_of_ones_own_stand_in_the_list_of_what_may_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["recipes", "vanilla", "--code", "own.py"])
    out = capsys.readouterr().out.partition("Names that may be chosen:")[2]
    listed = dict(line.strip().split(": ", 1) for line in out.splitlines() if ": " in line)
    for key, name in {
        "loss": "gentle", "penalties": "anchored", "augment": "darker", "players.NAME.optimiser": "lion",
        "players.NAME.schedule": "waves", "--observers": "tracker",
    }.items():  # fmt: skip
        assert name in listed[key].split(", ")
