"""Semi-supervised GANs on digits: a classifier from few labels, and the generator that helped it."""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "Odena 2016, arXiv 1606.01583; Salimans et al. 2016, arXiv 1606.03498"
WORKSHOP = "the GAN workshop of Aggregate Intellect, January 2020"
PUBLISHED_AVERAGE = Average(6_931 * 300.0, ramp=0.1)
"""Of the classifier: a ten-thousandth of the way in each update, so a half-life of 6,931 rounds that show 300 images.

The published one begins at 0; ours begins with a shorter half-life, which no longer counts at the end of such a run.
"""


@recipe
def sgan() -> Recipe:
    """A classifier of digits from 100 labels, with a GAN's help: log-sum-exp form, feature matching.

    ``frugan classify RUN IMAGES`` then tells digits. ``streams.labelled.even_limit=1000`` gives it more labels,
    ``streams.labelled.limit_seed=1`` others. ``game.unsupervised=0`` is the same network with these labels alone.
    """
    published = sgan_faithful()
    players = {name: replace(player, learning_rate=1e-3) for name, player in published.players.items()}
    return replace(
        published, name="sgan", players=players, source=f"{SOURCE}; nets of {WORKSHOP}",
        expects="G 797,985 and D 128,394 parameters; more right digits than labels alone teach", images=1_800_000,
        game=Choice("semi_supervised", {"form": "stacked", "matching": "mean_squares"}),
        streams={"labelled": {"even_limit": 100}},
    )


@recipe
def sgan_faithful() -> Recipe:
    """The workshop's SGAN: classes and score from two heads, half of the labels (30,000). Its settings are ours."""
    adam = {"learning_rate": 2e-4, "betas": (0.5, 0.999)}
    return Recipe(
        name="sgan-faithful", system="SGAN", source=WORKSHOP,
        expects="G 797,985 and D 130,443 parameters; it tells of 98 % of the digits", data=Data("mnist", 28, 1, 10),
        networks={"generator": Network("sgan", tables=WHOLE_OUTPUT), "discriminator": Network("sgan")},
        players={"generator": Player(("generator",), **adam), "discriminator": Player(("discriminator",), **adam)},
        game=Choice("semi_supervised", {"form": "heads"}), streams={"labelled": {"even_limit": 30_000}},
        images=24_000_000, latents=LatentsChoice(100), batch_size=64,
        averages={"generator": Average(10_000.0, ramp=0.1), "discriminator": Average(10_000.0, ramp=0.1)},
    )


@recipe
def sgan_salimans() -> Recipe:
    """The dense nets of Salimans et al., 100 labels, feature matching: 0.9 % wrong after 300 epochs, as published."""
    adam = {"learning_rate": 3e-3, "betas": (0.5, 0.999)}
    return replace(
        sgan(), name="sgan-salimans", source="Salimans et al. 2016, arXiv 1606.03498; openai/improved-gan",
        expects="93 ± 6.5 of 10,000 digits wrong (recalled)", latents=LatentsChoice(100, "uniform"),
        networks={"generator": Network("salimans"), "discriminator": Network("salimans")},
        players={"generator": Player(("generator",), **adam), "discriminator": Player(("discriminator",), **adam)},
        loss=Choice("non_saturating", {"halved": True}), images=54_000_000, batch_size=100,
        averages={"generator": Average(10_000.0, ramp=0.1), "discriminator": PUBLISHED_AVERAGE},
    )
