"""The MNIST coursework: a vanilla GAN that collapses, three depths of DCGAN, virtual batch norm, a conditional GAN.

A student project of March 2019 (e4-gan). Its text matches the public Keras collection, so the sizes are from there. Its
rate, 0.002, is ten times the usual one. The recipes take 0.0002; ``learning_rate=0.002`` gives the report's.
"""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "e4-gan coursework, March 2019; eriklindernoren/Keras-GAN (inferred)"


@recipe
def vanilla() -> Recipe:
    """The vanilla GAN: dense layers only (Goodfellow et al. 2014). The report found it stuck on few digits."""
    adam = {"learning_rate": 2e-4, "betas": (0.5, 0.999)}
    return Recipe(
        name="vanilla", system="coursework", source=f"{SOURCE}; Goodfellow et al. 2014, arXiv 1406.2661",
        expects="G 1,493,520 and D 533,505 parameters", data=Data("mnist", 28, 1, 10),
        networks={"generator": Network("mlp"), "discriminator": Network("mlp")},
        players={"generator": Player(("generator",), **adam), "discriminator": Player(("discriminator",), **adam)},
        images=6_400_000, latents=LatentsChoice(100), batch_size=32,
    )


def _dcgan(name: str, first: int, second: int, parameters: str) -> Recipe:
    generator = {"channels": [128, first, second]}
    return replace(
        vanilla(), name=name, source=SOURCE, expects=f"G {parameters} and D 393,729 parameters", images=1_200_000,
        networks={
            "generator": Network("upsampling", generator, tables=WHOLE_OUTPUT),
            "discriminator": Network("upsampling"),
        },
        averages={"generator": Average(5_000.0)},
    )


@recipe
def dcgan_shallow() -> Recipe:
    """The coursework's DCGAN with inner convolutions of 128 and 64 channels."""
    return _dcgan("dcgan-shallow", 128, 64, "856,193")


@recipe
def dcgan_medium() -> Recipe:
    """The coursework's DCGAN with inner convolutions of 256 and 128 channels, which it found best."""
    return _dcgan("dcgan-medium", 256, 128, "1,226,369")


@recipe
def dcgan_deep() -> Recipe:
    """The coursework's DCGAN with inner convolutions of 512 and 256 channels."""
    return _dcgan("dcgan-deep", 512, 256, "2,409,089")


@recipe
def vbn() -> Recipe:
    """DCGAN medium with virtual batch normalisation in the generator (Salimans et al. 2016, arXiv 1606.03498)."""
    medium = dcgan_medium()
    generator = medium.networks["generator"]
    options = {**generator.options, "normalisation": "virtual_batch_norm"}
    return replace(
        medium, name="vbn", networks={**medium.networks, "generator": replace(generator, options=options)},
        expects="as dcgan-medium, less correlation within a batch",
    )


@recipe
def cgan() -> Recipe:
    """A conditional GAN on DCGAN medium: labels join the latents, and as planes the image that the discriminator gets.

    Mirza and Osindero 2014, arXiv 1411.1784. ``frugan sample RUN`` then makes every digit in turn.
    """
    medium = dcgan_medium()
    networks = {name: replace(network, labels=True) for name, network in medium.networks.items()}
    return replace(medium, name="cgan", networks=networks, expects="the digit that was asked for")
