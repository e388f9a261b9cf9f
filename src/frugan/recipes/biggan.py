"""BigGAN: Brock, Donahue, Simonyan 2019, arXiv 1809.11096, as the authors' PyTorch code trains it.

Each part of the paper is a value of its own:

    self-attention            generator.attention=32 discriminator.attention=32     0 is none
    hinge loss                loss=hinge
    labels in the generator   generator.shared=128     0: tables for every norm; generator.labels=false: none
    labels in the other       discriminator.labels=true
    spectral norm             generator.normalisation=spectral discriminator.normalisation=spectral     or none
    discriminator's steps     game.discriminator_steps=2
    averaged weights          averages.generator.half_life=IMAGES averages.generator.start=IMAGES
    orthogonal first weights  generator.initialise=orthogonal discriminator.initialise=orthogonal
    orthogonal regularisation game.orthogonal=5e-5     the code's 1e-4, see frugan.nets.orthogonality
    large batches             batch_size=2048 game.pieces=8
    width                     generator.channels=96 discriminator.channels=96
    latents for every block   generator.skip=true
    truncation                frugan sample --truncation 0.5

Half-lives here are the code's decay 0.9999 in images: 6,931 generator steps times the real images of each.
"""

from __future__ import annotations

from dataclasses import replace

from frugan.recipe import Average, Choice, Data, LatentsChoice, Network, Player, Recipe, Rule
from frugan.recipes import recipe
from frugan.recipes._tables import WHOLE_OUTPUT

SOURCE = "Brock, Donahue, Simonyan 2019, arXiv 1809.11096; github.com/ajbrock/BigGAN-PyTorch"
STEPS = 6931.1  # of the generator, after which 0.9999 ^ steps is a half

# The first layer sees an image of three channels: one kernel for each would be all that is known of it.
WHOLE_FIRST: dict[str, tuple[Rule, ...]] = {
    family: (Rule("*", family), Rule("block.0.0", "standard")) for family in ("factorised", "depthwise")
}


@recipe
def biggan_cifar10() -> Recipe:
    """BigGAN's CIFAR-10 script: 32 x 32, base width 64, four discriminator steps in a round, 500 epochs.

    ``frugan train biggan-cifar10 --data cifar10``

    Cost, by calculation: 2.4e17 multiply-accumulates, hours on a large GPU, most of a year on one CPU core. Score, as
    published: FID 9.78 and Inception score 8.70 of 50,000 images against the training images (re-run of this
    configuration by MMagic, the best of 500,000 generator steps; this recipe makes 125,000). Not yet trained here.
    """
    return Recipe(
        name="biggan-cifar10", system="BigGAN", source=SOURCE,
        expects="G 4,304,387 and D 4,207,361 parameters",
        data=Data("cifar10", 32, 3, 10),
        networks={
            "generator": Network("biggan", {"channels": 64}, labels=True, tables=WHOLE_OUTPUT),
            "discriminator": Network("biggan", {"channels": 64}, labels=True, tables=WHOLE_FIRST),
        },
        players={name: Player((name,), 2e-4, betas=(0.0, 0.999)) for name in ("generator", "discriminator")},
        game=Choice("adversarial", {"discriminator_steps": 4, "fresh_latents": True, "labels": "uniform"}),
        loss=Choice("hinge"), latents=LatentsChoice(128), batch_size=50, images=25_000_000,
        averages={"generator": Average(STEPS * 200, start=200_000)},
    )


@recipe
def biggan_64() -> Recipe:
    """BigGAN at 64 x 64 and half width, with shared labels, latents for every block and attention at 32 x 32.

    ``frugan train biggan-64 --data FOLDER`` takes a folder with a subfolder for each class.

    Our own settings, those of the CIFAR-10 script with the rest of the paper's parts; no score is published, and it was
    not trained here. Cost, by calculation: 1.2e17 multiply-accumulates.
    """
    return replace(
        biggan_cifar10(), name="biggan-64", expects="with 10 classes G 8,426,372 and D 4,894,306 parameters",
        data=Data("glyphs:digits", 64, 3, 10), networks=_networks(channels=32, attention=32),
        latents=LatentsChoice(120),
    )


@recipe
def biggan_128() -> Recipe:
    """BigGAN's ImageNet script: 128 x 128, base width 96, 1,000 classes, batches of 2,048 in eight pieces.

    ``frugan train biggan-128 --data FOLDER`` takes a folder with a subfolder for each class. A piece is 256 images;
    with less memory give more pieces, e.g. game.pieces=32.

    Cost: the authors' best score came after about 138,000 rounds, 283 million images, on several large GPUs. Score, as
    published: FID 9.91 and Inception score 93.1 in the authors' log, by torchvision's Inception, which no other number
    may be compared with; FID 10.14 and 96.7 of the same weights by MMagic. Others who ran the script reported Inception
    scores of 51 to 63. Not trained here.
    """
    rates = {"generator": 1e-4, "discriminator": 4e-4}
    return replace(
        biggan_cifar10(), name="biggan-128", expects="with 1,000 classes G 70,433,988 and D 87,982,370 parameters",
        data=Data("hub:ILSVRC/imagenet-1k", 128, 3, 1000), networks=_networks(channels=96, attention=64),
        latents=LatentsChoice(120), batch_size=2048, images=138_000 * 2048,
        players={name: Player((name,), rate, betas=(0.0, 0.999), epsilon=1e-6) for name, rate in rates.items()},
        game=Choice("adversarial", {"fresh_latents": True, "labels": "uniform", "pieces": 8}),
        averages={"generator": Average(STEPS * 2048, start=20_000 * 2048)},
    )


@recipe
def biggan_small() -> Recipe:
    """BigGAN at an eighth of its width on drawn portraits, with every part of its networks in use: for one CPU core.

    ``frugan train biggan-small``. For classes instead of attributes: ``--data cifar10 data.attributes=[]``.

    Cost: 24,000 images, some three minutes of one CPU core with AMX and half an hour of an old busy one. Score, ours,
    of 32,000 images and two seeds: FID 237 and 530 through the classifier of the data, where training portraits have
    12.5 (docs/results/biggan.md).
    """
    rates = {"generator": 5e-4, "discriminator": 1e-3}
    attributes = ("black_hair", "blond_hair", "brown_hair", "glasses", "hat", "dark_skin")
    return replace(
        biggan_cifar10(), name="biggan-small", expects="G 81,956 and D 68,322 parameters",
        data=Data("portraits", 32, 3, 6, attributes=attributes), latents=LatentsChoice(64),
        networks=_networks(channels=8, attention=16, shared=16), batch_size=32, images=24_000,
        players={name: Player((name,), rate, betas=(0.0, 0.99)) for name, rate in rates.items()},
        game=Choice("adversarial", {"fresh_latents": True}), averages={"generator": Average(10_000.0, ramp=0.1)},
    )


def _networks(*, channels: int, attention: int, shared: int = 128) -> dict[str, Network]:
    """Both networks with every part of theirs in use."""
    both = {"channels": channels, "attention": attention, "initialise": "orthogonal"}
    return {
        "generator": Network(
            "biggan", {**both, "shared": shared, "skip": True}, labels=True, tables=WHOLE_OUTPUT
        ),
        "discriminator": Network("biggan", both, labels=True, tables=WHOLE_FIRST),
    }
