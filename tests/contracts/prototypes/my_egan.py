"""E-GAN as a user writes it: generators that have children, of which the fittest are the next generators.

Wang et al. 2018 (arXiv 1803.00657). Each child is one step of its parent on one loss ("mutation"). Fitness is how well
it fools the discriminator, and how little the discriminator would then learn.
"""

from __future__ import annotations

import itertools

import torch

from frugan import games, losses
from frugan.games import Order, Shipped, Variant, labels_for, settle
from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe


def name_of(number):
    return "generator" if number == 0 else f"generator_{number}"


class EGAN:
    """Args beside the usual ones:

    parents: how many generators survive each round.
    mutations: the losses that make children, by name.
    diversity: the weight of the second part of fitness.
    """

    streams = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self, *, batch_size, latents, loss, penalties=(), augment=(), parents=1,
        mutations=("non_saturating", "minimax", "lsgan"), diversity=0.01, **networks,
    ):
        self.networks = networks
        self.batch_size, self.latents, self.loss, self.diversity = batch_size, latents, loss, diversity
        self.parents = [name_of(number) for number in range(parents)]
        self.mutations = [losses.find(name) for name in mutations]

    def step(self, batches, progress, update):
        real = batches.take("train", self.batch_size)
        latents = progress.share(self.latents.draw(self.batch_size, progress.generator("latents")))
        latents = latents.to(real.images.device, non_blocking=True)
        children = []  # (fitness, fork), those that are alive
        for parent, mutation in itertools.product(self.parents, self.mutations):
            fork = update.fork(parent)
            child = fork.networks[parent]
            fork.update(lambda m=mutation, c=child: m.generator(self.score(self.make(c, latents, real), real)))
            if fork.alive:
                children.append((self.fitness(child, latents, real, progress, update), fork))
        if not children:
            fork.keep()  # stops the run, and says what was not finite
        fittest = sorted(children, key=lambda one: one[0], reverse=True)
        for parent, (_, fork) in zip(self.parents, itertools.cycle(fittest)):
            fork.keep(into=parent)
        with torch.no_grad():
            fakes = [self.make(self.networks[name], latents, real) for name in self.parents]
        judged = update("discriminator", *[lambda fake=fake: self.judged(real, fake) for fake in fakes])
        return {
            "discriminator.loss": torch.stack(judged).mean(), "generator.fitness": torch.tensor(fittest[0][0]),
            "generator.alive": torch.tensor(len(children)),
        }

    def fitness(self, child, latents, real, progress, update):
        with torch.no_grad():
            fake = self.make(child, latents, real)
            quality = progress.mean(self.score(fake, real).sigmoid().mean())
        gradients = update.gradients("discriminator", lambda: self.judged(real, fake))
        steep = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
        return float((quality - self.diversity * steep.log()).nan_to_num(nan=float("-inf")))

    def judged(self, real, fake):
        return self.loss.discriminator(self.score(real.images, real), self.score(fake, real))

    def score(self, images, real):
        discriminator = self.networks["discriminator"]
        return discriminator(images, labels_for(discriminator, real.labels))["score"]

    def make(self, generator, latents, like):
        return generator(latents, labels_for(generator, like.labels))

    def sample(self, networks, like, seed):
        return self.make(networks["generator"], self.latents.rows(0, like.count, seed).to(like.images.device), like)

    def shipped(self):
        return {"generator": Shipped("generator")}


def order(parents=1, **options):
    first, *others = (name_of(number) for number in range(parents))
    population = {first: Order("decoder"), **{name: Order("decoder", like=first) for name in others}}
    return {**population, "discriminator": Order("encoder", {"score": 1})}


games.add("my_egan", Variant(EGAN, order))


@recipe
def my_egan():
    """Three mutations of one generator, of which the fittest survives."""
    return Recipe(
        name="my-egan", system="prototype", source="arXiv 1803.00657", expects="", data=Data("glyphs", 8, 1, 0),
        networks={
            "generator": Network("upsampling", {"width": 0.03}), "discriminator": Network("mlp", {"hidden": [12]})
        },
        players={"generator": Player(("generator",)), "discriminator": Player(("discriminator",))},
        averages={"generator": Average(50.0)}, images=64, game=Choice("my_egan"), latents=LatentsChoice(6),
        batch_size=8, precision="float32",
    )
