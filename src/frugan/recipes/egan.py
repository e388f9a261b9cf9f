"""E-GAN: Wang, Xu, Yao, Tao, arXiv 1803.00657, with the networks of the authors' PyTorch code, in both sizes."""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "Wang, Xu, Yao, Tao 2018, arXiv 1803.00657"
ADAM = {"learning_rate": 2e-4, "betas": (0.5, 0.999)}


@recipe
def egan() -> Recipe:
    """E-GAN: three mutations of one generator, of which the fittest survives; 32 pixels, a round of 32 images.

    ``frugan train egan --data cifar10 --rounds 100000 --out RUN``. Fitness looks at 96 images with latents that all
    children share, which costs 163 billion multiply-accumulates a round. As published, with 256 images and latents of
    each child's own, a round costs twice that: ``game.evaluation=256 game.fresh_latents=true``. Published scores are
    not given here, since we could not verify them; we have none on CIFAR-10.

    On digits the discriminator is soon right on everything with the published settings. What trains there at an eighth
    of the width, 1,000 rounds in 23 minutes on half a busy core (docs/results/egan.md): ``frugan train egan --data
    mnist --rounds 1000 generator.width=0.125 discriminator.width=0.125 discriminator.normalisation=none
    penalties=r1,weight=2,every=4 learning_rate=1e-3 betas=[0,0.99]``.
    """
    return Recipe(
        name="egan", system="E-GAN", source=f"{SOURCE}; WANG-Chaoyue/EvolutionaryGAN-pytorch",
        expects="G 3,447,683 and D 2,638,209 trainable parameters", data=Data("cifar10", 32, 3, 10),
        networks={"generator": Network("egan", tables=WHOLE_OUTPUT), "discriminator": Network("egan")},
        players={"generator": Player(("generator",), **ADAM), "discriminator": Player(("discriminator",), **ADAM)},
        images=2_000_000, game=Choice("evolutionary"), latents=LatentsChoice(100, "uniform"), batch_size=32,
        averages={"generator": Average(10_000.0, ramp=0.1)},
    )


@recipe
def egan_large() -> Recipe:
    """The first version of the authors' PyTorch code: networks four times as large, fitness on 256 images.

    ``frugan train egan-large --data cifar10 --out RUN``. A round costs about 2,000 billion multiply-accumulates, five
    sixths of them for fitness. Published: 2.7 s a round on a GTX 1060, so 15.7 days for 500,000 rounds; no score.
    """
    small, ends = egan(), {"ends": "kept"}
    return replace(
        small, name="egan-large", expects="G 12,653,827 and D 11,033,473 trainable parameters",
        networks={
            "generator": replace(small.networks["generator"], options=ends),
            "discriminator": replace(small.networks["discriminator"], options={**ends, "bias": False}),
        },
        game=Choice("evolutionary", {
            "mutations": ["non_saturating", "minimax", "lsgan"], "evaluation": 256, "fresh_latents": True
        }),
    )  # fmt: skip
