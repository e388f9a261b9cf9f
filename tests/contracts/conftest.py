"""What contract tests share: every recipe made so small that a round of it takes a moment, and data for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from frugan import games, recipes
from frugan.recipe import Recipe


class Small(NamedTuple):
    """What makes the recipes of an architecture small: its smallest images, a batch, and its networks' options."""

    size: int
    batch: int
    making: Mapping[str, Any]
    judging: Mapping[str, Any]


SMALL = {
    "mlp": Small(8, 8, {"width": 0.125}, {"width": 0.125}),
    "upsampling": Small(8, 8, {"width": 0.125}, {"width": 0.125}),
    "dcgan": Small(16, 8, {"width": 0.125}, {"width": 0.125}),
    "egan": Small(16, 8, {"width": 0.125}, {"width": 0.125}),
    "growing": Small(8, 8, {"width": 0.0625}, {"width": 0.0625}),
    "tutorial": Small(12, 8, {"width": 0.25}, {"width": 0.125}),
    "chollet": Small(24, 8, {"width": 0.25}, {"width": 0.125}),
    "biggan": Small(8, 8, {"width": 0.125, "attention": 0}, {"width": 0.125, "attention": 0}),
    "small": Small(16, 8, {"width": 0.125}, {"width": 0.125}),
    "sgan": Small(8, 8, {"width": 0.125}, {"width": 0.125}),
    "infogan": Small(8, 8, {"width": 0.05}, {"width": 0.05}),
    "salimans": Small(8, 8, {"width": 0.05}, {"width": 0.05}),
    "salimans_convolutional": Small(16, 8, {"width": 0.05}, {"width": 0.05}),
    "stargan": Small(24, 2, {"width": 0.0625, "blocks": 1}, {"width": 0.0625}),
    "bigan": Small(8, 8, {"width": 0.01}, {"width": 0.01}),
    "bigan_convolutional": Small(16, 8, {"width": 0.125}, {"width": 0.125}),
    "ali": Small(24, 8, {"width": 0.0625}, {"width": 0.0625}),
    "cyclegan": Small(24, 2, {"width": 0.0625, "blocks": 1}, {"width": 0.1, "stages": 2}),
}
"""By the architecture of a recipe's generator."""


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten labelled pictures of noise, 24 x 24."""
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    pictures = np.random.default_rng(0).integers(0, 255, (10, 24, 24, 3), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(10))
    return path


@pytest.fixture(scope="session")
def tiny(noise: Path) -> Callable[[str], Recipe]:
    """Makes the recipe of a name tiny: little networks, and small batches of `noise` in place of its data."""

    def make(name: str) -> Recipe:
        recipe = recipes.find(name)
        makers = recipe.makers()
        small = SMALL[recipe.networks[makers[0]].architecture]
        keys: dict[str, Any] = {
            "data.source": str(noise), "data.size": small.size, "batch_size": small.batch, "latents.size": 8,
            "precision": "float32",
        }
        for network, spec in recipe.networks.items():
            options = small.making if network in makers else small.judging
            if spec.families:  # whose rules name the blocks
                options = {option: value for option, value in options.items() if option != "blocks"}
            if "attention" not in spec.options:
                options = {option: value for option, value in options.items() if option != "attention"}
            keys |= {f"{network}.{option}": value for option, value in options.items()}
            if spec.options.get("normalisation") == "virtual_batch_norm":
                keys[f"{network}.reference"] = 4
        if "discriminator_steps" in games.find(recipe.game.name).options():
            keys["game.discriminator_steps"] = 1
        if recipe.game.options.get("evaluation"):
            keys["game.evaluation"] = 2 * small.batch
        if "categories" in recipe.game.options:
            keys |= {"game.categories": [3], "generator.categories": [3]}
        if "pieces" in recipe.game.options:
            keys["game.pieces"] = 2
        if recipe.data.attributes:
            keys["data.attributes"] = []  # noise has classes
        if recipe.data.only:
            keys["data.only"] = []
        # Streams that differ in their classes have some of those of `noise`; those that differ in attributes, all.
        for number, (stream, changed) in enumerate(recipe.streams.items()):
            if "only" in changed:
                keys[f"streams.{stream}.only"] = [str(one) for one in range(number, 6, 2)]
            if "even_limit" in changed:
                keys[f"streams.{stream}.even_limit"] = 10
            if "attributes" in changed:
                keys[f"streams.{stream}.attributes"] = []
        return recipe.with_changes(keys)

    return make
