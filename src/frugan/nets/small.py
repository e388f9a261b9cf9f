"""Nets for few images and a few minutes without a GPU: DCGAN's layout at less width, and a discriminator without norms.

Strided 4 x 4 layers only, so that no layer works at the full size of the image: on a CPU these take the least time for
what they learn. The decoder has batch norm and ReLU, the encoder neither norms nor biases of norms, so that slopes
(R1, R2) are those of each image by itself. Labels enter the decoder with the latents, and the encoder's score by
projection.

What was tried beside it, and how much it mattered, stands in docs/results/small.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._choices import halvings
from frugan.nets._condition import Entrance, Table, check_labels
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Flatten, check_images
from frugan.nets._initialise import initialise, rules
from frugan.ranges import Count
from frugan.registry import UserError

KERNEL, RULE = 4, "dcgan"
"""Of every layer, and the rule for first weights."""


def _widths(stages: int, channels: int, most: int, width: float) -> list[int]:
    """Channels at each size, the largest image's first: each half of the size has twice as many, up to a limit."""
    return [scaled(min(channels * 2**stage, most), width) for stage in range(stages)]


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0, channels: Count = 32,
    most: Count = 256,
) -> Decoder:
    """Latents ``[n, latents]``, and labels if it takes any, to images in -1 to 1. Roles: ``up.0``, ..., ``output``.

    Args:
        channels: of the last inner maps; each size before them has twice as many.
        most: channels at most.
    """
    stages, height, width_ = halvings(image, "The decoder of 'small'")
    widths = _widths(stages, channels, most, width)[::-1]
    entrance = Entrance("join", classes, (latents,))
    body: list[nn.Module] = [
        nn.Linear(entrance.channels, widths[0] * height * width_, bias=False),
        nn.Unflatten(1, (widths[0], height, width_)),
    ]
    for number, (before, after) in enumerate(zip(widths, [*widths[1:], image.channels], strict=True)):
        last = number == stages - 1
        body += [
            nn.BatchNorm2d(before), nn.ReLU(inplace=True),
            layers.up("output" if last else f"up.{number}", before, after, KERNEL, bias=last),
        ]  # fmt: skip
    network = Decoder(image, latents, entrance, nn.Sequential(*body, nn.Tanh()))
    initialise(network, RULE)
    return network


class ProjectingEncoder(nn.Module):
    """Images ``[n, c, h, w]``, and labels if it takes any, to a dict of outputs ``[n, size]``.

    Labels enter the output ``score`` by projection: + <table(label), last maps> (Miyato and Koyama 2018, arXiv
    1802.05637, eq. 3), with the means of the maps.
    """

    joins = True

    def __init__(
        self, image: ImageShape, outputs: Mapping[str, int], classes: int, stages: list[nn.Module], maps: int,
        places: int,
    ) -> None:
        super().__init__()
        self.image = image
        self.classes = classes
        self.outputs = dict(outputs)
        self.stages = nn.ModuleList(stages)
        self.flatten = Flatten()
        self.heads = nn.ModuleDict({name: nn.Linear(maps * places, size) for name, size in outputs.items()})
        self.table = Table(classes, maps) if classes else None
        initialise(self, RULE)
        if self.table is not None:
            rules.find(RULE).draw(self.table.rows)

    def features(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The maps after each stage, first to last; labels change none of them."""
        check_images(images, self.image)
        check_labels(condition, self.classes)
        x, features = images, []
        for stage in self.stages:
            x = functional.leaky_relu(stage(x), 0.2)
            features.append(x)
        return features

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        last = self.features(images, condition)[-1]
        flat = self.flatten(last)
        made = {name: head(flat) for name, head in self.heads.items()}
        if self.table is not None and condition is not None:
            told = (self.table(condition) * last.mean((2, 3))).sum(1, keepdim=True)
            made["score"] = made["score"] + told
        return made


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 32, most: Count = 256,
) -> ProjectingEncoder:
    """Images, and labels if it takes any, to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ...

    Args:
        channels: of the first maps; each size after them has twice as many.
        most: channels at most.
    """
    if classes and "score" not in outputs:
        raise UserError(
            f"The encoder of 'small' uses labels only to compute a 'score', but the game asks it for "
            f"{', '.join(outputs)}. Give this network no labels: NETWORK.labels=false."
        )
    stages, height, width_ = halvings(image, "The encoder of 'small'")
    widths = _widths(stages, channels, most, width)
    built: list[nn.Module] = []
    before = image.channels
    for number, after in enumerate(widths):
        built.append(layers.down("stem" if number == 0 else f"down.{number - 1}", before, after, KERNEL))
        before = after
    return ProjectingEncoder(image, outputs, classes, built, before, height * width_)


variant = Architecture("small", decoder=decoder, encoder=encoder)
