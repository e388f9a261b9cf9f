"""The convolutional networks of BiGAN: a generator, an encoder, and a discriminator of images with their latents.

Donahue et al. 2016 (arXiv 1605.09782), the 64-pixel networks of the authors' code, DCGAN's but for this: the decoder
and the joint part are given the vector again in every hidden layer after the first, as a dense layer of it that is
added to each channel before the norm. The encoder is ours, the joint part without vectors (theirs is AlexNet, on larger
images). At 64 x 64 pixels with 200 latents they have 6,050,880, 5,945,792 and 4,494,784 parameters.

The number of stages follows from the image: it is halved while at least 4 pixels are left. Images are in -1 to 1. The
score begins at 0. Ours: labels join the vector, or the image where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._bigan import Bounded, begin_at_zero, check_outputs, check_vectors
from frugan.nets._choices import halvings
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, Flatten, check_images
from frugan.nets._initialise import initialise
from frugan.ranges import Count, Side
from frugan.registry import UserError


class Injected(nn.Module):
    """A convolution to which a dense layer of the vector is added, then normed and activated."""

    def __init__(self, layer: nn.Module, vector: int, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.vector = nn.Linear(vector, channels, bias=False)
        self.rest = nn.Sequential(nn.BatchNorm2d(channels), activation)

    def forward(self, images: Tensor, vectors: Tensor) -> Tensor:
        return self.rest(self.layer(images) + self.vector(vectors)[:, :, None, None])


class Body(nn.Module):
    """The decoder's layers: vectors ``[n, size]``, which enter every hidden layer, to images in -1 to 1."""

    def __init__(self, first: nn.Module, hidden: Sequence[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.hidden = nn.ModuleList(hidden)
        self.last = last

    def forward(self, vectors: Tensor) -> Tensor:
        images = self.first(vectors)
        for stage in self.hidden:
            images = stage(images, vectors)
        return torch.tanh(self.last(images) / 2)  # 2 sigmoid - 1


class Joint(nn.Module):
    """Images ``[n, c, h, w]`` with vectors ``[n, vector]``, and labels if it takes any, to a dict of outputs.

    The vectors, and the labels with them, enter every layer but the first.
    """

    def __init__(
        self, image: ImageShape, vector: int, outputs: Mapping[str, int], entrance: Entrance, first: nn.Module,
        hidden: Sequence[nn.Module], size: int,
    ) -> None:
        super().__init__()
        self.image = image
        self.vector = vector
        self.classes = entrance.classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.first = first
        self.hidden = nn.ModuleList(hidden)
        self.neck = Flatten()
        self.heads = nn.ModuleDict({name: nn.Linear(size, count, bias=False) for name, count in outputs.items()})

    def features(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The activations after each layer before the heads."""
        check_images(images, self.image)
        check_vectors(vectors, self.vector)
        vectors, found = self.entrance(vectors, condition), [self.first(images)]
        for stage in self.hidden:
            found.append(stage(found[-1], vectors))
        return found

    def forward(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        flat = self.neck(self.features(images, vectors, condition)[-1])
        return {name: head(flat) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0, channels: Count = 64,
    kernel: Side = 5, condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``up.0``, ``up.1`` ..., ``output``.

    Args:
        channels: base width, of the last inner layer; every stage before it has twice as many.
        kernel: of all convolutions.
        condition: how labels enter, "join" or "multiply".
    """
    stages, height, width_ = halvings(image, "The decoder of 'bigan_convolutional'")
    half = _half(kernel)
    entrance = Entrance(condition, classes, (latents,))
    now = scaled(channels, width) * 2 ** (stages - 1)
    units = now * height * width_
    first = nn.Sequential(
        nn.Linear(entrance.channels, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(inplace=True),
        nn.Unflatten(1, (now, height, width_)),
    )

    def double(role: str, before: int, after: int) -> nn.Module:
        return layers.up(role, before, after, kernel, bias=False, padding=(half, kernel - 2 - half))

    hidden = []
    for stage in range(stages - 1):
        layer = double(f"up.{stage}", now, now // 2)
        hidden.append(Injected(layer, entrance.channels, now // 2, nn.ReLU(inplace=True)))
        now //= 2
    network = Decoder(image, latents, entrance, Body(first, hidden, double("output", now, image.channels)))
    initialise(network, "dcgan")
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 64, kernel: Side = 5, bounded: Sequence[str] = ("latents",), condition: str = "join",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1`` ...

    Args:
        channels: base width, of the first layer; every stage after it has twice as many.
        kernel: of all convolutions.
        bounded: the outputs that lie in -1 to 1, as uniform latents do; take [] where latents are normal.
        condition: how labels enter, "join" or "multiply".
    """
    entrance = Entrance(condition, classes, tuple(image))
    first, further, size = _stages(image, entrance.channels, layers, width, channels, kernel, "encoder")
    stages = [first, *(nn.Sequential(layer, nn.BatchNorm2d(count), _leaky()) for layer, count in further)]

    def head(name: str, count: int) -> nn.Module:
        return Bounded(size, count) if name in bounded else nn.Linear(size, count, bias=False)

    network = Encoder(image, outputs, entrance, classes, stages, Flatten(), head)
    initialise(network, "dcgan")
    begin_at_zero(network.heads)
    return network


def joint(
    image: ImageShape, vector: int, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *,
    width: float = 1.0, channels: Count = 64, kernel: Side = 5, condition: str = "join",
) -> Joint:
    """Images with vectors to outputs. Roles and options as of `encoder`; labels enter with the vector."""
    check_outputs(outputs, "bigan_convolutional")
    entrance = Entrance(condition, classes, (vector,))
    first, further, size = _stages(image, image.channels, layers, width, channels, kernel, "joint part")
    if not further:
        raise UserError(
            "The joint part of 'bigan_convolutional' halves the image twice or more, since vectors enter from the "
            f"second time on: impossible for {image.height} x {image.width}. Resize the data, e.g. to 32 x 32."
        )
    hidden = [Injected(layer, entrance.channels, count, _leaky()) for layer, count in further]
    network = Joint(image, vector, outputs, entrance, first, hidden, size)
    initialise(network, "dcgan")
    begin_at_zero(network.heads)
    return network


def _stages(
    image: ImageShape, in_channels: int, layers: Layers, width: float, channels: int, kernel: int, part: str
) -> tuple[nn.Module, list[tuple[nn.Module, int]], int]:
    """The first stage, the convolution of each further one with its channels, and how many numbers are left."""
    stages, height, width_ = halvings(image, f"The {part} of 'bigan_convolutional'")
    half, now = _half(kernel), scaled(channels, width)

    def halve(role: str, before: int, after: int) -> nn.Module:
        return layers.down(role, before, after, kernel, bias=False, padding=(half, half))

    first = nn.Sequential(halve("stem", in_channels, now), _leaky())
    further = []
    for stage in range(stages - 1):
        further.append((halve(f"down.{stage}", now, 2 * now), 2 * now))
        now *= 2
    return first, further, now * height * width_


def _half(kernel: int) -> int:
    if kernel < 3:
        raise UserError(f"kernel={kernel}: 'bigan_convolutional' needs kernels of 3 or more. The authors' have 5.")
    return (kernel - 1) // 2


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


variant = Architecture("bigan_convolutional", decoder=decoder, encoder=encoder, joint=joint)
