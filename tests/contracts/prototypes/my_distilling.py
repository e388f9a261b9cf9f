"""Distillation as a user writes it: a small generator learns from a finished one, its teacher, which stays as it is.

After Aguinaldo et al. 2019 (arXiv 1902.00159): of the same latents both are to make the same image, and the
discriminator tells the student's images from real ones.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from frugan import games
from frugan.games import Order, Shipped, Variant, labels_for, settle
from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe


class Distilling:
    """Args beside the usual ones: likeness, the weight of being like the teacher beside fooling the discriminator."""

    streams = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self, generator, teacher, discriminator, *, batch_size, latents, loss, penalties=(), augment=(), likeness=10.0
    ):
        self.networks = {"generator": generator, "teacher": teacher, "discriminator": discriminator}
        self.batch_size, self.latents, self.loss, self.likeness = batch_size, latents, loss, likeness

    def step(self, batches, progress, update):
        generator, teacher, discriminator = self.networks.values()
        real = batches.take("train", self.batch_size)
        latents = progress.share(self.latents.draw(self.batch_size, progress.generator("latents")))
        latents = latents.to(real.images.device, non_blocking=True)
        with torch.no_grad():
            shown = teacher(latents, labels_for(teacher, real.labels))
        fake = generator(latents, labels_for(generator, real.labels))

        def score(images):
            return discriminator(images, labels_for(discriminator, real.labels))["score"]

        judged = update("discriminator", lambda: self.loss.discriminator(score(real.images), score(fake.detach())))
        values = update(
            "generator",
            lambda: self.loss.generator(score(fake)) + self.likeness * functional.mse_loss(fake, shown),
        )
        return {"discriminator.loss": judged[0], "generator.loss": values[0]}

    def sample(self, networks, like, seed):
        generator = networks["generator"]
        latents = self.latents.rows(0, like.count, seed).to(like.images.device)
        return generator(latents, labels_for(generator, like.labels))

    def shipped(self):
        return {"generator": Shipped("generator")}


def order(**options):
    return {
        "generator": Order("decoder"), "teacher": Order("decoder", role="teacher"),
        "discriminator": Order("encoder", {"score": 1}),
    }


games.add("my_distilling", Variant(Distilling, order))


@recipe
def my_teacher():
    """What the teacher is: an ordinary generator, trained in the adversarial game."""
    return Recipe(
        name="my-teacher", system="prototype", source="", expects="", data=Data("glyphs", 8, 1, 0),
        networks={
            "generator": Network("upsampling", {"width": 0.05}), "discriminator": Network("mlp", {"hidden": [12]})
        },
        players={"generator": Player(("generator",)), "discriminator": Player(("discriminator",))},
        averages={"generator": Average(50.0)}, images=64, latents=LatentsChoice(6), batch_size=8, precision="float32",
    )


@recipe
def my_distilling():
    """A student with half the teacher's width; the teacher's weights are given by --init teacher=RUN."""
    plain = my_teacher()
    return Recipe(
        name="my-distilling", system="prototype", source="arXiv 1902.00159", expects="", data=plain.data,
        networks={
            **plain.networks, "generator": Network("upsampling", {"width": 0.025}),
            "teacher": plain.networks["generator"],
        },
        players=plain.players, averages=plain.averages, images=64, game=Choice("my_distilling"), latents=plain.latents,
        batch_size=8, precision="float32",
    )
