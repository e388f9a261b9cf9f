"""BigGAN: residual networks that labels enter by norms and by projection (Brock et al. 2019, arXiv 1809.11096).

As in the authors' PyTorch code (github.com/ajbrock/BigGAN-PyTorch), whose counts these networks have; what is computed
otherwise, with the same numbers, stands in `frugan.nets._residual`. The defaults are its CIFAR-10 script: own tables
for every norm, no attention, N(0, 0.02) weights. Its ImageNet script has ``shared=128``, ``skip=true``, ``attention``
and ``initialise=orthogonal``. Biases begin at 0, there as torch draws them. Spectral norm divides depthwise kernels
channel by channel (`frugan.nets._spectral`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from frugan.batch import SIGNED, ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._choices import one_of
from frugan.nets._condition import Table, check_labels
from frugan.nets._decoder import check_latents
from frugan.nets._encoder import check_images
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._initialise import rules
from frugan.nets._norms import ConditionalBatchNorm
from frugan.nets._residual import UP, UpBlock, attend_at, check_attention, doublings, judging_stages
from frugan.nets._spectral import spectral
from frugan.ranges import Amount, Count
from frugan.registry import UserError

EPS = 1e-8
"""Of spectral norm, as in the CIFAR-10 script."""


class ResidualDecoder(nn.Module):
    """Latents ``[n, latents]``, and labels if it takes any, to images ``[n, c, h, w]`` in -1 to 1.

    Args:
        chunks: into how many equal parts the latents are split. The first part makes the first map; each further part
            goes to the norms of one block. With 1, all latents make the first map.
        table: turns labels into the vector that all norms share, and is never regularised. None if there are no labels,
            or if each norm has tables of its own.
        start: makes the first map ``[n, c, h, w]`` of the first part of the latents.
        blocks: the `UpBlock` s in order, and the attention between them.
    """

    def __init__(
        self, image: ImageShape, latents: int, classes: int, chunks: int, table: Table | None, start: nn.Module,
        blocks: Sequence[nn.Module], end: nn.Module,
    ) -> None:
        super().__init__()
        self.image = image
        self.latents = latents
        self.classes = classes
        self.image_range = SIGNED
        self.chunks = chunks
        self.norms_follow_truncation = chunks > 1
        self.table = table
        if table is not None:
            table.orthogonal = False  # type: ignore[assignment]
        self.start = start
        self.blocks = nn.ModuleList(blocks)
        self.end = end

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        check_latents(latents, self.latents)
        check_labels(condition, self.classes)
        told = condition if self.table is None or condition is None else self.table(condition)
        first, *others = latents.chunk(self.chunks, dim=1)
        x = self.start(first)
        number = 0
        for block in self.blocks:
            if not isinstance(block, UpBlock):
                x = block(x)
                continue
            if others:
                own = others[number]
                x = block(x, own if told is None else torch.cat([told, own], 1))
            else:
                x = block(x, told)
            number += 1
        return self.end(x)


class ProjectionEncoder(nn.Module):
    """Images ``[n, c, h, w]``, and labels if it takes any, to a dict of outputs ``[n, size]``.

    The last map, after a ReLU, is summed over its places, and meets one dense layer per output. Labels enter the output
    ``score`` by projection: + <table(label), sums> (Miyato and Koyama 2018, arXiv 1802.05637, eq. 3).
    """

    joins = False
    """Spectral norm moves with every call, so real and fake images are judged apart, as everywhere here."""

    def __init__(
        self, image: ImageShape, outputs: Mapping[str, int], classes: int, stages: Sequence[nn.Module], size: int
    ) -> None:
        super().__init__()
        self.image = image
        self.classes = classes
        self.outputs = dict(outputs)
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleDict({name: nn.Linear(size, count) for name, count in outputs.items()})
        self.table = Table(classes, size) if classes else None

    def features(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The maps after each block, first to last; labels change none of them."""
        check_images(images, self.image)
        check_labels(condition, self.classes)
        x, features = images, []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        sums = functional.relu(self.features(images, condition)[-1]).sum((2, 3))
        made = {name: head(sums) for name, head in self.heads.items()}
        if self.table is not None and condition is not None:
            made["score"] = made["score"] + (self.table(condition) * sums).sum(1, keepdim=True)
        return made


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0, channels: Count = 64,
    shared: Amount = 0, skip: bool = False, attention: Amount = 0, normalisation: str = "spectral",
    initialise: str = "dcgan",
) -> ResidualDecoder:
    """Latents ``[n, latents]`` and labels to images in -1 to 1. Roles: ``block.i.0``, ``block.i.1``, ``output``.

    Args:
        channels: the base width; the paper has 64 and 96.
        shared: size of one vector for each class, of which every norm makes its gain and shift (the paper's is 128). 0:
            each norm has tables of its own.
        skip: give every block a part of the latents, for its norms (skip-z).
        attention: self-attention after the block that makes maps of this height, 0 for none.
        normalisation: "spectral" on every weight but those of tables, or "none".
        initialise: a rule for first weights, one of `frugan.nets.rules`.
    """
    owner = "The decoder of 'biggan'"
    doubled, height, width_ = doublings(image, owner)
    chunks = doubled + 1 if skip else 1
    if latents % chunks:
        raise UserError(
            f"skip=true splits the latents in {chunks} equal parts, one for the first map and one for each block, but "
            f"there are {latents}. Give a multiple of {chunks}, e.g. latents.size={chunks * max(1, latents // chunks)}."
        )
    if skip and classes and not shared:
        raise UserError(
            "skip=true joins latents to the vector that all norms share, so with labels it needs one. Give "
            "generator.shared=128."
        )
    now = scaled(channels, width)
    base, *widths = (now * factor for factor in UP[doubled])
    told = (shared if classes else 0) + (latents // chunks if skip else 0)

    def norm(features: int) -> nn.Module:
        if told:
            pair = (nn.Linear(told, features, bias=False) for _ in range(2))
        elif classes:
            pair = (Table(classes, features) for _ in range(2))
        else:
            return nn.BatchNorm2d(features)
        return ConditionalBatchNorm(features, *pair)

    start = nn.Sequential(nn.Linear(latents // chunks, base * height * width_), nn.Unflatten(1, (base, height, width_)))
    blocks: list[nn.Module] = []
    before, heights = base, []
    for number, after in enumerate(widths):
        height *= 2
        heights.append(height)
        blocks += [UpBlock(number, before, after, layers, norm), *attend_at(attention, height, after)]
        before = after
    check_attention(attention, heights, owner)
    end = nn.Sequential(
        nn.BatchNorm2d(before), nn.ReLU(), layers.same("output", before, image.channels, 3, inner_bias=False), nn.Tanh()
    )
    table = Table(classes, shared) if classes and shared else None
    network = ResidualDecoder(image, latents, classes, chunks, table, start, blocks, end)
    _begin(network, initialise, normalisation)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 64, attention: Amount = 0, normalisation: str = "spectral", initialise: str = "dcgan",
) -> ProjectionEncoder:
    """Images and labels to outputs. Roles: ``block.i.0``, ``block.i.1``.

    Args:
        channels: the base width; the paper has 64 and 96.
        attention: self-attention after the first block that ends with maps of this height, 0 for none.
        normalisation: "spectral" on every weight, that of the projection's table included, or "none".
        initialise: a rule for first weights, one of `frugan.nets.rules`.
    """
    if classes and "score" not in outputs:
        raise UserError(
            f"The encoder of 'biggan' uses labels only to compute a 'score', but the game asks it for "
            f"{', '.join(outputs)}. Give this network no labels: NETWORK.labels=false."
        )
    stages, size = judging_stages(image, layers, scaled(channels, width), attention, "The encoder of 'biggan'")
    network = ProjectionEncoder(image, outputs, classes, stages, size)
    _begin(network, initialise, normalisation, spectral_tables=True)
    return network


NORMALISATIONS = ("spectral", "none")


def _begin(network: nn.Module, rule: str, normalisation: str, *, spectral_tables: bool = False) -> None:
    """Draw the first weights, tables too, and lay spectral norm on them."""
    one_of("normalisation", normalisation, NORMALISATIONS)
    initialise_by(network, rule)
    for part in network.modules():
        if isinstance(part, Table):
            rules.find(rule).draw(part.rows)
    if normalisation == "spectral":
        kinds = (_ConvNd, nn.Linear, nn.Embedding) if spectral_tables else (_ConvNd, nn.Linear)
        spectral(network, eps=EPS, kinds=kinds)


variant = Architecture("biggan", decoder=decoder, encoder=encoder)
