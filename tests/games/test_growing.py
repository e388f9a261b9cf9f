"""The growing game: its schedule, what is resized and forgotten when, and that a fade continues bit for bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from frugan import build, recipes
from frugan.artefact import load
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine import checkpoint
from frugan.engine.average import Average
from frugan.engine.loop import Parts, play, play_round
from frugan.games.growing import Growth, resized
from frugan.recipe import Recipe
from frugan.registry import UserError
from frugan.training import train

THOUSAND = 1000
SMALL = {
    "data.size": 16, "generator.width": 0.0625, "discriminator.width": 0.0625, "latents.size": 4, "batch_size": 8,
    "game.steady": 16, "game.fading": 32, "precision": "float32", "averages.generator.half_life": 20,
}  # fmt: skip


def test_pggan_sheet_3_3_the_schedule():
    growth = Growth(600 * THOUSAND, 600 * THOUSAND, top=5)  # 128 pixels
    points = {0: 5, 599: 5, 900: 4.5, 1200: 4, 2100: 3.5, 3600: 2, 6000: 0, 12000: 0}
    assert {at: growth.top - growth.level(at * THOUSAND) for at in points} == pytest.approx(points)
    for images in range(0, 7_000_000, 13_000):  # the formula as the sheet has it
        lod = 5 - images // 1_200_000 - max(images % 1_200_000 - 600_000, 0) / 600_000
        assert growth.level(images) == pytest.approx(5 - max(lod, 0))


@pytest.mark.parametrize(
    ("stage", "top", "reached"), [(800, 8, 12_800), (600, 8, 9_600), (800, 6, 9_600), (800, 5, 8_000), (400, 3, 2_400)]
)
def test_pggan_sheet_3_3_when_the_last_size_is_reached(stage, top, reached):
    growth = Growth(stage * THOUSAND, stage * THOUSAND, top)
    assert growth.level(reached * THOUSAND - 1) < growth.level(reached * THOUSAND) == top


def test_fades_of_no_length_and_stages_of_none():
    assert [Growth(10, 0, 2).level(images) for images in (0, 9, 10, 20, 99)] == [0, 0, 1, 2, 2]
    assert [Growth(0, 10, 2).level(images) for images in (0, 5, 10, 15, 99)] == [0, 0.5, 1, 1.5, 2]
    with pytest.raises(UserError, match=r"game\.steady=0, game\.fading=0: give how many real images each size"):
        Growth(0, 0, 2)


def test_pggan_sheet_2_5_real_images_are_faded_as_fakes_are():
    images = torch.randn(3, 2, 16, 16)
    assert torch.equal(resized(images, 2.0, 2), images)
    small = functional.avg_pool2d(functional.avg_pool2d(images, 2), 2)
    torch.testing.assert_close(resized(images, 0.0, 2), small)
    fading = resized(images, 1.75, 2)  # t = 0.25
    blurred = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2.0)
    torch.testing.assert_close(fading, 0.75 * images + 0.25 * blurred)
    assert resized(images, 0.5, 2).shape == (3, 2, 8, 8)


def noise(side: int = 16, count: int = 24) -> Dataset:
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=random)
    return Dataset("noise", "train", ImageShape(3, side, side), pictures, torch.arange(count) % 10, (), "0" * 16)


def small_recipe(**changes: Any) -> Recipe:
    return recipes.find("pggan-cifar10").with_changes({**SMALL, **changes})


def parts_of(recipe: Recipe) -> Parts:
    parts = build.parts(build.assemble(recipe), {"train": noise(recipe.data.size)})
    for network in parts.game.networks.values():
        network.train()
    return parts


def test_networks_see_and_make_the_size_of_the_level_in_every_round():
    """Levels 0, 0, then over 32 images to 1: 0, 0.25, 0.5, 0.75, 1, 1, ..."""
    parts, seen = parts_of(small_recipe()), []

    def note(module: Any, given: tuple[Tensor, ...], output: Any) -> None:
        seen.append((float(module.level), given[0].shape[-1]))

    parts.game.networks["discriminator"].register_forward_hook(note)
    levels = []
    for _ in range(9):
        seen.clear()
        scalars = play_round(parts)
        levels.append(float(scalars["generator.level"]))
        assert {level for level, _ in seen} == {levels[-1]}
        assert {side for _, side in seen} == {4 * 2 ** math.ceil(levels[-1])}
    assert levels == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]


def moments(parts: Parts, player: str) -> set[int]:
    state = parts.update.players[player].optimiser.state.values()
    return {int(one["step"]) for one in state}


def test_pggan_sheet_6_4_moments_are_forgotten_when_a_size_begins_or_is_faded_in():
    parts, steps = parts_of(small_recipe()), []
    for _ in range(9):
        play_round(parts)
        steps.append({name: moments(parts, name) for name in parts.update.players})
    # Level 0 for three rounds (its fade begins above 16 images), 0.25 to 0.75 for three, then 1.
    assert steps == [{"generator": {count}, "discriminator": {count}} for count in (1, 2, 3, 1, 2, 3, 1, 2, 3)]


def test_pggan_sheet_6_3_new_layers_begin_in_the_average_as_they_begin_in_the_network():
    parts = parts_of(small_recipe())
    network, average = parts.game.networks["generator"], parts.averages["generator"].network
    drawn = {name: value.clone() for name, value in network.named_parameters()}
    for _ in range(6):
        play_round(parts)
    new = [name for name in drawn if name.startswith(("blocks.2.", "to_image.2."))]
    averaged = dict(average.named_parameters())
    assert new
    for name, value in network.named_parameters():
        still = name in new
        assert torch.equal(value, drawn[name]) == still, name
        assert torch.equal(averaged[name], value) == still, name
    assert float(average.level) == float(network.level) == 0.75


def test_pggan_sheet_5_10_the_average_after_a_step():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = Average(layer, recipes.find("pggan-cifar10").averages["generator"].half_life)
    torch.nn.init.ones_(layer.weight)
    average.update(16, 16)
    assert average.network.weight.item() == pytest.approx(0.001, rel=1e-4)


def test_batches_and_rates_follow_the_size():
    changes = {
        "game.batches": [[8, 4], [64, 2]], "game.rates": [[16, 0.5]], "game.steady": 8, "game.fading": 8,
    }  # fmt: skip
    parts, shown, rates = parts_of(small_recipe(**changes)), [], []
    for _ in range(6):
        before = parts.clock.images
        play_round(parts)
        shown.append(parts.clock.images - before)
        rates.append(parts.update.players["generator"].optimiser.param_groups[0]["lr"])
    assert shown == [8, 8, 4, 4, 4, 4]
    assert rates == [1e-3] * 5 + [0.5e-3]  # the sixth begins at level 1.5
    for given in ([[12, 4]], [[8, 0]], [[8]]):
        with pytest.raises(UserError, match=r"game\.batches=.* The sizes of this run are 4, 8, 16\."):
            build.assemble(small_recipe(**{"game.batches": given}))


def test_a_batch_that_cannot_be_compared_is_refused_before_its_size_is_reached():
    recipe = small_recipe(**{"game.batches": [[8, 7]], "discriminator.group": 4})
    with pytest.raises(UserError, match=r"groups of up to 4, and 7 images in a batch of one process cannot"):
        build.assemble(recipe)


@pytest.mark.parametrize(("images", "told"), [
    (40, "40 images end at 8 x 8 pixels of 16 x 16, and it will ship enlarged"),
    (95, "95 images end while 16 x 16 pixels are faded in. After 96 images they are full-grown"), (96, None),
])  # fmt: skip
def test_a_budget_that_ends_before_the_last_size_is_told(images, told):
    notes = build.check(small_recipe().with_images(images))
    assert [told in note for note in notes] == ([] if told is None else [True])


@pytest.mark.parametrize("recipe", ["pggan-portraits", "egan-small"])
def test_an_alarm_for_memorised_images_can_ask_the_discriminator(recipe):
    """It scores images of full size, however far it has grown."""
    small = recipes.find(recipe).with_changes({"architecture.width": 0.05})
    scores = build.assemble(small).game.score_images(torch.zeros(4, small.data.channels, 32, 32), None)
    assert scores.flatten().shape == (4,)


def test_networks_that_do_not_grow_are_refused():
    told = r"the discriminator does not\. Set discriminator\.architecture=growing, or game=adversarial"
    with pytest.raises(UserError, match=told):
        build.assemble(small_recipe().with_changes({"networks.discriminator": {"architecture": "dcgan"}}))


@pytest.mark.parametrize(("rounds", "family"), [(4, "standard"), (6, "depthwise")])
def test_a_run_that_was_stopped_within_a_fade_or_between_two_sizes_ends_bit_for_bit_the_same(rounds, family, tmp_path):
    recipe = small_recipe().with_family(family)
    whole, first, second = (parts_of(recipe) for _ in range(3))
    play(whole, rounds=12)
    play(first, rounds=rounds)
    path = checkpoint.write(tmp_path, first.stateful(), first.clock.images)
    checkpoint.restore(second.stateful(), *checkpoint.read(path))
    play(second, rounds=12)
    (mine, rest), (theirs, others) = (checkpoint.capture(parts.stateful()) for parts in (second, whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert rest["game"] == others["game"]
    assert 0 < float(mine["network.generator/level"]) < 2


def repeats(images: np.ndarray) -> int:
    """The side of the squares of equal pixels that images ``[n, h, w, c]`` are made of."""
    sizes = (4, 2, 1)
    return next(
        one for one in sizes if np.array_equal(images, images[:, ::one, ::one].repeat(one, 1).repeat(one, 2))
    )


def test_what_is_shown_measured_and_shipped_has_the_full_size_at_every_level(tmp_path):
    data = noise()
    np.savez(tmp_path / "noise.npz", images=data.images.permute(0, 2, 3, 1).numpy())
    recipe = small_recipe(**{"data.source": str(tmp_path / "noise.npz"), "data.classes": 0})
    out, made = tmp_path / "run", []
    for images in (16, 40, 48, 80, 112):
        train(recipe, images=images, out=out, quiet=True)
        generator = load(out)
        made.append(generator.sample(3))
    assert {images.shape for images in made} == {(3, 16, 16, 3)}
    assert [repeats(images) for images in made] == [4, 2, 2, 1, 1]
    again = load(generator.save(tmp_path / "artefact"))
    assert np.array_equal(again.sample(3), made[-1])
