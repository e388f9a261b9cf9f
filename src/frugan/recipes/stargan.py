"""StarGAN and its depthwise forms: they differ in which layers of the translator are separable, and how deep it is.

Choi et al. 2018 (arXiv 1711.09020); Ngxande, Tapamo and Burke 2019 (arXiv 1903.02225), whose layers are known from
their numbers of parameters only. All are trained alike, on five attributes of 128-pixel portraits, which need no
download. The papers trained on
``--data celeba data.attributes='["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]'``.
On a CPU, ``data.size=32 generator.width=0.25 discriminator.width=0.25`` gives a first impression. The rate falls to 0
over the second half, as documented. The authors' code computes this wrongly and keeps the rate: ``schedule=constant``.
The authors' images are made smaller by bilinear interpolation, frugan's by Lanczos, which keeps them a little sharper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from frugan.recipe import Choice, Data, Network, Player, Recipe, Rule
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT, layerwise

SOURCE = "Choi et al. 2018, arXiv 1711.09020; yunjey/stargan"
DEPTHWISE = (
    "Ngxande, Tapamo and Burke 2019, arXiv 1903.02225; layers reconstructed from counts; each piece of a layer starts "
    "as if it stood alone"
)
ATTRIBUTES = ("black_hair", "blond_hair", "brown_hair", "glasses", "old")
HAIR = (ATTRIBUTES[:3], ("Black_Hair", "Blond_Hair", "Brown_Hair"))  # as portraits and as CelebA call it

# What `--family depthwise` means in these networks: DepthwiseG's and DepthwiseDG's layers, started as whole layers. The
# recipes of the paper's models start each piece alone, as published.
TRANSLATOR = (Rule("*", "depthwise"), Rule("up.*", "standard"))
DISCRIMINATOR = (Rule("down.*", "depthwise"), Rule("down.last", "standard"))


@recipe
def stargan() -> Recipe:
    """StarGAN: one translator for several attributes; 128 x 128, five attributes, all layers standard.

    ``frugan train stargan data.size=32 generator.width=0.25 discriminator.width=0.25 --images 400k`` needs no download;
    ``--data FOLDER data.attributes=[]`` takes classes, one subfolder each; ``data.balance=even`` shows each as often.
    """
    adam = {"learning_rate": 1e-4, "betas": (0.5, 0.999), "schedule": Choice("linear", {"hold": 0.5})}
    return Recipe(
        name="stargan", system="StarGAN", source=SOURCE, expects="G 8,430,528 and D 44,762,048 parameters",
        data=Data("portraits", 128, 3, len(ATTRIBUTES), attributes=ATTRIBUTES, exclusive=HAIR),
        networks={
            "generator": Network("stargan", labels=True, tables={**WHOLE_OUTPUT, "depthwise": TRANSLATOR}),
            "discriminator": Network("stargan", tables={"depthwise": DISCRIMINATOR}),
        },
        players={"generator": Player(("generator",), **adam), "discriminator": Player(("discriminator",), **adam)},
        images=3_200_000, game=Choice("star"), loss=Choice("wgan"),
        penalties=(Choice("wgan_gp"),), augment=(Choice("flip"),), batch_size=16,
    )


def _form(
    name: str, parameters: str, generator: Sequence[Rule] = (), discriminator: Sequence[Rule] = (),
    depth: Mapping[str, Any] | None = None,
) -> Recipe:
    """StarGAN with these rules and this depth."""
    plain = stargan()
    generator, discriminator = (layerwise(rules) for rules in (generator, discriminator))
    networks = {
        "generator": replace(plain.networks["generator"], families=generator, options=dict(depth or {})),
        "discriminator": replace(plain.networks["discriminator"], families=discriminator),
    }
    return replace(
        plain, name=name, system="DepthwiseGAN", source=DEPTHWISE, networks=networks,
        expects=f"{parameters} parameters",
    )


@recipe
def depthwise_g() -> Recipe:
    """DepthwiseG: every convolution of StarGAN's generator separable, the transposed ones standard.

    ``frugan train stargan --family depthwise`` has the same layers, started as whole layers.
    """
    return _form("depthwise-g", "G 1,525,128 and D 44,762,048", TRANSLATOR)


@recipe
def depthwise_dg() -> Recipe:
    """DepthwiseDG: DepthwiseG with layers 2 to 5 of the discriminator separable.

    ``frugan train stargan --family depthwise --discriminator-family depthwise`` starts them as whole layers.
    """
    return _form("depthwise-dg", "G 1,525,128 and D 34,333,568", TRANSLATOR, DISCRIMINATOR)


@recipe
def depthwise_d() -> Recipe:
    """StarGAN's generator with DepthwiseDG's discriminator: only the discriminator is separable."""
    return _form("depthwise-d", "G 8,430,528 and D 34,333,568", (), DISCRIMINATOR)


@recipe
def deeper_depthwise_g() -> Recipe:
    """DeeperDepthwiseG: residual blocks of one standard and two separable layers; the last block has one of each."""
    rules = (Rule("block.*.1", "depthwise"), Rule("block.*.2", "depthwise"))
    return _form("deeper-depthwise-g", "G 5,640,384", rules, depth={"block_layers": [3, 3, 3, 3, 3, 2]})


@recipe
def deeper_depthwise_g_frugal() -> Recipe:
    """As many parameters as DeeperDepthwiseG with a third of its work: one more stage, five blocks, all separable."""
    return _form("deeper-depthwise-g-frugal", "G 5,616,520", TRANSLATOR, depth={"stages": 3, "blocks": 5})


@recipe
def deeper_depthwise_g_text() -> Recipe:
    """DeeperDepthwiseG in another reading of the paper's text: DepthwiseG with eleven blocks."""
    return _form("deeper-depthwise-g-text", "G 2,208,648, not the printed 5.6 M", TRANSLATOR, depth={"blocks": 11})


@recipe
def depthwise_g_bottleneck() -> Recipe:
    """StarGAN with separable residual layers, which hold most of the weights."""
    return _form("depthwise-g-bottleneck", "G 2,166,720", (Rule("block.*", "depthwise"),))


@recipe
def depthwise_g_down() -> Recipe:
    """StarGAN with separable residual and halving layers."""
    return _form("depthwise-g-down", "G 1,555,392", (Rule("block.*", "depthwise"), Rule("down.*", "depthwise")))


WITHOUT_ENDS = (Rule("*", "depthwise"), Rule("stem", "standard"), Rule("output", "standard"))


@recipe
def depthwise_g_ends_kept() -> Recipe:
    """StarGAN with all layers separable except the first and the last, which have 7 x 7 kernels."""
    return _form("depthwise-g-ends-kept", "G 947,136", WITHOUT_ENDS)


@recipe
def depthwise_g_ends_kept_10() -> Recipe:
    """depthwise-g-ends-kept with ten residual blocks instead of six."""
    return _form("depthwise-g-ends-kept-10", "G 1,493,952", WITHOUT_ENDS, depth={"blocks": 10})


@recipe
def depthwise_g_full() -> Recipe:
    """StarGAN with all 18 layers of the generator separable."""
    return _form("depthwise-g-full", "G 916,872", (Rule("*", "depthwise"),))


@recipe
def depthwise_dg_full() -> Recipe:
    """DepthwiseDG with all six layers of the discriminator separable, which fits the printed training time better."""
    return _form("depthwise-dg-full", "G 1,525,128 and D 2,890,867", TRANSLATOR, (Rule("*", "depthwise"),))


@recipe
def depthwise_dg_stem_kept() -> Recipe:
    """DepthwiseDG with all layers of the discriminator separable except the first."""
    kept = (Rule("*", "depthwise"), Rule("stem", "standard"))
    return _form("depthwise-dg-stem-kept", "G 1,525,128 and D 2,893,696", TRANSLATOR, kept)


@recipe
def stargan_joint() -> Recipe:
    """StarGAN on two data sets with different labels at once, such as attributes of one and expressions of the other.

    ``frugan train stargan-joint --data celeba streams.second.source=FOLDER``; FOLDER has one subfolder for each
    expression. Without these, both data sets are the built-in portraits, each labelled with attributes that the other
    lacks.
    """
    plain = stargan()
    second = {"attributes": ["smile", "beard", "hat"], "classes": 3}
    return replace(
        plain, name="stargan-joint", game=Choice("star_joint"), streams={"second": second},
        expects="each label bit of either set adds 3,136 parameters to G; two more say which set is meant",
    )
