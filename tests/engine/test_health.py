"""Health: what the log says is wrong, and the numbers behind it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy
import pytest
import torch

from frugan.batch import Batch
from frugan.engine import health
from frugan.engine.health import Health, findings, nearest, spread
from frugan.engine.run import RunFolder


def looks(*spreads: float, nearest: float = 1.0, first: int = health.WARM_UP, **more: float) -> list[dict]:
    return [
        {"images": first + 5000 * number, "health.spread": value, "health.nearest": nearest, **more}
        for number, value in enumerate(spreads)
    ]


def kinds(lines: list[dict]) -> list[str]:
    return [finding.kind for finding in findings(lines)]


def test_spread_and_nearest_of_simple_points():
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert spread(square) == pytest.approx((8 + 4 * 2**0.5) / 12)
    assert nearest(square) == pytest.approx(1)
    line = torch.tensor([[0.0], [1.0], [10.0]])
    assert spread(line) == pytest.approx(20 / 3)
    assert nearest(line) == pytest.approx(1)
    one = torch.zeros(5, 3)
    assert (spread(one), nearest(one)) == (0, 0)
    assert (spread(one[:1]), nearest(one[:1])) == (0, 0)


def test_two_far_images_repeated_lower_nearest_though_not_spread():
    """Why there are two numbers: a generator that makes two images only."""
    torch.manual_seed(0)
    real = torch.randn(40, 8)
    two = torch.stack([torch.full((8,), 1.5), torch.full((8,), -1.5)]).repeat(20, 1)
    assert spread(two) / spread(real) > 0.9
    assert nearest(two) / nearest(real) < 0.01


def test_a_collapse_needs_two_looks():
    assert kinds(looks(0.1)) == []
    assert kinds(looks(0.9, 0.1)) == []
    assert kinds(looks(0.1, 0.1)) == ["collapse"]
    assert kinds(looks(0.1, 0.1, 0.9)) == []
    assert kinds(looks(1.0, 1.0, nearest=0.1)) == ["collapse"]
    assert kinds(looks(1.0, 1.0, **{"health.classes": 0.3})) == ["collapse"]
    found = findings(looks(0.9, 0.9, 0.2, 0.1, 0.1))
    assert found[0].images == health.WARM_UP + 2 * 5000
    assert "learning_rate" in found[0].text


def test_nothing_is_said_of_the_first_images():
    assert kinds(looks(0.1, 0.1, first=0)) == []
    assert kinds(looks(0.1, 0.1, 0.1, first=health.WARM_UP - 5000)) == ["collapse"]


def test_nothing_is_said_of_the_first_rounds_however_large_the_batches_are():
    young = [{**line, "rounds": rounds} for line, rounds in zip(looks(0.1, 0.1, 0.1), (100, 150, 249), strict=True)]
    assert kinds(young) == []
    assert kinds([*young, *({**line, "rounds": 300} for line in looks(0.1, 0.1, first=40_000))]) == ["collapse"]
    assert kinds([*young, *({**line, "rounds": 300} for line in looks(0.8, 0.9, first=40_000))]) == []


def test_a_flicker_needs_three_looks():
    moving = {"health.flicker": 0.9}
    assert kinds(looks(1.0, 1.0, **moving)) == []
    assert kinds(looks(1.0, 1.0, 1.0, **moving)) == ["flicker"]
    assert kinds([*looks(1.0, 1.0, **moving), *looks(1.0, first=10**6)]) == []


def losses(loss: float, right: float, start: int, end: int) -> list[dict]:
    accuracies = {"discriminator.accuracy_real": right, "discriminator.accuracy_fake": right}
    return [{"images": images, "discriminator.loss": loss, **accuracies} for images in range(start, end + 1, 1000)]


def test_a_saturated_discriminator_is_right_on_everything_for_long():
    assert kinds(losses(0.01, 1.0, 0, 45_000)) == ["saturated"]
    assert kinds(losses(0.01, 1.0, 0, 19_000)) == []
    assert kinds(losses(0.3, 1.0, 0, 45_000)) == []
    assert kinds(losses(0.01, 0.98, 0, 45_000)) == []
    assert kinds([*losses(0.01, 1.0, 0, 30_000), *losses(0.5, 0.9, 31_000, 40_000)]) == []
    # A Wasserstein loss has no such end.
    assert kinds(losses(-30.0, 1.0, 0, 45_000)) == []


def test_the_observer_measures_writes_and_tells_each_kind_once(tmp_path):
    torch.manual_seed(0)
    real = torch.rand(16, 1, 8, 8)
    told = []
    folder = RunFolder(tmp_path)
    observer = Health(folder, real, Batch(real), 0, told.append)

    def look(images: int, made: torch.Tensor) -> None:
        observer.look(SimpleNamespace(images=images, rounds=300, sample=lambda like, seed: made))  # type: ignore[arg-type]

    look(25_000, real)
    look(30_000, real[:1].repeat(16, 1, 1, 1))
    look(35_000, real[:1].repeat(16, 1, 1, 1))
    look(40_000, real[:1].repeat(16, 1, 1, 1))
    lines = folder.lines(folder.log)
    assert [line["health.spread"] for line in lines] == [1, 0, 0, 0]
    assert [line.get("health.flicker") for line in lines][2:] == [0, 0]
    assert lines[1]["health.flicker"] > 0.5
    assert [finding.kind for finding in told] == ["collapse"]
    assert told[0].images == 30_000


def test_the_observer_counts_classes_where_a_classifier_is_at_hand(tmp_path):
    real = torch.rand(100, 1, 8, 8)
    folder = RunFolder(tmp_path)
    classes = torch.tensor([0] * 60 + [1] * 39 + [2])
    observer = Health(
        folder, real, Batch(real), 0, lambda finding: None, classify=lambda images: classes, classes=5
    )
    observer.look(SimpleNamespace(images=1, rounds=1, sample=lambda like, seed: real))  # type: ignore[arg-type]
    assert folder.lines(folder.log)[0]["health.classes"] == pytest.approx(3 / 5)


def test_a_translator_is_set_against_the_images_that_it_is_given(tmp_path, monkeypatch):
    """Images of one class lie nearer together than all do; one that changes nothing has kept them all the same."""
    from frugan.training import train

    classes = torch.arange(256) // 128  # as a folder gives them: one class first
    images = (100 + torch.randint(0, 8, (256, 16, 16, 3))).to(torch.uint8)
    images[128:] = torch.randint(0, 256, (128, 16, 16, 3)).to(torch.uint8)
    numpy.savez(tmp_path / "data.npz", images=images.numpy(), labels=classes.numpy())
    monkeypatch.setattr("frugan.engine.observers.Moment.sample", lambda self, like, seed: like.images)
    keys = {
        "generator.width": 0.0625, "generator.blocks": 0, "discriminator.width": 0.0625, "data.size": 16,
        "batch_size": 4, "data.attributes": [], "game.discriminator_steps": 1,
    }  # fmt: skip
    run = train("stargan", data=str(tmp_path / "data.npz"), images=8, changes=keys, out=tmp_path / "run", quiet=True)
    (line,) = [line for line in run.lines(run.log) if "health.spread" in line]
    assert (line["health.spread"], line["health.nearest"]) == (1, 1)


def test_one_real_image_or_equal_ones_are_no_error(tmp_path):
    for real in (torch.zeros(1, 1, 8, 8), torch.zeros(4, 1, 8, 8)):
        observer = Health(RunFolder(tmp_path), real, Batch(real), 0, lambda finding: None)
        observer.look(
            SimpleNamespace(images=1, rounds=1, sample=lambda like, seed: torch.rand(4, 1, 8, 8))  # type: ignore[arg-type]
        )
    lines = RunFolder(tmp_path).lines(RunFolder(tmp_path).log)
    assert len(lines) == 2
    assert all(math.isfinite(line["health.spread"]) and math.isfinite(line["health.nearest"]) for line in lines)
