"""The dense networks of BiGAN for digits: a generator, an encoder, and a discriminator of images with their latents.

Donahue et al. 2016 (arXiv 1605.09782), the permutation-invariant networks of the authors' code. The decoder and the
joint part are given the vector twice: a further layer of it is added to the second hidden layer, before its norm. No
layer has a bias and no norm a gain or shift; the score begins at 0. There are no convolutions, so no family could build
a layer. At 28 x 28 pixels with 50 latents they have 1,953,792, 1,902,592 and 1,903,616 parameters.

Images are in 0 to 1. Ours: labels join the vector, or the flattened image where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from frugan.batch import UNIT, ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._bigan import Bounded, begin_at_zero, check_outputs, check_vectors
from frugan.nets._choices import widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, check_images
from frugan.nets._initialise import initialise
from frugan.ranges import Count

EPSILON = 1e-8
"""Of every norm, as in the authors' code."""


class Injected(nn.Module):
    """A hidden layer of two inputs: both are multiplied by weights and added, then normed and activated."""

    def __init__(self, size: int, vector: int, units: int, activation: nn.Module) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, units, bias=False)
        self.vector = nn.Linear(vector, units, bias=False)
        self.rest = nn.Sequential(_norm(units), activation)

    def forward(self, hidden: Tensor, vector: Tensor) -> Tensor:
        return self.rest(self.hidden(hidden) + self.vector(vector))


class Body(nn.Module):
    """The decoder's layers: vectors ``[n, size]``, which enter the second layer too, to images in 0 to 1."""

    def __init__(self, image: ImageShape, vector: int, first: int, second: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(vector, first, bias=False), _norm(first), nn.ReLU())
        self.second = Injected(first, vector, second, nn.ReLU())
        self.last = nn.Sequential(
            nn.Linear(second, math.prod(image), bias=False), nn.Sigmoid(), nn.Unflatten(1, tuple(image))
        )

    def forward(self, vectors: Tensor) -> Tensor:
        return self.last(self.second(self.first(vectors), vectors))


class Joint(nn.Module):
    """Images ``[n, c, h, w]`` with vectors ``[n, vector]``, and labels if it takes any, to a dict of outputs.

    The vectors, and the labels with them, enter at the second layer.
    """

    def __init__(
        self, image: ImageShape, vector: int, outputs: Mapping[str, int], entrance: Entrance, first: int, second: int
    ) -> None:
        super().__init__()
        self.image = image
        self.vector = vector
        self.classes = entrance.classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image), first, bias=False), nn.LeakyReLU(0.2))
        self.second = Injected(first, entrance.channels, second, nn.LeakyReLU(0.2))
        self.heads = nn.ModuleDict({name: nn.Linear(second, size, bias=False) for name, size in outputs.items()})

    def features(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The activations after each layer before the heads."""
        check_images(images, self.image)
        check_vectors(vectors, self.vector)
        first = self.first(images)
        return [first, self.second(first, self.entrance(vectors, condition))]

    def forward(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.features(images, vectors, condition)[-1]
        return {name: head(hidden) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (1024, 1024), condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in 0 to 1. No roles.

    Args:
        hidden: units of the two hidden layers.
        condition: how labels enter, "join" or "multiply".
    """
    entrance = Entrance(condition, classes, (latents,))
    first, second = widths("hidden", hidden, 2, width)
    network = Decoder(image, latents, entrance, Body(image, entrance.channels, first, second), UNIT)
    initialise(network, "dcgan")
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (1024, 1024), bounded: Sequence[str] = ("latents",), condition: str = "join",
) -> Encoder:
    """Images to outputs: to latents as BiGAN's encoder, to a score as the discriminator that sees images alone.
    No roles.

    Args:
        hidden: units of the two hidden layers.
        bounded: the outputs that lie in -1 to 1, as uniform latents do; take [] where latents are normal.
        condition: how labels enter, "join" (one-hot, behind the flattened image) or "multiply".
    """
    entrance = Entrance(condition, classes, (math.prod(image),))
    first, second = widths("hidden", hidden, 2, width)
    stages = [
        nn.Sequential(nn.Linear(entrance.channels, first, bias=False), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Linear(first, second, bias=False), _norm(second), nn.LeakyReLU(0.2)),
    ]

    def head(name: str, size: int) -> nn.Module:
        return Bounded(second, size) if name in bounded else nn.Linear(second, size, bias=False)

    network = Encoder(image, outputs, entrance, classes, stages, nn.Identity(), head)
    initialise(network, "dcgan")
    begin_at_zero(network.heads)
    return network


def joint(
    image: ImageShape, vector: int, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *,
    width: float = 1.0, hidden: Sequence[Count] = (1024, 1024), condition: str = "join",
) -> Joint:
    """Images with vectors to outputs. No roles.

    Args:
        hidden: units of the two hidden layers.
        condition: how labels enter, "join" (one-hot, behind the vector) or "multiply" (times the vector).
    """
    check_outputs(outputs, "bigan")
    entrance = Entrance(condition, classes, (vector,))
    network = Joint(image, vector, outputs, entrance, *widths("hidden", hidden, 2, width))
    initialise(network, "dcgan")
    begin_at_zero(network.heads)
    return network


def _norm(units: int) -> nn.Module:
    return nn.BatchNorm1d(units, eps=EPSILON, affine=False)


variant = Architecture("bigan", decoder=decoder, encoder=encoder, joint=joint)
