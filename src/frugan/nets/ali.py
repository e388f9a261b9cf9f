"""The networks of ALI (Dumoulin et al. 2016, arXiv 1606.00704): a generator, an encoder, a joint discriminator.

All convolutions are unpadded, so the image shrinks by them alone: 32, 28, 13, 10, 4, 1 pixels in the designs for
CIFAR-10 and SVHN, 64, 63, 29, 13, 4, 1 in the one for CelebA. The decoder goes the same way back. Counted are, with 64
latents for CIFAR-10 and 256 for the others, and an encoder of means and deviations:

    ======== ======= ========== =========== =====================
    design   pixels  encoder    decoder     joint part
    ======== ======= ========== =========== =====================
    cifar10  32      3,118,496  981,152     2,611,009
    svhn     32      3,315,488  1,767,584   5,283,073
    celeba   64      6,794,880  11,811,392  15,189,057
    ======== ======= ========== =========== =====================

Weights are from N(0, 0.01), biases 0. Images are in 0 to 1. The joint part of CIFAR-10 is the released code's, whose
maxout of two maps halves the channels (the paper's table does not).

Ours: the bias of the decoder's last layer, one for every number of the image, begins at 0 instead of at the log-odds of
the mean training image, which no network here can see. Of other sizes, the deepest convolution takes what the others
leave. Labels join the vector, or the image where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import init

from frugan.batch import UNIT, ImageShape
from frugan.convs import Convolution, Layers
from frugan.nets import Architecture, scaled
from frugan.nets._bigan import check_outputs, check_vectors
from frugan.nets._choices import one_of
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._dropout import Dropout
from frugan.nets._encoder import Encoder, check_images
from frugan.nets._initialise import FirstWeights, initialise
from frugan.nets._norms import set_batch_norms
from frugan.registry import UserError

FIRST_WEIGHTS = FirstWeights(lambda part: init.normal_(part.weight, 0.0, 0.01), lambda standard: 0.01**2)  # pyrefly: ignore
MOMENTUM = 0.05


@dataclass(frozen=True)
class Design:
    """The numbers of one of the paper's designs.

    Attributes:
        convolutions: kernel and stride of the encoder's convolutions before its deepest, which has stride 1.
        encoder: their maps and those of the deepest; `hidden`: those of a further 1 x 1 layer, or none.
        decoder: maps from the latents on; `thin` those of a 1 x 1 layer before the last, or none.
        of_images: filters of the joint part's convolutions; of_vectors: of both layers of the vector; of_pairs: of both
            layers of the two joined.
        maxout: the joint part has maxout of two filters and dropout, instead of leaky ReLUs and batch norm.
        slope: of all leaky ReLUs.
    """

    convolutions: tuple[tuple[int, int], ...]
    encoder: tuple[int, ...]
    hidden: tuple[int, ...]
    decoder: tuple[int, ...]
    thin: tuple[int, ...]
    of_images: tuple[int, ...]
    of_vectors: int
    of_pairs: int
    maxout: bool
    slope: float


SMALL = ((5, 1), (4, 2), (4, 1), (4, 2))
LARGE = ((2, 1), (7, 2), (5, 2), (7, 2))
STEPS, UP = (32, 64, 128, 256, 512), (256, 128, 64, 32, 32)
DESIGNS = {
    "cifar10": Design(SMALL, STEPS, (512,), UP, (32,), STEPS, 512, 1024, True, 0.1),
    "svhn": Design(SMALL, STEPS, (512,), UP, (32,), STEPS, 512, 1024, False, 0.01),
    "celeba": Design(
        LARGE, (64, 128, 256, 256, 512), (), (512, 256, 256, 128, 64), (), (64, 128, 256, 256, 512), 1024, 2048, False,
        0.02,
    ),
}


class Output(nn.Module):
    """The decoder's last layer: a 1 x 1 convolution with a bias for every number of the image, and a sigmoid."""

    def __init__(self, channels: int, image: ImageShape) -> None:
        super().__init__()
        self.convolution = Convolution(channels, image.channels, (1, 1), bias=False)
        self.bias = nn.Parameter(torch.zeros(*image))

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.convolution(images) + self.bias)

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """None besides those of the convolution: the bias is added."""
        return 0


class Maxout(nn.Module):
    """The larger of each two neighbouring channels (Goodfellow et al. 2013, arXiv 1302.4389): half as many are left."""

    def forward(self, images: Tensor) -> Tensor:
        return images.unflatten(1, (-1, 2)).amax(2)


class Joint(nn.Module):
    """Images ``[n, c, h, w]`` with vectors ``[n, vector]``, and labels if it takes any, to a dict of outputs.

    Args:
        of_images: images to ``[n, a, 1, 1]``; of_vectors: vectors, labels with them, ``[n, v, 1, 1]`` to ``[n, b, 1,
            1]``; of_pairs: both joined to ``[n, size, 1, 1]``.
        before: what stands in front of each head.
    """

    def __init__(
        self, image: ImageShape, vector: int, outputs: Mapping[str, int], entrance: Entrance, of_images: nn.Module,
        of_vectors: nn.Module, of_pairs: nn.Module, size: int, before: float,
    ) -> None:
        super().__init__()
        self.image = image
        self.vector = vector
        self.classes = entrance.classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.of_images, self.of_vectors, self.of_pairs = of_images, of_vectors, of_pairs
        self.dropout = Dropout(before)
        self.heads = nn.ModuleDict({name: Convolution(size, count, (1, 1)) for name, count in outputs.items()})

    def features(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """What is found in images alone, and what in pairs, before the heads' dropout."""
        check_images(images, self.image)
        check_vectors(vectors, self.vector)
        seen, told = self.of_images(images), self.of_vectors(self.entrance(vectors, condition)[:, :, None, None])
        return [seen, self.of_pairs(torch.cat([seen, told.to(seen.dtype)], dim=1))]

    def forward(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        pairs = self.dropout(self.features(images, vectors, condition)[-1])
        return {name: head(pairs).flatten(1) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0, design: str = "cifar10",
    condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in 0 to 1. Roles: ``up.0``, ``up.1`` ... ``up.4``.

    Args:
        design: "cifar10", "svhn" or "celeba".
        condition: how labels enter, "join" or "multiply".
    """
    numbers = _design(design)
    kernels = _kernels(image, numbers, f"The decoder of 'ali' (design={design})")
    entrance = Entrance(condition, classes, (latents,))
    now = entrance.channels
    body: list[nn.Module] = [nn.Unflatten(1, (now, 1, 1))]
    for number, ((kernel, stride), maps) in enumerate(zip(reversed(kernels), numbers.decoder, strict=True)):
        after = scaled(maps, width)
        layer = layers.up(f"up.{number}", now, after, kernel, stride=stride, bias=False, padding=(0, 0))
        body += [layer, nn.BatchNorm2d(after), _leaky(numbers)]
        now = after
    for maps in numbers.thin:
        after = scaled(maps, width)
        body += [Convolution(now, after, (1, 1), bias=False), nn.BatchNorm2d(after), _leaky(numbers)]
        now = after
    network = Decoder(image, latents, entrance, nn.Sequential(*body, Output(now, image)), UNIT)
    _begin(network)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    design: str = "cifar10", condition: str = "join",
) -> Encoder:
    """Images to outputs, each a 1 x 1 convolution with a bias. Roles: ``stem``, ``down.0`` ... ``down.3``.

    Args:
        design: "cifar10", "svhn" or "celeba".
        condition: how labels enter, "join" or "multiply".
    """
    numbers = _design(design)
    kernels = _kernels(image, numbers, f"The encoder of 'ali' (design={design})")
    entrance = Entrance(condition, classes, tuple(image))
    now, stages = entrance.channels, []
    for number, ((kernel, stride), maps) in enumerate(zip(kernels, numbers.encoder, strict=True)):
        after = scaled(maps, width)
        layer = _shrink(layers, number, now, after, kernel, stride, bias=False)
        stages.append(nn.Sequential(layer, nn.BatchNorm2d(after), _leaky(numbers)))
        now = after
    for maps in numbers.hidden:
        after = scaled(maps, width)
        thin = Convolution(now, after, (1, 1), bias=False)
        stages.append(nn.Sequential(thin, nn.BatchNorm2d(after), _leaky(numbers)))
        now = after
    network = Encoder(
        image, outputs, entrance, classes, stages, nn.Identity(), lambda name, size: Convolution(now, size, (1, 1))
    )
    _begin(network)
    return network


def joint(
    image: ImageShape, vector: int, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *,
    width: float = 1.0, design: str = "cifar10", condition: str = "join",
) -> Joint:
    """Images with vectors to outputs. Roles as of `encoder`, of the layers of the image.

    Args:
        design: "cifar10", "svhn" or "celeba".
        condition: how labels enter, with the vector: "join" or "multiply".
    """
    check_outputs(outputs, "ali")
    numbers = _design(design)
    kernels = _kernels(image, numbers, f"The joint part of 'ali' (design={design})")
    entrance = Entrance(condition, classes, (vector,))

    # Maxout of 2 halves the channels of a layer; a dropout of 0 leaves the input as it is.
    def stage(layer: nn.Module, filters: int, dropped: float, norm: bool) -> nn.Module:
        if numbers.maxout:
            return nn.Sequential(Dropout(dropped), layer, Maxout())
        return nn.Sequential(layer, *([nn.BatchNorm2d(filters)] if norm else []), _leaky(numbers))

    def filters_of(maps: int) -> int:
        return 2 * scaled(maps // 2, width) if numbers.maxout else scaled(maps, width)

    def left(filters: int) -> int:
        return filters // 2 if numbers.maxout else filters

    def thin(before: int, maps: int, dropped: tuple[float, float], bias: bool) -> tuple[nn.Module, int]:
        filters, stages = filters_of(maps), []
        for share in dropped:
            layer = Convolution(before, filters, (1, 1), bias=bias)
            stages.append(stage(layer, filters, share, norm=False))
            before = left(filters)
        return nn.Sequential(*stages), before

    now, of_images = image.channels, []
    for number, ((kernel, stride), maps) in enumerate(zip(kernels, numbers.of_images, strict=True)):
        filters, first = filters_of(maps), number == 0
        layer = _shrink(layers, number, now, filters, kernel, stride, bias=numbers.maxout or first)
        of_images.append(stage(layer, filters, 0.2 if first else 0.5, norm=not first))
        now = left(filters)
    of_vectors, told = thin(entrance.channels, numbers.of_vectors, (0.2, 0.5), bias=False)
    of_pairs, size = thin(now + told, numbers.of_pairs, (0.5, 0.5), bias=True)
    network = Joint(
        image, vector, outputs, entrance, nn.Sequential(*of_images), of_vectors, of_pairs, size,
        0.5 if numbers.maxout else 0.0,
    )
    _begin(network)
    return network


def _design(name: str) -> Design:
    return DESIGNS[one_of("design", name, DESIGNS)]


def _kernels(image: ImageShape, numbers: Design, owner: str) -> list[tuple[int, int]]:
    """Kernel and stride of all convolutions from the image to one pixel; the deepest takes all that is left.

    Raises UserError for an image of which nothing is left, or that the decoder would not meet again on its way back.
    """
    side = image.height
    for kernel, stride in numbers.convolutions:
        if side < kernel or (side - kernel) % stride or image.width != image.height:
            natural = 64 if numbers.convolutions is LARGE else 32
            raise UserError(
                f"{owner} cannot be built for {image.height} x {image.width}: its unpadded layers do not fit. Resize "
                f"the data to {natural} x {natural}, or take bigan_convolutional."
            )
        side = (side - kernel) // stride + 1
    return [*numbers.convolutions, (side, 1)]


def _shrink(
    layers: Layers, number: int, before: int, after: int, kernel: int, stride: int, *, bias: bool
) -> nn.Module:
    role = f"down.{number - 1}" if number else "stem"
    return layers.down(role, before, after, kernel, stride=stride, bias=bias, padding=(0, 0))


def _leaky(numbers: Design) -> nn.Module:
    return nn.LeakyReLU(numbers.slope, inplace=True)


def _begin(network: nn.Module) -> None:
    """Give a network the first weights and the moving averages of the paper."""
    set_batch_norms(network, eps=1e-5, momentum=MOMENTUM)
    initialise(network, FIRST_WEIGHTS)


variant = Architecture("ali", decoder=decoder, encoder=encoder, joint=joint)
