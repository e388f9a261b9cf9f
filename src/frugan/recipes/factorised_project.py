"""The factorised project's three pairs, each as published (`-faithful`) and in a corrected, dependable form.

The project (josephjojoe/factorised-image-generation, 2021-22) trains naive and factorised generators beside each other
on MNIST, EMNIST letters and CIFAR-10's frogs. ``--family factorised`` gives its factorised form, by the tables here.

What the corrected forms change:

- Strides are split into (2, 1) and (1, 2), so the image has no holes. Tanh occurs once.
- The output layer (1,600 of 2.3 million weights) stays whole: one channel between its halves cannot carry an image.
- CIFAR-10's images have the generator's range.
- Weights begin so that every family keeps the size of a signal. (As published, each piece of a factorised layer begins
  as if it stood alone: ``start="layerwise"``.)
- R1 every fourth round regularises the discriminator instead of dropout, and Adam has no momentum. Such games are known
  to converge in this setting (arXiv 1801.04406).
- The generator is averaged. Batches are small, so a small budget has many steps.

The published forms keep Keras' epsilon of 1e-7 in Adam. Keras adds it before it corrects the moments for their start,
torch after: they differ in the first rounds, for weights whose gradients are about as small.

`docs/results` shows what was tried.
"""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe, Rule
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT, layerwise

SOURCE = (
    "josephjojoe/factorised-image-generation (2021); TensorFlow's DCGAN tutorial; Chollet, Deep Learning with Python"
)


def _tutorial(name: str, latents: int, kernel: int, data: Data, faithful: bool) -> Recipe:
    """The MNIST and EMNIST nets; `kernel` is that of the factorised form's upsampling pair."""
    table: tuple[Rule, ...] = (
        Rule("block.0", "factorised", {"form": "both", "inner_norm": "batch_norm"}),
        Rule("up.0", "factorised", {"kernel": kernel}),
    )
    if faithful:
        holes = replace(table[1], options={"kernel": kernel, "holes": True})
        table = layerwise((table[0], holes, Rule("output", "factorised", {"stride": 1, "between": "tanh"})))
    return Recipe(
        name=name, system="factorised GANs", source=SOURCE, expects="", data=data,
        networks={
            "generator": Network("tutorial", tables={**({} if faithful else WHOLE_OUTPUT), "factorised": table}),
            "discriminator": Network("tutorial"),
        },
        players={
            "generator": Player(("generator",), 1e-4, betas=(0.9, 0.999), epsilon=1e-7),
            "discriminator": Player(("discriminator",), 1e-4, betas=(0.9, 0.999), epsilon=1e-7),
        },
        images=6_000_000, game=Choice("simultaneous"), latents=LatentsChoice(latents), batch_size=256,
    )


def _dependable(published: Recipe) -> Recipe:
    """The settings with which none of ten seeds collapses; see docs/results."""
    players = {
        name: replace(
            player, learning_rate=1e-3, betas=(0.0, 0.99), epsilon=1e-8, optimiser=Choice("adam"), clip_value=None
        )
        for name, player in published.players.items()
    }
    generator = replace(published.networks["generator"], options={"initialise": "lecun"})
    discriminator = replace(published.networks["discriminator"], options={"initialise": "lecun", "dropout": 0.0})
    return replace(
        published, players=players, networks={"generator": generator, "discriminator": discriminator},
        game=Choice("adversarial"), loss=Choice("non_saturating"),
        penalties=(Choice("r1", {"weight": 0.2, "every": 4}),), averages={"generator": Average(5_000.0)},
    )


@recipe
def mnist() -> Recipe:
    """Handwritten digits, 28 x 28: the factorised project's MNIST pair, corrected.

    ``frugan train mnist --data glyphs`` works without any download. 60,000 images take about 2 minutes on one core
    with bf16, 4 without.
    """
    table = _tutorial("mnist", 100, 3, Data("mnist", 28, 1, 10), faithful=False)
    return replace(_dependable(table), images=1_200_000, batch_size=32, expects="digits after 300k images")


@recipe
def mnist_faithful() -> Recipe:
    """The MNIST pair as published: holes and a second tanh in the factorised net, Adam 1e-4 with beta1 0.9.

    Each piece of a factorised layer starts as if it stood alone. `mnist` is the corrected pair.
    """
    return replace(
        _tutorial("mnist-faithful", 100, 3, Data("mnist", 28, 1, 10), faithful=True),
        expects="1,588,805 parameters in the factorised generator, not the published 1,558,293",
    )


@recipe
def emnist_letters() -> Recipe:
    """Handwritten letters, 28 x 28, 256 latents: the project's EMNIST pair, corrected."""
    table = _tutorial("emnist-letters", 256, 5, Data("emnist-letters", 28, 1, 26), faithful=False)
    return replace(_dependable(table), images=2_400_000, batch_size=32, expects="letters after 500k images")


@recipe
def emnist_letters_faithful() -> Recipe:
    """The EMNIST letters pair as published, with its holes and its second tanh.

    Each piece of a factorised layer starts as if it stood alone. 100 epochs of 124,800 letters. `emnist-letters` is the
    corrected pair.
    """
    return replace(
        _tutorial("emnist-letters-faithful", 256, 5, Data("emnist-letters", 28, 1, 26), faithful=True),
        images=12_480_000,
        expects="3,570,245 parameters in the factorised generator",
    )


@recipe
def cifar10_frog_faithful() -> Recipe:
    """Frogs, 32 x 32, as published: real images in 0..1 but fakes from a tanh, flipped and noisy targets, RMSprop.

    The discriminator's loss is the mean over real and fake images together, whose gradients are cut at 1.
    Each piece of a factorised layer starts as if it stood alone. `cifar10-frog` is the corrected pair.
    """
    return Recipe(
        name="cifar10-frog-faithful", system="factorised GANs", source=SOURCE,
        expects="6,264,579 parameters, 3,971,587 factorised",
        data=Data("cifar10", 32, 3, 1, only=("frog",), image_range=(0.0, 1.0)),
        networks={
            "generator": Network("chollet", tables={"factorised": layerwise([Rule("block.*", "factorised")])}),
            "discriminator": Network("chollet"),
        },
        players={
            "generator": Player(("generator",), 4e-4, Choice("rmsprop"), (0.0, 0.9), 1e-7, clip_value=1.0),
            "discriminator": Player(("discriminator",), 8e-4, Choice("rmsprop"), (0.0, 0.9), 1e-7, clip_value=1.0),
        },
        images=200_000, game=Choice("adversarial", {"fresh_latents": True}), batch_size=20,
        loss=Choice(
            "binary_targets",
            {"real_target": 0.0, "fake_target": 1.0, "generator_target": 0.0, "noise": 0.05, "halved": True},
        ),
        latents=LatentsChoice(32),
    )


@recipe
def cifar10_frog() -> Recipe:
    """CIFAR-10's frogs, 32 x 32: the project's third pair, corrected.

    Its generator is wide and has no norms, so its rate is a twentieth of the other pairs'. At 2e-4 its tanh saturates
    within 3,000 images, and no gradient comes back. A generator a quarter as wide learns at 2e-4.
    """
    published = _dependable(cifar10_frog_faithful())
    table: dict[str, tuple[Rule, ...]] = {**WHOLE_OUTPUT, "factorised": (Rule("block.*", "factorised"),)}
    generator = replace(published.networks["generator"], tables=table)
    rates = {"generator": 5e-5, "discriminator": 2e-4}
    return replace(
        published, data=replace(published.data, image_range=None), batch_size=32, images=400_000,
        networks={**published.networks, "generator": generator},
        players={name: replace(player, learning_rate=rates[name]) for name, player in published.players.items()},
        averages={"generator": Average(2_000.0)}, expects="green and brown shapes on grass after 100k images",
    )


@recipe
def inceptiongan() -> Recipe:
    """InceptionGAN: branches after additive upsampling. The project gives only the name; the design is ours."""
    plain = mnist()
    generator = replace(plain.networks["generator"], families=(Rule("block.*", "inception"), Rule("up.*", "inception")))
    return replace(
        plain, name="inceptiongan", networks={**plain.networks, "generator": generator}, system="InceptionGAN",
        expects="G 1,377,600 parameters; a fourteenth of the convolutions' weights, 6.4 M multiply-accumulates",
    )
