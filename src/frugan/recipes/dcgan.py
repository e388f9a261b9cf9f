"""DCGAN: Radford, Metz, Chintala, arXiv 1511.06434, and the well-known 64-pixel form of the PyTorch examples.

As published the discriminator is a wall: in small budgets it is soon right on everything (docs/results/fair.md). So
there are two recipes for each net: `dcgan-64-faithful` and its like are as published, and `dcgan-64` and its like have
settings that train every family:

- The discriminator has no batch norm but biases, and R1 every fourth round regularises it (arXiv 1801.04406). Adam has
  no momentum.
- Batches of 32, so four times the updates for the same images, and a rate of 1e-3 (5e-4 for `dcgan-32`, which has
  twice the layers).
- The average's half-life is at most a tenth of the images seen, so a short run ships what it learnt last.

The average is ours, in the faithful recipes too: DCGAN's paper and codes have none. With ``averages={}`` the live
weights are shipped.
"""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "Radford, Metz, Chintala 2016, arXiv 1511.06434"
ADAM = {"learning_rate": 2e-4, "betas": (0.5, 0.999)}


def _dependable(published: Recipe, expects: str, learning_rate: float = 1e-3) -> Recipe:
    """The nets of a faithful recipe in settings that train in small budgets."""
    discriminator = published.networks["discriminator"]
    unnormed = replace(discriminator, options={**discriminator.options, "normalisation": "none"})
    players = {
        name: replace(player, learning_rate=learning_rate, betas=(0.0, 0.99))
        for name, player in published.players.items()
    }
    return replace(
        published, name=published.name.removesuffix("-faithful"), expects=expects, players=players, batch_size=32,
        networks={**published.networks, "discriminator": unnormed},
        penalties=(Choice("r1", {"weight": 2.0, "every": 4}),), averages={"generator": Average(10_000.0, ramp=0.1)},
    )


@recipe
def dcgan_paper() -> Recipe:
    """The nets of DCGAN's paper (64 x 64, 5 x 5 kernels, base width 128), in settings that train in small budgets."""
    return _dependable(dcgan_paper_faithful(), "G 18,920,320 and D 17,231,105 parameters")


@recipe
def dcgan_paper_faithful() -> Recipe:
    """DCGAN as in the paper: 64 x 64, 5 x 5 kernels, base width 128, 100 uniform latents, batch 128."""
    options = {"channels": 128, "kernel": 5}
    return Recipe(
        name="dcgan-paper-faithful", system="DCGAN", source=SOURCE,
        expects="G 18,920,320 and D 17,236,352 parameters", data=Data("glyphs:all", 64, 3, 36),
        networks={
            "generator": Network("dcgan", options, tables=WHOLE_OUTPUT),
            "discriminator": Network("dcgan", options),
        },
        players={"generator": Player(("generator",), **ADAM), "discriminator": Player(("discriminator",), **ADAM)},
        images=3_000_000, latents=LatentsChoice(100, "uniform"), batch_size=128,
        averages={"generator": Average(10_000.0)},
    )


@recipe
def dcgan_64() -> Recipe:
    """The well-known 64-pixel DCGAN's nets (4 x 4 kernels, base width 64), in settings that train in small budgets.

    ``frugan train dcgan-64 --data FOLDER`` takes any folder of images. `dcgan-64-faithful` has the well-known settings.
    """
    return _dependable(dcgan_64_faithful(), "G 3,578,624 and D 2,764,737 parameters")


@recipe
def dcgan_64_faithful() -> Recipe:
    """The well-known 64-pixel DCGAN: 4 x 4 kernels, base width 64, 100 normal latents, batch 128."""
    generator = {"channels": 64, "kernel": 4, "projection": "convolution", "projection_norm": "channel"}
    discriminator = {"channels": 64, "kernel": 4, "head": "convolution"}
    return replace(
        dcgan_paper_faithful(), name="dcgan-64-faithful", latents=LatentsChoice(100),
        source=f"{SOURCE}; soumith/dcgan.torch and the DCGAN example of pytorch/examples",
        networks={
            "generator": Network("dcgan", generator, tables=WHOLE_OUTPUT),
            "discriminator": Network("dcgan", discriminator),
        },
        expects="G 3,578,624 and D 2,767,360 parameters",
    )


@recipe
def dcgan_32() -> Recipe:
    """The nets of the released 32-pixel ImageNet model, in settings that train in small budgets.

    3 x 3 kernels, two layers per resolution, 256 latents. `dcgan-32-faithful` has the paper's settings.
    """
    return _dependable(dcgan_32_faithful(), "G 6,709,632 and D 4,584,577 parameters", learning_rate=5e-4)


@recipe
def dcgan_32_faithful() -> Recipe:
    """The released 32-pixel ImageNet model: 3 x 3 kernels, two layers per resolution, 256 latents.

    Its six-layer discriminator is the feature extractor of the paper's CIFAR-10 result (28,672 features).
    """
    options = {"channels": 128, "kernel": 3, "layers_per_stage": 2}
    return replace(
        dcgan_paper_faithful(), name="dcgan-32-faithful", latents=LatentsChoice(256, "uniform"),
        data=Data("cifar10", 32, 3, 10), source=f"{SOURCE}; Newmu/dcgan_code",
        networks={
            "generator": Network("dcgan", options, tables=WHOLE_OUTPUT),
            "discriminator": Network("dcgan", options),
        },
        expects="G 6,709,632 and D 4,589,440 parameters",
    )
