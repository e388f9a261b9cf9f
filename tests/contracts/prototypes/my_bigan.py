"""BiGAN as a user writes it: a generator, an encoder, and a discriminator of images with their latents.

Donahue et al. 2016 (arXiv 1605.09782). A real image comes with the encoder's latents, a fake one with those that it was
made of; the discriminator tells which pair is which, and both networks try to be taken for the other.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from frugan import games
from frugan.games import LatentSize, Order, Shipped, Variant, labels_for, settle
from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe


class BiGAN:
    """Args beside the usual ones:

    told: the discriminator is an encoder that is told the latents, instead of a joint part.
    apart: the encoder has a player of its own, instead of sharing the generator's.
    """

    streams = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self, generator, encoder, discriminator, *, batch_size, latents, loss, penalties=(), augment=(), told=False,
        apart=False,
    ):
        self.networks = {"generator": generator, "encoder": encoder, "discriminator": discriminator}
        self.batch_size, self.latents, self.loss = batch_size, latents, loss
        self.told, self.apart = told, apart

    def step(self, batches, progress, update):
        real = batches.take("train", self.batch_size)
        latents = progress.share(self.latents.draw(self.batch_size, progress.generator("latents")))
        latents = latents.to(real.images.device, non_blocking=True)

        def encoded():
            encoder = self.networks["encoder"]
            return encoder(real.images, labels_for(encoder, real.labels))["latents"]

        def of_real(codes):
            return self.score(real.images, codes, real.labels)

        def of_fake(images):
            return self.score(images, latents, real.labels)

        with torch.no_grad():
            codes, images = encoded(), self.make(self.networks, latents, real.labels)
        (judged,) = update("discriminator", lambda: self.loss.discriminator(of_real(codes), of_fake(images)))

        def generating():
            return self.loss.generator(of_fake(self.make(self.networks, latents, real.labels)))

        def encoding():  # both labels are flipped: real pairs are to be taken for fake ones
            return self.loss.generator(-of_real(encoded()))

        if self.apart:
            fooled = [*update("generator", generating), *update("encoder", encoding)]
        else:
            fooled = update("generator", generating, encoding)
        return {"discriminator.loss": judged, "generator.loss": fooled[0], "encoder.loss": fooled[1]}

    def score(self, images, codes, labels):
        discriminator = self.networks["discriminator"]
        if self.told:
            return discriminator(images, codes)["score"]
        return discriminator(images, codes, labels_for(discriminator, labels))["score"]

    def make(self, networks, latents, labels):
        generator = networks["generator"]
        return generator(latents, labels_for(generator, labels))

    def sample(self, networks, like, seed):
        return self.make(networks, self.latents.rows(0, like.count, seed).to(like.images.device), like.labels)

    def shipped(self):
        return {"generator": Shipped("generator"), "encoder": Shipped("encoder")}


def order(told=False, **options):
    judge = Order("joint", {"score": 1}, vector=LatentSize())
    if told:
        judge = Order("encoder", {"score": 1}, condition=LatentSize())
    encoder = Order("encoder", {"latents": LatentSize()}, role="encoder")
    return {"generator": Order("decoder"), "encoder": encoder, "discriminator": judge}


games.add("my_bigan", Variant(BiGAN, order))


@recipe
def my_bigan():
    """Generator and encoder in one player, against a joint discriminator."""
    small = {"width": 0.03, "dropout": 0.0}
    return Recipe(
        name="my-bigan", system="prototype", source="arXiv 1605.09782", expects="", data=Data("glyphs", 12, 1, 0),
        networks={
            "generator": Network("upsampling", {"width": 0.03}), "encoder": Network("upsampling", small),
            "discriminator": Network("bigan", {"hidden": [12, 12]}),
        },
        players={"generator": Player(("generator", "encoder")), "discriminator": Player(("discriminator",))},
        averages={"generator": Average(50.0)}, images=64, game=Choice("my_bigan"), latents=LatentsChoice(6),
        batch_size=8, precision="float32",
    )


@recipe
def my_bigan_told():
    """The encoder with a player of its own, against a discriminator that is told the latents."""
    joint = my_bigan()
    return replace(
        joint, name="my-bigan-told", game=Choice("my_bigan", {"told": True, "apart": True}),
        networks={**joint.networks, "discriminator": Network("mlp", {"hidden": [12]})},
        players={**joint.players, "generator": Player(("generator",)), "encoder": Player(("encoder",))},
    )
