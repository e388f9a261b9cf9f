"""``frugan train --data FOLDER``: what is chosen for a folder, and minutes as a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frugan import data, recipes, schedules
from frugan.engine import loop
from frugan.engine.clock import Clock
from frugan.engine.run import RunFolder
from frugan.recipe import Recipe, from_run, to_dict
from frugan.registry import UserError
from frugan.training import _minutes, choosing, resolve, train
from frugan.training.arguments import TrainingArguments

TINY = {"generator.width": 0.0625, "discriminator.width": 0.0625, "precision": "float32"}
CPU = torch.device("cpu")
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Makes a folder of so many pictures of noise."""

    def make(
        count: int, size: tuple[int, int] = (64, 64), *, within: str = "", grey: bool = False, alike: bool = False
    ) -> Path:
        random = np.random.default_rng(0)
        root = tmp_path / "photos" / within
        root.mkdir(parents=True, exist_ok=True)
        first = random.integers(0, 255, (*size, 3), dtype=np.uint8)
        for number in range(count):
            picture = first if alike else random.integers(0, 255, (*size, 3), dtype=np.uint8)
            if grey:
                picture = np.repeat(picture[:, :, :1], 3, 2)
            Image.fromarray(picture).save(root / f"{number:03d}.png")
        return tmp_path / "photos"

    return make


def chosen(path: Path, rounds: int = 5000, **given: Any) -> tuple[Recipe, str]:
    """What is chosen for a folder if the time allows so many rounds at 64 pixels, four times as many at 32."""
    lines: list[str] = []

    def fit(recipe: Recipe) -> Recipe:
        allowed = rounds if recipe.data.sides[0] * recipe.data.sides[1] >= 64 * 64 else 4 * rounds
        return replace(recipe, images=allowed * recipe.batch_size)

    recipe = choosing.choose(choosing.base(str(path)).with_changes(given), given, fit, lines.append)
    return recipe, "\n".join(lines)


def test_a_folder_of_photos_keeps_its_shape_within_the_rule_and_every_choice_is_told(folder):
    recipe, told = chosen(folder(25, (200, 300)))
    assert (recipe.data.sides, recipe.data.channels, recipe.minutes) == ((64, 96), 3, 20.0)
    assert not any(network.labels for network in recipe.networks.values())
    assert "25 images, most often 300 x 200" in told
    assert "--holdout 20" in told
    for key in ("data.size=[64,96]", "data.channels=3", "augment=diff_augment", "5,000 rounds"):
        assert key in told


@pytest.mark.parametrize(
    ("size", "sides"), [((64, 64), (64, 64)), ((300, 240), (80, 64)), ((90, 120), (64, 80)), ((70, 300), (64, 128))]
)
def test_the_nearest_aspect_is_taken(folder, size, sides):
    assert chosen(folder(20, size))[0].data.sides == sides


def test_images_become_smaller_where_the_time_is_short_or_they_are_small_themselves(folder):
    recipe, told = chosen(folder(20), rounds=499)
    assert recipe.data.size == 32
    assert "the time allows 499 rounds at 64 pixels, 1,996 rounds at 32 pixels" in told
    assert chosen(folder(20, (32, 40), within="small"))[0].data.sides == (64, 64)  # the larger ones are as many
    assert chosen(folder(30, (32, 40), within="small"))[0].data.sides == (32, 40)


def test_grey_images_saved_in_colour_are_grey(folder):
    assert chosen(folder(20, grey=True))[0].data.channels == 1


def test_class_folders_are_labels_though_one_class_has_three_images(folder):
    for name, count in (("cats", 30), ("dogs", 25), ("rare", 3)):
        folder(count, (32, 32), within=name)
    recipe, told = chosen(folder(0))
    assert all(network.labels for network in recipe.networks.values())
    assert "3 classes; the smallest, rare, has 3 images" in told


def test_many_tiny_classes_are_no_labels(folder):
    for number in range(6):
        folder(4, (32, 32), within=f"c{number}")
    assert not any(network.labels for network in chosen(folder(0))[0].networks.values())


def test_what_the_user_says_holds_and_is_not_told(folder):
    recipe, told = chosen(folder(20, (200, 300)), rounds=10, **{"data.size": 64, "batch_size": 8})
    assert (recipe.data.size, recipe.batch_size) == (64, 8)
    assert "data.size" not in told


def test_rates_fall_over_the_second_half_of_the_budget_unless_the_user_says_otherwise(folder):
    photos = folder(30)
    recipe, told = chosen(photos, rounds=1000)
    falling = recipe.players["generator"].schedule
    assert falling.options == {"start": 8000, "end": 16000, "to": 0.1}
    assert recipe.players["discriminator"].schedule == falling
    assert "players.generator.schedule=linear,start=8000,end=16000,to=0.1" in told
    factor = schedules.find(falling.name, **falling.options)
    assert not factor.follows_the_end  # so the run can be trained further
    assert [factor(images, 99) for images in (0, 8000, 16000, 30000)] == pytest.approx([1, 1, 0.1, 0.1])
    given = {"players.generator.schedule": "constant"}
    assert chosen(photos, rounds=1000, **given)[0].players["generator"].schedule.name == "constant"


@pytest.mark.parametrize("given", [
    {"schedule": "constant"}, {"networks.generator.labels": False}, {"labels": False}, {"generator.labels": False},
    {"discriminator.labels": False}, {"data": {"source": "", "size": 32, "channels": 3, "classes": 0}},
], ids=str)  # fmt: skip
def test_what_the_user_says_holds_by_whatever_name(folder, given):
    for name in ("cats", "dogs"):
        photos = folder(25, (64, 64), within=name)
    given = {key: {**value, "source": str(photos)} if key == "data" else value for key, value in given.items()}
    recipe, told = chosen(photos, **given)
    said = choosing.base(str(photos)).with_changes(given)
    (key,) = given
    if "labels" in key:  # both networks are told labels, or none
        assert [network.labels for network in recipe.networks.values()] == [False, False]
    elif key == "schedule":
        assert recipe.players == said.players
        assert "schedule" not in told
    else:
        assert (recipe.data.size, recipe.data.channels) == (32, 3)


def test_without_minutes_no_time_allows_anything(folder):
    recipe, told = chosen(folder(20), rounds=1, images=800)
    assert recipe.data.size == 64
    assert "the time allows" not in told


def test_of_many_sizes_the_middle_decides_and_not_the_first(folder):
    folder(1, (100, 300), within="a")
    for number in range(24):
        folder(1, (150 + 4 * number, 155 + 4 * number), within=f"b{number:02d}")
    recipe, told = chosen(folder(0))
    assert recipe.data.size == 64
    assert "25 images, of many sizes, such as" in told


def test_a_run_whose_rates_have_fallen_says_so_when_it_is_trained_further(folder, tmp_path, capsys):
    falling = {f"players.{name}.schedule": "linear,start=32,end=64,to=0.1" for name in ("generator", "discriminator")}
    asked: dict[str, Any] = {
        "data": str(folder(24, (32, 32))), "out": tmp_path / "run", "changes": {**TINY, **falling, "data.size": 32},
    }
    train("small", images=64, **asked)
    assert "stay low" not in capsys.readouterr().err
    train("small", images=96, **asked)
    told = capsys.readouterr().err
    assert "the rates of generator and discriminator fall until the end of the first budget (64 images)" in told


def test_fewer_images_are_changed_more():
    assert [choosing.augmentation(count) for count in (100, 5_000, 50_000)] == [
        "diff_augment", "diff_augment,colour=false,cutout=0", "none"
    ]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"count": 3}, "photos holds 3 images; a generator needs 20 or more"),
        ({"count": 30, "alike": True}, "all 30 images that were looked at are the same"),
    ],
)
def test_folders_of_which_nothing_can_be_learnt_are_refused(folder, of, said):
    with pytest.raises(UserError, match=said):
        chosen(folder(**of))


def test_a_folder_of_one_broken_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(UserError, match=r"none of the 1 files .* The first is a\.png: not an image\."):
        data.look(str(tmp_path))


def test_without_recipe_and_data_a_line_says_what_to_type():
    with pytest.raises(UserError, match="--data FOLDER"):
        resolve()


def test_a_folder_in_the_place_of_a_recipe_is_answered_with_what_to_type(tmp_path):
    with pytest.raises(UserError, match=r"is a folder, not a recipe\. To train on its images: --data "):
        resolve(str(tmp_path))


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_impossible_minutes_are_refused(minutes):
    with pytest.raises(UserError, match=r"--minutes .* above 0, e\.g\. --minutes 20"):
        resolve("small", minutes=minutes)


def test_two_budgets_are_refused():
    with pytest.raises(UserError, match="--images 5k and --minutes 2: each says how long"):
        resolve("small", minutes=2, images="5k")


def test_a_run_in_minutes_is_one_in_images_and_the_same_command_continues_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_minutes, "SECONDS", 0.0)
    out, source = tmp_path / "run", str(folder(24, (32, 32)))
    measured = []
    real = _minutes._timed
    monkeypatch.setattr(_minutes, "_timed", lambda parts, images: measured.append(images) or real(parts, images))
    asked: dict[str, Any] = {"data": source, "out": out, "minutes": 1e-3, "changes": TINY}
    train(**asked)
    recipe = from_run(RunFolder(out))
    assert (recipe.minutes, recipe.name, recipe.images % 16, len(measured)) == (1e-3, "small", 0, 1)
    train(**asked)
    assert (from_run(RunFolder(out)).images, len(measured)) == (recipe.images, 1)
    assert "is finished" in capsys.readouterr().out


def test_minutes_count_what_a_device_has_still_to_compute_when_rounds_are_over(monkeypatch):
    """Each round gives the device two seconds of work, which it does when it is waited for."""
    now, behind = [0.0], [0.0]

    def synchronize(device: torch.device) -> None:
        now[0], behind[0] = now[0] + behind[0], 0.0

    def play_round(parts: Any) -> None:
        behind[0] += 2.0
        parts.clock.images += 16

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(loop, "play_round", play_round)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(_minutes, "SECONDS", 0.0)
    parts = SimpleNamespace(clock=Clock(), device=torch.device("cuda"), game=SimpleNamespace(networks={}))
    assert _minutes._timed(parts, 160) == 2.0 / 16  # type: ignore[arg-type]


def test_the_recipe_of_a_run_shows_as_many_images_as_the_run_whatever_its_minutes_would_give_now(tmp_path, monkeypatch):
    falling = {"players.generator.schedule": "linear,start=1600,end=3200"}
    recipe = replace(recipes.find("small").with_changes(falling), minutes=1.0, images=3200)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_json(run.recipe, to_dict(recipe))
    run.write_json(run.facts, {})
    again = resolve(str(run.recipe))
    assert (again.minutes, again.images) == (None, 3200)

    monkeypatch.setattr(_minutes, "_images_in", lambda *given: 6400)
    longer = _minutes.with_images(resolve(str(run.recipe), minutes=2.0), None, CPU)
    assert (longer.images, longer.players["generator"].schedule.options) == (6400, {"start": 3200, "end": 6400})

    begun = RunFolder(tmp_path / "longer")  # and the same command continues that run
    begun.path.mkdir()
    begun.write_json(begun.recipe, to_dict(longer))
    assert _minutes.with_images(resolve(str(run.recipe), minutes=2.0), begun, CPU) == longer


def test_more_minutes_train_further_by_the_runs_own_speed_and_passed_ones_are_refused(tmp_path):
    run, recipe = RunFolder(tmp_path), replace(recipes.find("small"), minutes=1.0, images=3200)
    run.write_json(run.recipe, to_dict(recipe))
    run.append(run.log, {"images": 3200, "rounds": 200, "seconds": 60.0})
    run.append(run.log, {"images": 3200, "health.spread": 1.0})
    assert _minutes.with_images(recipe, run, CPU).images == 3200
    assert _minutes.with_images(replace(recipe, minutes=2.0), run, CPU).images == 6400
    with pytest.raises(UserError, match=r"has trained for 1\.0 minutes already"):
        _minutes.with_images(replace(recipe, minutes=0.5), run, CPU)


def test_a_network_that_grows_is_timed_along_its_budget(monkeypatch):
    parts = type("Parts", (), {"game": type("Game", (), {"networks": {"generator": type("Net", (), {"grow": 0})}})})
    monkeypatch.setattr(_minutes, "_parts", lambda *rest: parts)
    # A second an image in the first quarter of 800 images, then two, four, eight: and eight for all further ones.
    monkeypatch.setattr(_minutes, "_timed", lambda parts, images: 2.0 ** (images // 200))
    recipe = replace(recipes.find("small"), images=800, batch_size=1)
    for seconds, images in ((100, 100), (200, 200), (400, 300), (600 + 800, 600), (600 + 800 + 16_000, 2600)):
        assert _minutes._images_in(recipe, seconds, CPU, False, True) == images


def test_a_comparison_without_a_recipe_chooses_once_and_keeps_its_choice(folder, tmp_path, monkeypatch, reached):
    from frugan import comparison
    from frugan.comparison import compare
    from frugan.comparison.planning import checks

    def stop(*rest: Any) -> None:
        raise reached

    monkeypatch.setattr(_minutes, "_images_in", lambda recipe, seconds, *rest: round(seconds) * recipe.batch_size)
    monkeypatch.setattr(checks, "check", lambda *rest, **named: None)
    monkeypatch.setattr(comparison, "prepare", stop)
    asked: dict[str, Any] = {
        "data": str(folder(20, (32, 32))), "families": ("standard", "depthwise"), "seeds": (0,), "changes": TINY,
        "out": tmp_path / "twins", "quiet": True,
    }
    with pytest.raises(reached):
        compare(**asked, minutes=2.0)
    plan = RunFolder(tmp_path / "twins").read_json(tmp_path / "twins" / "plan.json")
    assert [(name, arm["images"], arm["minutes"]) for name, arm in plan["arms"].items()] == [
        ("standard", 1920, None), ("depthwise", 1920, None)
    ]
    monkeypatch.setattr(_minutes, "_images_in", stop)  # another measurement would be another plan
    with pytest.raises(reached):
        compare(**asked)
    assert RunFolder(tmp_path / "twins").read_json(tmp_path / "twins" / "plan.json") == plan


def test_where_images_are_few_another_metric_decides_a_comparison_of_a_folder(folder, tmp_path, monkeypatch, capsys):
    from frugan.comparison.planning import unnamed
    from frugan.comparison.planning.arguments import ComparisonArguments

    monkeypatch.setattr(_minutes, "_images_in", lambda recipe, *rest: 100 * recipe.batch_size)
    said: list[str] = []
    for count, metrics in ((150, ("kid",)), (30, None)):
        photos = folder(count, (32, 32), within=f"{count}")
        asked = ComparisonArguments(
            (), data=str(photos / f"{count}"), families=("standard", "depthwise"), seeds=(0,), out=tmp_path / "out",
            view="pixels", changes=TINY,
        )
        assert unnamed.with_arms(asked, said.append).metrics == metrics
    assert any("kid decides, not fid: " in line for line in said)


def test_minutes_beside_named_arms_are_refused():
    from frugan.comparison import compare

    with pytest.raises(UserError, match="--equal 300s"):
        compare(["mnist"], families=("standard", "depthwise"), minutes=5, quiet=True)


def test_keys_are_typed_without_a_recipe(monkeypatch):
    from frugan import training
    from frugan.cli import main

    asked: list[dict[str, Any]] = []

    def instead(**given: Any) -> None:
        asked.append(given)

    instead.record = TrainingArguments  # type: ignore[attr-defined]
    monkeypatch.setattr(training, "train", instead)
    main(["train", "--data", "photos", "data.size=32", "batch_size=8"])
    assert asked[0]["recipe"] is None
    assert asked[0]["changes"] == {"data.size": 32, "batch_size": 8}
