"""Health: what the log says is wrong, and the numbers behind it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy
import pytest
import torch

import frugan
from frugan.batch import Batch
from frugan.engine import health
from frugan.engine.health import Health, distance, find_untrained, findings, memorised, nearest, spread
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


# --------------------------------------------------------------------------------------------- runs that do not train


def played(looked: dict[int, dict[str, float]], loss: float | None = 0.9, right: float | None = 0.7) -> list[dict]:
    """A log in batches of 32: a line each 800 images and the looks at so many images, ``{"spread": ...}`` each.

    `right` is the discriminator's accuracy on either kind; None for a game that logs none. So is `loss`, which moves.
    """
    lines: list[dict] = []
    for images in range(800, max(looked) + 1, 800):
        line: dict = {"images": images, "rounds": images // 32}
        if loss is not None:
            line |= {"discriminator.loss": loss * (1 + 0.2 * (images // 800 % 3)), "generator.loss": 2 + images / 1e4}
        if right is not None:
            line |= {"discriminator.accuracy_real": right, "discriminator.accuracy_fake": right}
        lines.append(line)
    for images, numbers in looked.items():
        about = {f"health.{name}": value for name, value in {"nearest": 1.0, **numbers}.items()}
        lines.append({"images": images, "rounds": images // 32, **about})
    return sorted(lines, key=lambda line: line["images"])


def every_5k(*spreads: float, distances: tuple[float, ...] = ()) -> dict[int, dict[str, float]]:
    looked = {5000 * (number + 1): {"spread": value} for number, value in enumerate(spreads)}
    for images, value in zip(looked, distances, strict=False):
        looked[images]["distance"] = value
    return looked


def said(lines: list[dict]) -> str:
    found = find_untrained(lines)
    return "" if found is None else found.text


def test_a_run_that_trains_is_not_said_not_to():
    assert said(played(every_5k(0.08, 0.3, 0.7, 0.9, distances=(0.7, 0.4, 0.1, 0.05)))) == ""
    # The discriminator is right on everything for long, and the images come nearer all the same.
    near = every_5k(0.16, 0.38, 0.68, distances=(0.7, 0.5, 0.3))
    assert said(played(near, loss=0.02, right=1.0)) == ""
    # Looks before anything was measured, and no looks at all.
    assert said([]) == ""
    assert said(played({10_000: {"spread": 0.0}})[:-1]) == ""


def test_flat_output_is_seen_at_the_second_look():
    flat = played(every_5k(0.003, 0.004))
    assert "0.004 as far apart as real ones" in said(flat)
    assert "start=composite" in said(flat)
    assert "penalties=r1" in said(flat)
    assert find_untrained(flat).images == 5000
    assert said(played(every_5k(0.003, 0.004, 0.3, 0.8))) == ""  # it trains after all
    assert said(played(every_5k(0.003, 0.06))) == ""
    lagging = every_5k(0.003, 0.004, distances=(0.8, 0.6))  # an average that lags behind
    assert said(played(lagging)) == ""
    lagging[10_000]["distance"] = 0.8
    # In a run of large batches it is seen once the run has ended: then it has few rounds, and no more will come.
    large = [{**line, "rounds": line["images"] // 128} for line in played(lagging)]
    assert find_untrained(large) is None
    assert "flat output" in find_untrained(large, ended=True).text
    assert [finding.kind for finding in findings(large, ended=True)] == ["untrained"]
    assert find_untrained([line for line in large if line["images"] <= 5000], ended=True) is None
    unknown = [{**line, "rounds": line["images"] // 128} for line in flat]  # whether it comes nearer is not known
    assert find_untrained(unknown, ended=True) is None
    assert said(played(lagging)) != ""
    # Neither losses nor accuracies need be logged: a game of somebody's own.
    assert said(played(every_5k(0.003, 0.004), loss=None, right=None)) != ""


def test_short_budgets_are_too_short_to_say_so():
    assert said(played({5000: {"spread": 0.0}})) == ""
    assert said(played({3000: {"spread": 0.0}, 4000: {"spread": 0.0}})) == ""
    few = [{**line, "rounds": line["rounds"] // 4} for line in played(every_5k(0.0, 0.0, 0.0))]
    assert said(few) == ""  # batches of 128: 117 rounds
    assert said(played(every_5k(0.5, 0.5, distances=(0.8, 0.8)), loss=0.001, right=1.0)) == ""


def test_a_discriminator_that_is_right_from_early_on_while_images_come_no_nearer_is_a_wall():
    stuck = every_5k(0.5, 0.5, 0.5, distances=(0.9, 0.85, 0.83))
    assert "right on 100 % of what it saw" in said(played(stuck, loss=0.001, right=1.0))
    assert "0.90 after 5,000 images, 0.83 after 15,000" in said(played(stuck, loss=0.001, right=1.0))
    assert said(played(stuck, loss=0.001, right=0.88)) == ""
    assert said(played(stuck, loss=0.001, right=None)) == ""  # no accuracy, nothing known
    assert said(played(every_5k(0.5, 0.5, 0.5), loss=0.001, right=1.0)) == ""  # an older log, or a translator's
    # Nearer by a tenth and more, or as near as trained nets come.
    assert said(played(every_5k(0.5, 0.5, 0.5, distances=(0.9, 0.8, 0.8)), loss=0.001, right=1.0)) == ""
    assert said(played(every_5k(0.5, 0.5, 0.5, distances=(0.3, 0.3, 0.3)), loss=0.001, right=1.0)) == ""


def test_a_saturation_that_is_over_again_is_no_failure():
    stuck = played(every_5k(0.5, 0.5, 0.5, 0.5, distances=(0.9, 0.9, 0.9, 0.9)), loss=0.001, right=1.0)
    assert said(stuck) != ""
    for line in stuck:
        if line["images"] > 15_000 and "generator.loss" in line:
            line["discriminator.accuracy_fake"] = 0.7
    assert said(stuck) == ""
    assert said(played(every_5k(0.5, 0.5, 0.5, 0.6, distances=(0.9, 0.9, 0.9, 0.6)), loss=0.001, right=1.0)) == ""


def test_losses_that_never_move_are_seen():
    still = [
        {**line, **({"discriminator.loss": 1.22, "generator.loss": 0.66} if "generator.loss" in line else {})}
        for line in played(every_5k(0.55, 0.553))
    ]
    assert "its losses have never moved" in said(still)
    assert "higher learning_rate" in said(still)
    assert said(still[:-1]) == ""  # one look
    assert said([{**line, **({"generator.loss": 1.0} if line["images"] == 800 else {})} for line in still]) == ""
    assert said([{**line, **({"health.spread": 0.6} if line["images"] == 5000 else {})} for line in still]) == ""
    nearer = {5000: 0.9, 10_000: 0.1}  # its images did change, though their spread did not
    assert said([{**line, "health.distance": nearer[line["images"]]} if "health.spread" in line else line
                 for line in still]) == ""  # fmt: skip


def test_a_late_collapse_is_a_collapse_and_a_run_that_never_trained_nothing_else():
    assert kinds(played(every_5k(0.3, 0.7, 0.9, 0.9, 0.01, 0.01))) == ["collapse"]
    flat = played(every_5k(*[0.003] * 9), loss=0.001, right=1.0)
    assert kinds(flat) == ["untrained"]
    assert kinds(played(every_5k(*[0.3] * 9), loss=0.001, right=1.0)) == ["collapse", "saturated"]


@pytest.mark.parametrize("alike", [0.0, 0.7, 1000.0])
def test_numbers_of_images_that_are_all_alike_are_exact(alike):
    """By a product of matrices, as torch computes the distances of many points, they lay a little apart."""
    points = torch.full((128, 768), alike)
    assert (spread(points), nearest(points)) == (0, 0)


def test_the_distance_of_two_clouds_is_0_for_one_and_the_same_and_grows():
    torch.manual_seed(0)
    one, same, far = torch.randn(128, 8), torch.randn(128, 8), torch.randn(128, 8) + 2
    assert abs(distance(one, same)) < 0.05
    assert distance(one, far) > 2
    line, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [4.0]])
    assert distance(line, other) == pytest.approx(2 * (3 + 4 + 1 + 2) / 4 - 2 - 1)


def moment(images: int, made: torch.Tensor) -> SimpleNamespace:
    seen = SimpleNamespace(images=images, rounds=300, sample=lambda like, seed: made)
    seen.live = seen
    return seen


def test_the_observer_measures_writes_and_tells_each_kind_once(tmp_path):
    torch.manual_seed(0)
    real = torch.rand(16, 1, 8, 8)
    told = []
    folder = RunFolder(tmp_path)
    observer = Health(folder, real, Batch(real), 0, told.append)

    def look(images: int, made: torch.Tensor) -> None:
        observer.look(moment(images, made))  # type: ignore[arg-type]

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
    assert "health.distance" not in line  # from what it is given, a translator's images need not differ


def test_one_real_image_or_equal_ones_are_no_error(tmp_path):
    for real in (torch.zeros(1, 1, 8, 8), torch.zeros(4, 1, 8, 8)):
        observer = Health(RunFolder(tmp_path), real, Batch(real), 0, lambda finding: None)
        observer.look(moment(1, torch.rand(4, 1, 8, 8)))  # type: ignore[arg-type]
    lines = RunFolder(tmp_path).lines(RunFolder(tmp_path).log)
    assert len(lines) == 2
    assert all(math.isfinite(line["health.spread"]) and math.isfinite(line["health.nearest"]) for line in lines)


@pytest.mark.parametrize(("rate", "trains"), [(1e-12, False), (2e-4, True)])
def test_a_real_run_that_does_not_train_says_so_at_its_end_and_one_that_does_says_nothing(
    tmp_path, capsys, rate, trains
):
    from frugan.training import train

    keys = {
        "data.size": 12, "data.limit": 200, "generator.hidden": [16], "discriminator.hidden": [16],
        "learning_rate": rate,
    }  # fmt: skip
    train("vanilla", data="glyphs", images=10_000, batch_size=40, changes=keys, out=tmp_path / "run", device="cpu")
    told = capsys.readouterr()
    assert (told.out + told.err).count("train so far") == 0  # two looks, and the second is the end
    assert ("This run did not train: its losses have never moved" in told.out) is not trains
    train("vanilla", data="glyphs", images=10_000, batch_size=40, changes=keys, out=tmp_path / "run", device="cpu")
    assert ("This run did not train" in capsys.readouterr().out) is not trains


def test_it_is_told_once_while_a_run_trains(tmp_path):
    told: list = []
    real = torch.rand(16, 1, 8, 8)
    observer = Health(RunFolder(tmp_path), real, Batch(real), 0, told.append)
    for images in (5000, 10_000, 15_000):
        observer.look(moment(images, torch.zeros(16, 1, 8, 8)))  # type: ignore[arg-type]
        assert [finding.kind for finding in told] == (["untrained"] if images > 5000 else [])


def test_images_that_are_not_finite_are_not_written(tmp_path):
    real = torch.rand(4, 1, 8, 8)
    observer = Health(RunFolder(tmp_path), real, Batch(real), 0, lambda finding: None)
    observer.look(moment(1, torch.full((4, 1, 8, 8), math.nan)))  # type: ignore[arg-type]
    assert RunFolder(tmp_path).lines(RunFolder(tmp_path).log) == []


def test_the_distance_is_that_of_the_weights_as_they_train_now(tmp_path):
    torch.manual_seed(0)
    real = torch.rand(16, 1, 8, 8)
    seen = moment(1, torch.zeros(16, 1, 8, 8))
    seen.live = moment(1, real)
    observer = Health(RunFolder(tmp_path), real, Batch(real), 0, lambda finding: None)
    observer.look(seen)  # type: ignore[arg-type]
    (line,) = RunFolder(tmp_path).lines(RunFolder(tmp_path).log)
    assert line["health.spread"] == 0
    assert line["health.distance"] < 0


def test_memorised_is_0_for_new_images_scored_like_known_ones_and_1_for_such_like_fakes():
    torch.manual_seed(0)
    known, fake = torch.randn(100) + 4, torch.randn(100) - 4
    assert memorised(known, torch.randn(100) + 4, fake) == pytest.approx(0, abs=0.1)
    assert memorised(known, torch.randn(100) - 4, fake) == pytest.approx(1, abs=0.1)
    assert memorised(known, torch.randn(100), fake) == pytest.approx(0.5, abs=0.1)
    # A discriminator that cannot tell fakes from what it is trained on has learnt nothing by heart.
    assert memorised(torch.randn(100), torch.randn(100) - 3, torch.randn(100)) == 0


def test_fakes_of_another_brightness_are_no_collapse():
    pale = {"health.distance": 0.7, "health.matched": 0.01}
    assert kinds(looks(0.4, 0.4, **pale)) == []
    assert kinds(looks(0.4, 0.4, 0.4, **pale)) == ["brightness"]
    assert kinds(looks(0.4, 0.4, 0.4, **{**pale, "health.matched": 0.6})) == ["collapse"]
    assert kinds(looks(0.9, 0.9, 0.9, **{"health.distance": 0.1, "health.matched": 0.0})) == []
    lines = zip(looks(0.4, 0.4, 0.4, **pale), (0.9, 0.7, 0.5), strict=True)
    assert kinds([{**line, "health.distance": far} for line, far in lines]) == []  # it is on the way
    assert "standard output layer" in findings(looks(0.4, 0.4, 0.4, **pale))[0].text


def test_the_observer_measures_how_far_fakes_are_with_the_brightness_of_real_images(tmp_path):
    torch.manual_seed(0)
    real, other = torch.rand(64, 1, 8, 8), torch.rand(64, 1, 8, 8)
    told, folder = [], RunFolder(tmp_path)
    observer = Health(folder, real, Batch(real), 0, told.append)
    for images in (25_000, 30_000, 35_000):
        observer.look(moment(images, 0.3 * other + 0.7))  # type: ignore[arg-type]
    line = folder.lines(folder.log)[-1]
    assert line["health.distance"] > 0.35
    assert line["health.matched"] == pytest.approx(0, abs=0.02)
    assert [finding.kind for finding in told] == ["brightness"]
    observer.look(moment(40_000, other[:1].repeat(64, 1, 1, 1)))  # type: ignore[arg-type]
    assert folder.lines(folder.log)[-1]["health.matched"] > 0.2  # one image for all stays far


def test_a_discriminator_that_has_memorised_needs_three_looks():
    share = {"health.memorised": 0.9}
    assert kinds(looks(1.0, 1.0, **share)) == []
    assert kinds(looks(1.0, 1.0, 1.0, **share)) == ["memorised"]
    assert kinds([*looks(1.0, 1.0, 1.0, **share), *looks(1.0, first=10**6, **{"health.memorised": 0.2})]) == []
    found = findings([*looks(1.0, **{"health.memorised": 0.1}), *looks(1.0, 1.0, 1.0, first=50_000, **share)])
    assert found[0].images == 50_000
    assert "augment=diff_augment" in found[0].text
    assert health.titled(60_000, looks(1.0, 1.0, 1.0, **share)).startswith("60,000 images seen; memorised data: ")


def test_the_observer_lets_the_discriminator_score_images_that_were_held_out(tmp_path):
    """A discriminator that knows its training images by their brightness, and takes all darker ones for fakes."""
    bright, dark = torch.rand(16, 1, 8, 8) * 0.1 + 0.8, torch.rand(16, 1, 8, 8) * 0.1
    at = moment(5000, dark)
    at.scores = lambda batches: [batch.images.mean((1, 2, 3)) for batch in batches]
    folder = RunFolder(tmp_path)
    judged = health.Judged(Batch(bright), Batch(dark + 0.2))
    Health(folder, bright, Batch(bright), 0, lambda finding: None, judged=judged).look(at)  # type: ignore[arg-type]
    assert folder.lines(folder.log)[0]["health.memorised"] == pytest.approx(0.75, abs=0.05)


def test_few_images_are_held_out_for_the_alarm_and_it_changes_nothing(tmp_path):
    """A run with the alarm has the same weights as one that has no held-out images to look at."""
    levels = numpy.random.default_rng(0).integers(0, 255, (240, 8, 8)).astype(numpy.uint8)
    numpy.savez(tmp_path / "with.npz", x_train=levels[:200], x_test=levels[200:])
    numpy.savez(tmp_path / "without.npz", images=levels[:200])
    keys = {"data.size": 8, "data.channels": 1, "generator.hidden": [8], "discriminator.hidden": [8]}
    runs = [
        frugan.train(
            "vanilla", data=str(tmp_path / f"{name}.npz"), out=tmp_path / name, images=5120, changes=keys, quiet=True,
            holdout=0,
        )
        for name in ("with", "without")
    ]  # fmt: skip
    lines = [[line for line in run.lines(run.log) if "health.spread" in line] for run in runs]
    assert ["health.memorised" in one[0] for one in lines] == [True, False]
    ends = [[line for line in run.lines(run.log) if "generator.loss" in line][-1] for run in runs]
    assert ends[0]["generator.loss"] == ends[1]["generator.loss"]
