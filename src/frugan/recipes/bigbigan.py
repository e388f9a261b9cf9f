"""BigBiGAN: Donahue and Simonyan 2019, arXiv 1907.02544, at sizes for 32 and 64 pixels.

The paper's networks are far larger, and its training code was not published. Each part of it is a value of its own:

    without s_x, the score of images    game.image_score=false
    without s_z, the score of latents   game.latent_score=false     without both: BiGAN with a hinge loss
    a deterministic encoder             game.stochastic=false
    uniform latents                     latents.distribution=uniform game.stochastic=false encoder.bounded='["latents"]'
    a smaller generator                 generator.channels=16       the discriminator keeps its width
    another generator                   generator.architecture=dcgan generator.options='{"channels": 64}'
    the encoder's rate, ten times       players.encoder.learning_rate=2e-3   5e-3 for bigbigan-mnist
    an encoder that sees finer images   data.finer=2                twice the size that is made and judged
    another encoder                     encoder.channels=128 encoder.blocks=3 encoder.reversible=true
    steps of the discriminator          game.discriminator_steps=4

Half-lives are the paper's decay 0.9999 in images: 6,931 steps times the real images of each (two batches).
"""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT
from frugan.recipes.biggan import STEPS, WHOLE_FIRST

SHOWN = 2  # batches of real images in a round


@recipe
def bigbigan_32() -> Recipe:
    """BigBiGAN at 32 x 32: base width 64, 128 latents, dense layers of 512.

    ``frugan train bigbigan-32 --data cifar10``; any folder of images will do. Not trained here, and no score at this
    size is published.
    """
    rates = {name: Player((name,), 2e-4, betas=(0.0, 0.999)) for name in ("generator", "encoder", "discriminator")}
    average = Average(STEPS * SHOWN * 64, start=1000 * SHOWN * 64)
    return Recipe(
        name="bigbigan-32", system="BigBiGAN", source="Donahue, Simonyan 2019, arXiv 1907.02544",
        expects="G 3,978,755, E 12,611,648 and D 8,868,099 parameters, 25,458,502 in all",
        data=Data("cifar10", 32, 3, 10), networks=_networks(channels=64, encoder=64, hidden=512), players=rates,
        game=Choice("bidirectional_unary"), loss=Choice("hinge"), latents=LatentsChoice(128), batch_size=64,
        images=100_000 * SHOWN * 64, averages={"generator": average, "encoder": average},
    )


@recipe
def bigbigan_tiny() -> Recipe:
    """BigBiGAN at 32 x 32 and half width: 64 latents, dense layers of 256.

    ``frugan train bigbigan-tiny --data cifar10``; any folder of images will do. Not trained here.
    """
    return replace(
        bigbigan_32(), name="bigbigan-tiny", latents=LatentsChoice(64),
        expects="G 998,147, E 3,156,000 and D 2,222,211 parameters, 6,376,358 in all",
        networks=_networks(channels=32, encoder=32, hidden=256),
    )


@recipe
def bigbigan_64() -> Recipe:
    """BigBiGAN at 64 x 64: half the width for images, 120 latents, attention at 32 x 32.

    ``frugan train bigbigan-64 --data FOLDER``. Not trained here.
    """
    return replace(
        bigbigan_32(), name="bigbigan-64", data=Data("glyphs:all", 64, 3, 36), latents=LatentsChoice(120),
        expects="G 7,818,884, E 12,603,440 and D 9,679,460 parameters, 30,101,784 in all",
        networks=_networks(channels=32, encoder=64, hidden=512, attention=32),
    )


@recipe
def bigbigan_mnist() -> Recipe:
    """BigBiGAN for digits on one CPU core: generator and F of base width 8, encoder of 16, 32 latents.

    ``frugan train bigbigan-mnist --data mnist``

    Higher rates than the others, for smaller networks and budgets. 64,000 images take ten to thirteen minutes of one
    core; most samples are digits then (docs/results/bigbigan.md).
    """
    average = Average(10_000.0, ramp=0.1)
    rates = {"generator": 5e-4, "encoder": 5e-4, "discriminator": 1e-3}
    return replace(
        bigbigan_32(), name="bigbigan-mnist", data=Data("mnist", 32, 1, 10), latents=LatentsChoice(32),
        expects="G 66,689, E 728,496 and D 141,219 parameters", batch_size=16, images=2000 * SHOWN * 16,
        networks=_networks(channels=8, encoder=16, hidden=64),
        players={name: Player((name,), rate, betas=(0.0, 0.99)) for name, rate in rates.items()},
        averages={"generator": average, "encoder": average},
    )


def _networks(*, channels: int, encoder: int, hidden: int, attention: int = 0) -> dict[str, Network]:
    """BigGAN's generator with latents for every block, and no labels anywhere."""
    both = {"channels": channels, "attention": attention}
    first = {"initialise": "orthogonal"}
    return {
        "generator": Network("biggan", {**both, **first, "skip": True}, tables=WHOLE_OUTPUT),
        "encoder": Network("bigbigan", {"channels": encoder, "hidden": hidden}),
        "discriminator": Network("bigbigan", {**both, "hidden": hidden}, tables=WHOLE_FIRST),
    }
