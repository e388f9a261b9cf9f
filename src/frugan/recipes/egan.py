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

    On digits the discriminator is soon right on everything with these published settings. ``egan-small`` has others,
    which train there.
    """
    return Recipe(
        name="egan", system="E-GAN", source=f"{SOURCE}; WANG-Chaoyue/EvolutionaryGAN-pytorch",
        expects="G 3,447,683 and D 2,638,209 trainable parameters", data=Data("cifar10", 32, 3, 10),
        networks={"generator": Network("egan", tables=WHOLE_OUTPUT), "discriminator": Network("egan")},
        players={"generator": Player(("generator",), **ADAM), "discriminator": Player(("discriminator",), **ADAM)},
        images=2_000_000, game=Choice("evolutionary"), latents=LatentsChoice(100, "uniform"), batch_size=32,
        augment=(Choice("flip"),), averages={"generator": Average(10_000.0, ramp=0.1)},
    )


@recipe
def egan_large() -> Recipe:
    """The first version of the authors' PyTorch code: networks four times as large, fitness on 256 images.

    ``frugan train egan-large --data cifar10 --out RUN``. A round costs about 2,000 billion multiply-accumulates, nearly
    four fifths of them for fitness. Published: 2.7 s a round on a GTX 1060, so 15.7 days for 500,000 rounds; no score.
    Without --rounds it ends after 5,681 rounds.
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


@recipe
def egan_small() -> Recipe:
    """E-GAN at an eighth of its width, in gentler settings: 32 x 32, for one CPU core.

    ``frugan train egan-small``, or ``--data mnist``. As published, the discriminator is soon right on everything, the
    fitness rewards it, and no digit is learnt. R1, no norm in the discriminator and other rates change that. Batch norm
    in the generator, which the authors' code has as a choice, keeps it from becoming black: without it two seeds of
    four did (docs/results/egan.md). Digits are not mirrored.
    Cost: 1,000 rounds, which show 96,000 images, 100 s of a core with AMX.
    """
    published, adam = egan(), {"learning_rate": 1e-3, "betas": (0.0, 0.99)}
    generator, discriminator = published.networks["generator"], published.networks["discriminator"]
    return replace(
        published, name="egan-small", expects="G 143,953 and D 42,353 trainable parameters",
        data=Data("glyphs:digits", 32, 1, 10),
        networks={
            "generator": replace(generator, options={"width": 0.125, "normalisation": "batch_norm"}),
            "discriminator": replace(discriminator, options={"width": 0.125, "normalisation": "none"}),
        },
        players={name: Player((name,), **adam) for name in published.players}, batch_size=16,
        penalties=(Choice("r1", {"weight": 2.0, "every": 4}),), augment=(), images=96_000,
    )
