"""PGGAN as a user writes it: networks that grow from 4 x 4 pixels, each further stage faded in.

Karras et al. 2018 (arXiv 1710.10196). How far they have grown, their level, follows from the images seen: 1.25 is 8 x 8
with a quarter of 16 x 16. Every stage's weights are there from the start. Called as every network is, they take and
make images of the full size, at the level that they were last trained at.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from frugan import games, nets
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, by_name
from frugan.games import Order, Shipped, Variant, labels_for, settle
from frugan.nets import Architecture, scaled
from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe


def stages_of(image):
    """How often 4 x 4 pixels are doubled, and once."""
    return round(math.log2(image.height / 4)) + 1


def doubled(images):
    return functional.interpolate(images, scale_factor=2)


def halved(images):
    return functional.avg_pool2d(images, 2)


def mixed(level, new, old):
    """The newest stage, faded in over the one before."""
    faded = level % 1
    return new if faded == 0 else faded * new + (1 - faded) * old


def as_values(condition, classes):
    """Class numbers as one-hot vectors; attributes are values already."""
    return condition if condition.dim() == 2 else functional.one_hot(condition, classes)


def sized(images, level):
    """Real images ``[n, c, h, w]`` as a level has them, so that sharpness tells nothing."""
    while images.shape[-1] > 4 * 2 ** math.ceil(level):
        images = halved(images)
    return mixed(level, images, doubled(halved(images))) if level % 1 else images


class Growing(nn.Module):
    """What both networks know: the level, saved with the weights, of a new network its last one."""

    def __init__(self, image, classes, channels):
        super().__init__()
        self.image, self.classes = image, classes
        self.channels = [channels] * stages_of(image)
        self.steps = list(enumerate(pairwise(self.channels)))
        self.register_buffer("level", torch.tensor(float(len(self.channels) - 1)))


class Generator(Growing):
    image_range = (-1.0, 1.0)

    def __init__(self, image, latents, layers, classes, width):
        super().__init__(image, classes, scaled(16, width))
        self.latents = latents
        self.first = nn.Linear(latents + classes, 16 * self.channels[0])
        self.blocks = nn.ModuleList(
            layers.same(f"block.{number}", given, made, 3) for number, (given, made) in self.steps
        )
        self.outputs = nn.ModuleList(nn.Conv2d(made, image.channels, 1) for made in self.channels)

    def forward(self, latents, condition=None, level=None):
        if condition is not None:
            latents = torch.cat([latents, as_values(condition, self.classes).to(latents)], 1)
        now = float(self.level) if level is None else level
        hidden = [normed(functional.leaky_relu(self.first(latents).unflatten(1, (-1, 4, 4)), 0.2))]
        for block in self.blocks[: math.ceil(now)]:
            hidden.append(normed(functional.leaky_relu(block(doubled(hidden[-1])), 0.2)))
        images = self.outputs[len(hidden) - 1](hidden[-1])
        if now % 1:
            images = mixed(now, images, doubled(self.outputs[len(hidden) - 2](hidden[-2])))
        return images if level is not None else functional.interpolate(images, size=tuple(self.image[1:]))


def normed(hidden):
    return hidden * (hidden.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Discriminator(Growing):
    def __init__(self, image, outputs, layers, classes, width):
        super().__init__(image, classes, scaled(16, width))
        self.inputs = nn.ModuleList(nn.Conv2d(image.channels, made, 1) for made in self.channels)
        self.blocks = nn.ModuleList(
            layers.same(f"block.{number}", given, made, 3) for number, (made, given) in self.steps
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(16 * self.channels[0] + classes, size) for name, size in outputs.items()}
        )

    def forward(self, images, condition=None, level=None):
        now = float(self.level) if level is None else level
        while images.shape[-1] > 4 * 2 ** math.ceil(now):
            images = halved(images)
        stage = math.ceil(now)
        hidden = functional.leaky_relu(self.inputs[stage](images), 0.2)
        for number in reversed(range(stage)):
            hidden = halved(functional.leaky_relu(self.blocks[number](hidden), 0.2))
            if number == stage - 1 and now % 1:
                hidden = mixed(now, hidden, functional.leaky_relu(self.inputs[number](halved(images)), 0.2))
        hidden = hidden.flatten(1)
        if condition is not None:
            hidden = torch.cat([hidden, as_values(condition, self.classes).to(hidden)], 1)
        return {name: head(hidden) for name, head in self.heads.items()}


def decoder(image, latents, layers, classes=0, *, width=1.0):
    return Generator(image, latents, layers, classes, width)


def encoder(image, outputs, layers, classes=0, *, width=1.0):
    return Discriminator(image, outputs, layers, classes, width)


nets.add("my_growing", Architecture("my_growing", decoder=decoder, encoder=encoder))


class PGGAN:
    """Args beside the usual ones:

    steady, fading: real images of each stage, and of fading in the next one.
    batches: real images in a round of each stage, over all processes; the last number holds for the stages after it.
    rates: the factor on the rates of each stage, likewise.
    """

    streams = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self, generator, discriminator, *, batch_size, latents, loss, penalties=(), augment=(), steady=800_000,
        fading=800_000, batches=(), rates=(1.0,),
    ):
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.latents, self.loss, self.penalties = latents, loss, by_name(penalties)
        self.steady, self.fading, self.rates = steady, fading, rates
        self.batches = batches or (batch_size,)
        self.top = len(generator.channels) - 1
        self.phase = 0

    def level(self, images):
        """How far the networks have grown after so many real images."""
        whole, over = divmod(images, self.steady + self.fading)
        return min(whole + max(over - self.steady, 0) / self.fading, float(self.top))

    def step(self, batches, progress, update):
        level = self.level(progress.images)
        stage, phase = math.ceil(level), math.ceil(level) + math.floor(level)
        for network in self.networks.values():
            network.level.fill_(level)
        for player in self.networks:
            if phase != self.phase:
                update.reset(player)
            update.scale_rate(player, self.of(self.rates, stage))
        self.phase = phase
        count = self.of(self.batches, stage)
        taken = batches.take("train", count)
        real = Batch(sized(taken.images, level), taken.labels)
        latents = progress.share(self.latents.draw(count, progress.generator("latents")))
        latents = latents.to(real.images.device, non_blocking=True)

        def fake():
            generator = self.networks["generator"]
            return generator(latents, labels_for(generator, real.labels), level)

        def score(images, labels):
            discriminator = self.networks["discriminator"]
            return discriminator(images, labels_for(discriminator, labels), level)["score"]

        with torch.no_grad():
            made = Batch(fake(), real.labels)
        step = DiscriminatorStep(self.loss, self.penalties, score, real, made, progress, "0")

        def judged():
            scores = score(real.images, real.labels), score(made.images, real.labels)
            return step.loss(*scores, progress.generator("targets"))

        update("discriminator", judged, *step.further())
        (fooled,) = update("generator", lambda: self.loss.generator(score(fake(), real.labels)))
        return {**step.reported(), "generator.loss": fooled, "generator.level": torch.tensor(level)}

    @staticmethod
    def of(numbers, stage):
        return numbers[min(stage, len(numbers) - 1)]

    def sample(self, networks, like, seed):
        generator = networks["generator"]
        latents = self.latents.rows(0, like.count, seed).to(like.images.device)
        return generator(latents, labels_for(generator, like.labels))

    def shipped(self):
        return {"generator": Shipped("generator")}

    def state_dict(self):
        return {"phase": self.phase}

    def load_state_dict(self, state):
        self.phase = state["phase"]


def order(**options):
    return {"generator": Order("decoder"), "discriminator": Order("encoder", {"score": 1})}


games.add("my_pggan", Variant(PGGAN, order))


@recipe
def my_pggan():
    """Three stages up to 16 x 16 pixels, with WGAN-GP."""
    adam = {"learning_rate": 1e-3, "betas": (0.0, 0.99)}
    stages = {"steady": 16, "fading": 32, "batches": [8, 8, 4], "rates": [1.0, 1.0, 0.5]}
    return Recipe(
        name="my-pggan", system="prototype", source="arXiv 1710.10196", expects="", data=Data("glyphs", 16, 1, 0),
        networks={"generator": Network("my_growing"), "discriminator": Network("my_growing")},
        players={"generator": Player(("generator",), **adam), "discriminator": Player(("discriminator",), **adam)},
        averages={"generator": Average(50.0)}, images=112, game=Choice("my_pggan", stages), loss=Choice("wgan"),
        penalties=(Choice("wgan_gp"),), latents=LatentsChoice(6), batch_size=8, precision="float32",
    )
