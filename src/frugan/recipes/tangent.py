"""The tangent GAN (Kumar, Sattigeri, Fletcher 2017, arXiv 1705.08850): an encoder, then a classifier of few labels."""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT
from frugan.recipes.bigan import bigan_mnist
from frugan.recipes.sgan import PUBLISHED_AVERAGE, sgan

SOURCE = "Kumar, Sattigeri, Fletcher 2017, arXiv 1705.08850; Salimans et al. 2016, arXiv 1606.03498"
AUGMENTED = {"update": "simultaneous", "third": 0.5, "matching": 0.01}
"""The weight of matching is ours; the paper's is not known here."""
ENCODER = "runs/encoder"
"""Where the commands below put the encoder, unless ``--init encoder=PATH`` names another run."""


@recipe
def tangent() -> Recipe:
    """A classifier of CIFAR-10 from 4,000 labels that does not change along the tangents of an encoder.

    First train the encoder: ``frugan train tangent-encoder --out runs/encoder``, then ``frugan train tangent``;
    ``--init encoder=PATH`` takes another run's. ``game.along=0`` leaves tangents out, ``game.everywhere=0`` the
    Jacobian, ``game.matching=none`` feature matching, ``game.unsupervised=0`` the GAN. ``streams.labelled.even_limit``
    says how many labels there are. ``discriminator.channels=64`` is the published net for SVHN. 1,200 epochs of
    500 rounds are published; a round shows 300 images: labelled ones, others, and further ones for matching.
    """
    adam = {"learning_rate": 3e-4, "betas": (0.5, 0.999)}
    # min(3 - epoch / 400, 1): over the last third the rate falls to 0.
    players = {
        name: Player((name,), **adam, schedule=Choice("linear", {"hold": 2 / 3}))
        for name in ("generator", "discriminator")
    }
    generator = Network("salimans_convolutional", tables=WHOLE_OUTPUT)
    return Recipe(
        name="tangent", system="tangent GAN", source=SOURCE,
        expects="G 4,933,382 and D 1,406,804 parameters",
        data=Data("cifar10", 32, 3, 10), players=players, images=180_000_000, batch_size=100,
        networks={
            "generator": generator, "discriminator": replace(generator, tables={}), "encoder": _encoder(ENCODER)
        },
        game=Choice("tangent"), loss=Choice("non_saturating", {"halved": True}),
        latents=LatentsChoice(100, "uniform"), streams={"labelled": {"even_limit": 4000}},
        averages={"generator": Average(10_000.0, ramp=0.1), "discriminator": PUBLISHED_AVERAGE},
    )


@recipe
def tangent_encoder() -> Recipe:
    """The encoder for `tangent`: augmented BiGAN without labels, 32 x 32 colour pixels, 100 uniform latents."""
    average = Average(10_000.0, ramp=0.1)
    return replace(
        tangent(), name="tangent-encoder", system="augmented BiGAN", images=30_000_000, streams={},
        expects="an encoder that undoes the generator better than BiGAN's",
        networks={
            "generator": Network("salimans_convolutional", tables=WHOLE_OUTPUT), "encoder": _encoder(),
            "discriminator": Network("salimans_convolutional"),
        },
        players={
            "generator": Player(("generator", "encoder")), "discriminator": Player(("discriminator",)),
        },
        game=Choice("bidirectional", AUGMENTED),
        averages={"generator": average, "encoder": average},
    )


@recipe
def tangent_mnist() -> Recipe:
    """A classifier of digits from 100 labels, as the recipe `sgan`, that does not change along tangents.

    ``frugan train tangent-encoder-mnist --out runs/encoder``, then ``frugan train tangent-mnist``. The game's options
    are as of ``tangent``. Images are in 0 to 1, as the encoder learnt them.
    """
    plain = sgan()
    return replace(
        plain, name="tangent-mnist", system="tangent GAN", source=SOURCE,
        expects="more right digits than without tangents", latents=tangent_encoder_mnist().latents,
        networks={
            "generator": Network("salimans"), "discriminator": Network("sgan"),
            "encoder": Network("bigan", init=ENCODER),
        },
        game=Choice("tangent", {"matching": "mean_squares"}),
    )


@recipe
def tangent_encoder_mnist() -> Recipe:
    """The encoder for `tangent-mnist`: BiGAN's dense networks, with the third pair and feature matching."""
    return replace(
        bigan_mnist(), name="tangent-encoder-mnist", system="augmented BiGAN", source=SOURCE,
        expects="an encoder that undoes the generator better than BiGAN's", game=Choice("bidirectional", AUGMENTED),
    )


def _encoder(init: str | None = None) -> Network:
    return Network("salimans_convolutional", {"normalisation": "batch_norm", "dropout": [0.0, 0.0]}, init=init)
