"""PGGAN: Karras, Aila, Laine, Lehtinen, arXiv 1710.10196. Networks that grow from 4 x 4 pixels, each new size faded in.

A run passes through all sizes if it is long enough: with T images at each size and F for each fade, a size of 2^r
pixels is reached after (r - 2)(T + F) images. `game.steady` and `game.fading` set both. Images are always shipped,
shown and measured at full size; at early sizes they are enlarged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe

SOURCE = "Karras, Aila, Laine, Lehtinen 2018, arXiv 1710.10196"
ADAM = {"learning_rate": 1e-3, "betas": (0.0, 0.99)}
HALF_LIFE = 11_085.0
"""Of the average: 0.999 a step with batches of 16."""


@recipe
def pggan_cifar10() -> Recipe:
    """PGGAN at 32 pixels as for CIFAR-10: 128 maps everywhere, slopes of 750, no mirroring, 20 million images.

    ``frugan train pggan-cifar10 --data cifar10``. Published: inception score 8.80 for the best run; public
    re-implementations report 5.2 to 6.6. Not trained here: a round of 16 images at 32 pixels took 26 s of one CPU core,
    so it is one for a GPU. The average forgets a half in 11,085 images, which is the paper's 0.999 a step of 16 images.
    """
    options = {"channels": 4096, "most_channels": 128}
    return Recipe(
        name="pggan-cifar10", system="PGGAN", source=SOURCE, expects="G 1,296,908 and D 1,298,689 parameters",
        data=Data("cifar10", 32, 3, 10),
        networks={
            "generator": Network("growing", options),
            "discriminator": Network("growing", {**options, "group": None}),
        },
        players={"generator": Player(("generator",), **ADAM), "discriminator": Player(("discriminator",), **ADAM)},
        game=Choice("growing", {"steady": 400_000, "fading": 400_000}), loss=Choice("wgan"),
        penalties=(Choice("wgan_gp", {"target": 750.0}), Choice("drift")),
        images=20_000_000, latents=LatentsChoice(128), batch_size=16, averages={"generator": Average(HALF_LIFE)},
    )


@recipe
def pggan_1024() -> Recipe:
    """PGGAN at 1024 pixels as for CelebA-HQ, on one GPU: 512 maps, 600,000 images a size and a fade, 12 million in all.

    ``frugan train pggan-1024 --data FOLDER`` (two weeks on one V100, as published). Batches and rates by size are those
    of the authors' later code for one GPU. A smaller power of two works too: ``data.size=256``. No score is given here,
    and it was not trained here. The average forgets a half in 11,085 images at every batch; the paper's 0.999 a step
    would be 88,700 images in batches of 128 and 2,770 in batches of 4.
    """
    small = pggan_cifar10()
    batches = [[32, 64], [64, 32], [128, 16], [256, 8], [512, 4]]
    game = {"steady": 600_000, "fading": 600_000, "batches": batches, "rates": [[1024, 1.5]]}
    return replace(
        small, name="pggan-1024", expects="G 23,079,115 and D 23,087,249 parameters",
        data=Data("portraits", 1024, 3, 11), networks={name: Network("growing") for name in small.networks},
        game=Choice("growing", game), penalties=(Choice("wgan_gp"), Choice("drift")), augment=(Choice("flip"),),
        images=12_000_000, latents=LatentsChoice(512), batch_size=128,
    )


@recipe
def pggan_128() -> Recipe:
    """PGGAN at 128 pixels as in the paper's table of configurations: row (g), from which `ROWS` makes the others.

    ``frugan train pggan-128 --data FOLDER``. Deviations are of the whole batch, as in the paper's own code. Published,
    as it is quoted: SWD 3.56 on CelebA. Not trained here. Row (h) also trains longer, which `ROWS` leaves to --images.
    """
    large, options = pggan_1024(), {"channels": 2048}
    return replace(
        large, name="pggan-128", expects="G 13,629,810 and D 13,636,897 parameters", data=Data("portraits", 128, 3, 11),
        networks={
            "generator": Network("growing", options),
            "discriminator": Network("growing", {**options, "group": None}),
        },
        game=Choice("growing"), batch_size=16, images=10_000_000,
    )


@recipe
def pggan_portraits() -> Recipe:
    """A small PGGAN that learns the built-in portraits at 32 pixels on two cores: 32 maps, and 16 at the last size.

    ``frugan train pggan-portraits --out runs/growing``: eight to nine minutes of one core without AVX-512, SWD 43 to 72
    in three seeds where real images have 11 (docs/results/pggan.md).
    """
    small = pggan_cifar10()
    options = {"channels": 256, "most_channels": 32}
    return replace(
        small, name="pggan-portraits", expects="G 86,332 and D 70,385 parameters",
        data=Data("portraits", 32, 3, 11), networks={name: Network("growing", options) for name in small.networks},
        game=Choice("growing", {"steady": 12_000, "fading": 12_000}), penalties=(Choice("wgan_gp"), Choice("drift")),
        augment=(Choice("flip"),), images=84_000, latents=LatentsChoice(64),
        averages={"generator": Average(500.0)},  # must be short beside a fade (docs/results/pggan.md)
    )


_OLD: dict[str, Any] = {
    "generator.activation": "relu", "generator.normalisation": "batch_norm", "generator.normalise_latents": False,
    "generator.output": "tanh", "generator.equalised": False, "discriminator.normalisation": "layer_norm",
    "discriminator.minibatch": "none", "discriminator.equalised": False, "game.discriminator_steps": 5,
    "latents.size": 128, "penalties": "wgan_gp", "learning_rate": 1e-4, "betas": (0.0, 0.9),
}  # fmt: skip
_REVISED: dict[str, Any] = {
    "generator.normalisation": "none", "generator.equalised": False, "discriminator.minibatch": "none",
    "discriminator.equalised": False, "learning_rate": 1e-4,
}
_DEVIATION: dict[str, Any] = {**_REVISED, "discriminator.minibatch": "deviation"}
ROWS: dict[str, dict[str, Any]] = {
    "a": {"game": "adversarial", **_OLD, "batch_size": 64},
    "b": {**_OLD, "batch_size": 64},
    "c": _OLD,
    "d": _REVISED,
    "e*": {**_REVISED, "discriminator.minibatch": "discrimination"},
    "e": _DEVIATION,
    "f": {"generator.normalisation": "none"},
    "g": {},
    "h": {"generator.channels": 8192, "discriminator.channels": 8192},
}
"""The paper's table 1: what makes each of its rows of `pggan-128`, ``frugan train pggan-128 KEY=VALUE ...``."""
