"""PGGAN's recipes, and the rows of the paper's table of configurations: each is a run of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import build, recipes
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine.loop import play_round
from frugan.nets import MinibatchDeviation
from frugan.recipes.pggan import ROWS

SMALL = {
    "data.size": 8, "generator.width": 0.0625, "discriminator.width": 0.0625, "latents.size": 8, "batch_size": 4,
    "precision": "float32",
}  # fmt: skip
SHORT = {"game.steady": 20, "game.fading": 40}
STEPS = 5


@pytest.mark.parametrize("row", ROWS)
def test_pggan_sheet_3_5_a_short_run_of_every_row(row):
    """Into the fade of the second size, where it grows; both networks move, and nothing is infinite."""
    grows = row != "a"
    recipe = recipes.find("pggan-128").with_changes({**ROWS[row], **SMALL, **(SHORT if grows else {})})
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=random)
    parts = build.parts(
        build.assemble(recipe), {"train": Dataset("noise", "train", ImageShape(3, 8, 8), pictures, None, (), "0" * 16)}
    )
    before = {name: [one.clone() for one in network.parameters()] for name, network in parts.game.networks.items()}
    for network in parts.game.networks.values():
        network.train()
    rounds = 3 if row in "abc" else 9
    for _ in range(rounds):
        scalars = play_round(parts)
    assert parts.clock.images == 4 * rounds * (STEPS if row in "abc" else 1)
    assert all(value.isfinite() for value in scalars.values())
    assert ("generator.level" in scalars) == grows
    if grows:
        assert 0 < float(scalars["generator.level"]) < 1
    assert ("discriminator.drift" in scalars) == (row not in "abc")
    for name, network in parts.game.networks.items():
        moved = [not torch.equal(*pair) for pair in zip(before[name], network.parameters(), strict=True)]
        assert any(moved)


def modules(row: str) -> dict[str, set[str]]:
    """The kinds of layers in both networks of a row, and what they begin with."""
    recipe = recipes.find("pggan-128").with_changes({**ROWS[row], "data.size": 8})
    with torch.device("meta"):
        built = {name: blueprint.build()[0] for name, blueprint in build.blueprints(recipe).items()}
    return {name: {type(part).__name__ for part in network.modules()} for name, network in built.items()}


def test_pggan_sheet_3_5_what_each_row_is_made_of():
    old, revised, deviation, equalised, whole = (modules(row) for row in "adefg")
    assert {"BatchNorm2d", "ReLU", "Tanh"} <= old["generator"]
    assert not {"PixelNorm", "LeakyReLU", "Scaled"} & old["generator"]
    assert "GroupNorm" in old["discriminator"]
    assert "PixelNorm" in revised["generator"]  # of the latents alone
    assert not {"BatchNorm2d", "Tanh", "Scaled"} & revised["generator"]
    assert not {"GroupNorm", "MinibatchDeviation", "Scaled"} & revised["discriminator"]
    assert "MinibatchDiscrimination" in modules("e*")["discriminator"]
    assert "MinibatchDeviation" in deviation["discriminator"]
    assert all("Scaled" not in kinds for kinds in deviation.values())
    assert all("Scaled" in kinds for kinds in equalised.values())
    assert whole == modules("h")
    recipe = recipes.find("pggan-128")
    norms = []
    for row in "fg":
        with torch.device("meta"):
            network = build.blueprints(recipe.with_changes(ROWS[row]))["generator"].build()[0]
        norms.append(sum(type(part).__name__ == "PixelNorm" for part in network.modules()))
    assert norms == [1, 13]


def test_pggan_sheet_2_5_deviations_are_of_the_whole_batch_in_the_papers_runs():
    def groups(name: str, changes: dict | None = None) -> list[int | None]:
        with torch.device("meta"):
            network = build.blueprints(recipes.find(name).with_changes(changes or {}))["discriminator"].build()[0]
        return [part.group for part in network.modules() if isinstance(part, MinibatchDeviation)]

    assert {row: groups("pggan-128", changes) for row, changes in ROWS.items()} == {
        row: [None] if row in ("e", "f", "g", "h") else [] for row in ROWS
    }
    assert groups("pggan-cifar10") == [None]
    assert groups("pggan-1024") == [4]  # of the authors' later code


def test_pggan_sheet_3_5_settings_of_the_rows():
    base = recipes.find("pggan-128")
    made = {row: base.with_changes(changes) for row, changes in ROWS.items()}
    assert [row for row, recipe in made.items() if recipe.game.name != "growing"] == ["a"]
    assert {row: recipe.batch_size for row, recipe in made.items()} == {**dict.fromkeys(ROWS, 16), "a": 64, "b": 64}
    rates = {row: recipe.players["generator"].learning_rate for row, recipe in made.items()}
    assert rates == {row: 1e-3 if row in "fgh" else 1e-4 for row in ROWS}
    betas = {row: recipe.players["discriminator"].betas for row, recipe in made.items()}
    assert betas == {row: (0.0, 0.9) if row in "abc" else (0.0, 0.99) for row in ROWS}
    latents = {row: recipe.latents.size for row, recipe in made.items()}
    assert latents == {row: 128 if row in "abc" else 512 for row in ROWS}


def test_the_recipes_have_the_settings_of_the_sheet():
    cifar, large, small = (recipes.find(f"pggan-{name}") for name in ("cifar10", "1024", "portraits"))
    assert cifar.penalties[0].options == {"target": 750.0}
    assert not cifar.augment
    assert large.game.options["batches"] == [[32, 64], [64, 32], [128, 16], [256, 8], [512, 4]]
    counts = {
        recipe.name: [
            sum(parameter.numel() for parameter in network.parameters())
            for network in _meta(recipe)
        ] for recipe in (cifar, large, small)
    }  # fmt: skip
    assert counts == {
        "pggan-cifar10": [1_296_908, 1_298_689], "pggan-1024": [23_079_115, 23_087_249],
        "pggan-portraits": [86_332, 70_385],
    }  # fmt: skip
    for recipe in (cifar, large, small):
        for count in counts[recipe.name]:
            assert f"{count:,}" in recipe.expects


def _meta(recipe) -> list[nn.Module]:
    with torch.device("meta"):
        return [blueprint.build()[0] for blueprint in build.blueprints(recipe).values()]
