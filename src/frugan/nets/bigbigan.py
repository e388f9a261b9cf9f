"""BigBiGAN's encoder, and its discriminator of images with latents (Donahue and Simonyan 2019, arXiv 1907.02544).

The discriminator has a network F of the image (BigGAN's, without labels), a network H of the latents, and a network J
of what both find. It scores the pair by J, and if asked the image by F alone and the latents by H alone; F and H run
once for all of these. The encoder is a residual network with batch norm, pre-activated (He et al. 2016, arXiv
1603.05027), with a dense residual network behind it. The generator is BigGAN's, with ``skip=true`` and without labels.

The paper's sizes (ResNet-50, dense layers of 2,048 and 4,096) are published without code; here are small ones. With the
defaults, 32 x 32 pixels, three channels, 128 latents and an encoder of means and deviations they have

    encoder 12,611,648    F 4,204,544    H 2,167,296    J 2,494,976    scores 257, 513, 513

parameters. Spectral norm is on every weight but the encoder's.

Ours: labels join the vector, or the encoder's image. A reversible block has two halves of the channels (RevNet, Gomez
et al. 2017, arXiv 1707.04585), and so half of the weights; it can be inverted, but training keeps what it always keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.batch import ImageShape
from frugan.convs import Convolution, Layers
from frugan.nets import Architecture, scaled
from frugan.nets._bigan import IMAGES_ALONE, VECTORS_ALONE, Bounded, check_vectors
from frugan.nets._choices import one_of
from frugan.nets._condition import Entrance
from frugan.nets._encoder import Encoder, check_images
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._means import MapMeans
from frugan.nets._residual import judging_stages
from frugan.nets._spectral import spectral
from frugan.ranges import Amount, Count, Repeats
from frugan.registry import UserError

EPS = 1e-8
"""Of spectral norm, as BigGAN has it."""

STAGES = (1, 2, 4, 8)
"""The encoder's stages, as multiples of its base width; all but the first halve the image."""


class ResidualDense(nn.Module):
    """Vectors ``[n, size]`` to ``[n, units]``: a dense layer, blocks of two that are added, and a ReLU."""

    def __init__(self, size: int, units: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, units)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, units)) for _ in range(blocks)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = self.first(vectors)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return functional.relu(hidden)


class Added(nn.Module):
    """What a pre-activated block adds to its input: norm, ReLU, 3 x 3, norm, ReLU, 3 x 3.

    ``[n, before, h, w]`` gives its activated input, and ``[n, after, h, w]`` or half as high and wide.
    """

    def __init__(
        self, role: str, start: int, before: int, after: int, layers: Layers, *, halve: bool = False
    ) -> None:
        super().__init__()
        first, second = f"{role}.{start}", f"{role}.{start + 1}"
        self.enter = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.first = (
            layers.down(first, before, after, 3, bias=False, padding=(1, 1)) if halve
            else layers.same(first, before, after, 3, bias=False)
        )
        self.second = nn.Sequential(
            nn.BatchNorm2d(after), nn.ReLU(), layers.same(second, after, after, 3, bias=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        active = self.enter(x)
        return active, self.second(self.first(active))


class Block(nn.Module):
    """A pre-activated block. Where it changes the shape, its shortcut is a 1 x 1 layer on the activated input."""

    def __init__(self, role: str, before: int, after: int, layers: Layers, halve: bool) -> None:
        super().__init__()
        self.added = Added(role, 0, before, after, layers, halve=halve)
        self.shortcut: nn.Module | None = None
        if halve or before != after:
            step = (2, 2) if halve else (1, 1)
            self.shortcut = Convolution(before, after, (1, 1), stride=step, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active, added = self.added(x)
        return added + (x if self.shortcut is None else self.shortcut(active))


class ReversibleBlock(nn.Module):
    """A block that keeps the shape: each half of the channels is changed by what the other half says."""

    def __init__(self, role: str, channels: int, layers: Layers) -> None:
        super().__init__()
        self.sizes = (channels // 2, channels - channels // 2)
        one, other = self.sizes
        self.of_second = Added(role, 0, other, one, layers)
        self.of_first = Added(role, 2, one, other, layers)

    def forward(self, x: Tensor) -> Tensor:
        one, other = x.split(self.sizes, dim=1)
        one = one + self.of_second(other)[1]
        return torch.cat([one, other + self.of_first(one)[1]], dim=1)


class Joint(nn.Module):
    """Images ``[n, c, h, w]`` with vectors ``[n, vector]``, and labels if it takes any, to a dict of outputs.

    Outputs are dense layers on what was found in the pair, but for `IMAGES_ALONE` and `VECTORS_ALONE`.

    Args:
        stages: F's, of images; after a ReLU, F's last map is summed over its places to `size` numbers.
        units: of the layers of H and J; `blocks`: how many pairs of layers both have.
    """

    def __init__(
        self, image: ImageShape, vector: int, outputs: Mapping[str, int], entrance: Entrance,
        stages: Sequence[nn.Module], size: int, units: int, blocks: int,
    ) -> None:
        super().__init__()
        self.image = image
        self.vector = vector
        self.classes = entrance.classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.of_images = nn.Sequential(*stages)
        self.of_vectors = ResidualDense(entrance.channels, units, blocks)
        together = set(outputs) - {IMAGES_ALONE, VECTORS_ALONE}
        self.of_pairs = ResidualDense(size + units, units, blocks) if together else None
        inputs = {IMAGES_ALONE: size}
        self.heads = nn.ModuleDict({name: nn.Linear(inputs.get(name, units), count) for name, count in outputs.items()})
        scores = {"s_x": IMAGES_ALONE, "s_z": VECTORS_ALONE, "s_xz": "score"}
        self.parts = {
            "F": "of_images", "H": "of_vectors", **({"J": "of_pairs"} if together else {}),
            **{part: f"heads.{name}" for part, name in scores.items() if name in outputs},
        }

    def forward(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        check_images(images, self.image)
        check_vectors(vectors, self.vector)
        seen = functional.relu(self.of_images(images)).sum((2, 3))
        told = self.of_vectors(self.entrance(vectors, condition))
        found = {IMAGES_ALONE: seen, VECTORS_ALONE: told}
        pairs = seen if self.of_pairs is None else self.of_pairs(torch.cat([seen, told.to(seen.dtype)], dim=1))
        return {name: head(found.get(name, pairs)) for name, head in self.heads.items()}


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 64, hidden: Count = 512, blocks: Repeats = 2, reversible: bool = False,
    bounded: Sequence[str] = (), initialise: str = "orthogonal", condition: str = "join",
) -> Encoder:
    """Images to outputs; its last stage is the average of the last map. Roles: ``stem``, ``block.i.0``, ``block.i.1``.

    Args:
        channels: base width; the four stages have 1, 2, 4 and 8 times as many.
        hidden: units of the dense layers between the average and the outputs.
        blocks: in each stage.
        reversible: blocks that keep the shape are reversible; they have the roles ``block.i.2`` and ``block.i.3`` too.
        bounded: the outputs that lie in -1 to 1, as uniform latents do.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    if blocks < 1:
        raise UserError(f"blocks={blocks}: each stage of the encoder of 'bigbigan' needs one block or more.")
    entrance = Entrance(condition, classes, tuple(image))
    now, units = scaled(channels, width), scaled(hidden, width)
    stages: list[nn.Module] = [layers.same("stem", entrance.channels, now, 3, bias=False)]
    number = 0
    for stage, times in enumerate(STAGES):
        built: list[nn.Module] = []
        after = scaled(channels * times, width)
        for first in (True, *(False for _ in range(blocks - 1))):
            halve = first and stage > 0
            role = f"block.{number}"
            if reversible and not halve and now == after:
                built.append(ReversibleBlock(role, now, layers))
            else:
                built.append(Block(role, now, after, layers, halve))
            now, number = after, number + 1
        stages.append(nn.Sequential(*built))
    last = (nn.BatchNorm2d(now), nn.ReLU(), MapMeans(), nn.Flatten())
    stages[-1] = nn.Sequential(stages[-1], *last)

    def head(name: str, size: int) -> nn.Module:
        return Bounded(units, size, bias=True) if name in bounded else nn.Linear(units, size)

    network = Encoder(image, outputs, entrance, classes, stages, ResidualDense(now, units, 2), head)
    initialise_by(network, initialise)
    return network


def joint(
    image: ImageShape, vector: int, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *,
    width: float = 1.0, channels: Count = 64, attention: Amount = 0, hidden: Count = 512, blocks: Repeats = 4,
    normalisation: str = "spectral", initialise: str = "orthogonal", condition: str = "join",
) -> Joint:
    """Images with vectors to outputs. Roles: ``block.i.0``, ``block.i.1``, of the layers of the image.

    Args:
        channels: base width of F, the part of the image.
        attention: self-attention after the first block of F that ends with maps of this height, 0 for none.
        hidden: units of all layers of H and J, the parts of the vector and of the pair.
        blocks: how many blocks of two layers H and J have.
        normalisation: "spectral" on every weight, or "none".
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, with the vector: "join" or "multiply".
    """
    one_of("normalisation", normalisation, ("spectral", "none"))
    entrance = Entrance(condition, classes, (vector,))
    stages, size = judging_stages(image, layers, scaled(channels, width), attention, "The joint part of 'bigbigan'")
    network = Joint(image, vector, outputs, entrance, stages, size, scaled(hidden, width), blocks)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network, eps=EPS)
    return network


variant = Architecture("bigbigan", encoder=encoder, joint=joint)
