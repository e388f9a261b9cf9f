"""BiGAN (Donahue et al. 2016, arXiv 1605.09782) and ALI (Dumoulin et al. 2016, arXiv 1606.00704)."""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

AVERAGE = Average(10_000.0, ramp=0.1)


@recipe
def bigan_mnist() -> Recipe:
    """BiGAN's dense networks for digits, as the authors' code has and trains them: 28 x 28, 50 uniform latents.

    The authors train for 20 million images, and let the rate fall over the second half; here it stays. Ours: averaged
    copies of generator and encoder. The encoder's latents lie in -1 to 1: for ``latents.distribution=normal`` give
    ``encoder.bounded=[]`` too.
    """
    return Recipe(
        name="bigan-mnist", system="BiGAN", source="Donahue, Krähenbühl, Darrell 2016, arXiv 1605.09782; its code",
        expects="G 1,953,792, E 1,902,592 and D 1,903,616 parameters", data=Data("mnist", 28, 1, 10),
        networks={name: Network("bigan") for name in ("generator", "encoder", "discriminator")},
        players={
            "generator": Player(("generator", "encoder"), weight_decay=2.5e-5),
            "discriminator": Player(("discriminator",), weight_decay=2.5e-5),
        },
        images=3_000_000, game=Choice("bidirectional", {"update": "simultaneous"}),
        loss=Choice("non_saturating", {"halved": True}), latents=LatentsChoice(50, "uniform"), batch_size=128,
        averages={"generator": AVERAGE, "encoder": AVERAGE},
    )


@recipe
def bigan_64() -> Recipe:
    """BiGAN's convolutional networks, 64 x 64, 200 uniform latents; the encoder is the discriminator without latents.

    ``frugan train bigan-64 --data FOLDER`` takes any folder of images.
    """
    digits = bigan_mnist()
    return replace(
        digits, name="bigan-64", expects="G 6,050,880, E 5,945,792 and D 4,494,784 parameters",
        data=Data("glyphs:all", 64, 3, 36), latents=LatentsChoice(200, "uniform"),
        networks={
            "generator": Network("bigan_convolutional", tables=WHOLE_OUTPUT),
            "encoder": Network("bigan_convolutional"), "discriminator": Network("bigan_convolutional"),
        },
    )


@recipe
def ali_cifar10() -> Recipe:
    """ALI's networks for CIFAR-10, 32 x 32: an encoder of means and deviations of 64 normal latents.

    The authors train for 324 million images. ``frugan train ali-cifar10 --data FOLDER`` takes any folder of images.
    """
    adam = {"learning_rate": 1e-4, "betas": (0.5, 0.999)}
    return replace(
        bigan_mnist(), name="ali-cifar10", system="ALI", source="Dumoulin et al. 2016, arXiv 1606.00704; its code",
        expects="G 981,152, E 3,118,496 and D 2,611,009 parameters", data=Data("cifar10", 32, 3, 10),
        networks={name: Network("ali", {"design": "cifar10"}) for name in ("generator", "encoder", "discriminator")},
        players={
            "generator": Player(("generator", "encoder"), **adam), "discriminator": Player(("discriminator",), **adam)
        },
        game=Choice("bidirectional", {"update": "simultaneous", "stochastic": True}), loss=Choice("non_saturating"),
        latents=LatentsChoice(64), batch_size=100,
    )


@recipe
def bigan_small() -> Recipe:
    """BiGAN's convolutional networks at an eighth of their width, in settings that train: 32 x 32, for one CPU core.

    ``frugan train bigan-small``, or ``--data mnist``. As published, with batch norm alone to hold it, the discriminator
    is soon right on everything, and generator and encoder learn no digit. R1, rates of 1e-3, batches of 32 and steps in
    turn change that (docs/results/bigan.md).
    """
    published, adam = bigan_64(), {"learning_rate": 1e-3, "betas": (0.0, 0.99)}
    return replace(
        published, name="bigan-small", expects="G 45,144, E 41,992 and D 19,304 parameters",
        data=Data("glyphs:digits", 32, 1, 10), latents=LatentsChoice(50, "uniform"), batch_size=32, images=120_000,
        networks={name: replace(network, options={"width": 0.125}) for name, network in published.networks.items()},
        players={
            "generator": Player(("generator", "encoder"), **adam), "discriminator": Player(("discriminator",), **adam)
        },
        game=Choice("bidirectional"), loss=Choice("non_saturating"),
        penalties=(Choice("r1", {"weight": 2.0, "every": 4}),),
    )  # fmt: skip
