"""The convolutional nets of Salimans et al. 2016 (arXiv 1606.03498) for semi-supervised CIFAR-10 and SVHN.

Their released code: an encoder of nine convolutions with weight norm, leaky ReLU and dropout, whose last maps are
averaged over the image, and DCGAN's decoder with 5 x 5 kernels. At 32 x 32 colour pixels with ten classes the encoder
has 1,406,804 parameters (``channels=64``, as for SVHN: 626,580) and the decoder, of 100 latents, 4,933,382. Images are
in -1 to 1.

The encoder and the pair discriminator of Kumar et al. 2017 (arXiv 1705.08850), which have no released code, are ours:
the same convolutions, with batch norm (``normalisation=batch_norm dropout=0``) as an encoder of latents; and as a
joint part with two layers of 512 on the vector and two of 1024 on both, as ALI has them.

Other than theirs: scales of weight norm are those of the first weights, which He's rule draws, not those that norm a
first batch of real images; a network is given none when it is built. As theirs they are not trained, except the heads'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from frugan.batch import ImageShape
from frugan.convs import Convolution, Layers
from frugan.nets import Architecture, scaled
from frugan.nets._bigan import Bounded, check_outputs, check_vectors
from frugan.nets._choices import divided, one_of, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._dropout import Dropout
from frugan.nets._encoder import Encoder, check_images
from frugan.nets._initialise import FirstWeights, initialise
from frugan.nets._means import MapMeans
from frugan.nets.salimans import HE, Shift
from frugan.ranges import Count
from frugan.registry import UserError

NORMALISATIONS = ("weight_norm", "batch_norm")
SLOPE = 0.2
DCGAN_005 = FirstWeights(lambda part: nn.init.normal_(part.weight, std=0.05), lambda standard: 0.05**2)  # type: ignore[arg-type]
"""N(0, 0.05^2), as the released code draws the decoder's weights."""


class Direction(nn.Module):
    """Weight norm whose scales are not trained: each output's weights have the length that they began with."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", _lengths(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (self.scale / _lengths(weight))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The direction that gives these weights: they themselves."""
        return weight


def _lengths(weight: Tensor) -> Tensor:
    """Of the weights of each output, ``[outputs, 1, ...]``."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))


class Joint(nn.Module):
    """Images ``[n, c, h, w]`` with vectors ``[n, vector]``, and labels if it takes any, to a dict of outputs."""

    def __init__(
        self, image: ImageShape, vector: int, outputs: Mapping[str, int], entrance: Entrance,
        of_images: nn.Module, of_vectors: nn.Module, of_pairs: nn.Module, size: int,
    ) -> None:
        super().__init__()
        self.image, self.vector, self.classes = image, vector, entrance.classes
        self.outputs = dict(outputs)
        self.entrance = entrance
        self.of_images, self.of_vectors, self.of_pairs = of_images, of_vectors, of_pairs
        self.heads = nn.ModuleDict({name: nn.Linear(size, count) for name, count in outputs.items()})

    def features(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """What is found in images alone, and what in pairs."""
        check_images(images, self.image)
        check_vectors(vectors, self.vector)
        seen, told = self.of_images(images), self.of_vectors(self.entrance(vectors, condition))
        return [seen, self.of_pairs(torch.cat([seen, told.to(seen.dtype)], 1))]

    def forward(self, images: Tensor, vectors: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.features(images, vectors, condition)[-1]
        return {name: head(hidden) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (512, 256, 128), condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1, of sides that are multiples of 8. Roles: ``up.0``, ``up.1``,
    ``output``.

    Args:
        channels: after the dense layer and after the two that double.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 8, "The decoder of 'salimans_convolutional'")
    first, second, third = widths("channels", channels, 3, width)
    entrance, units = Entrance(condition, classes, (latents,)), first * height * width_
    output = layers.up("output", third, image.channels, 5, padding=(2, 1))
    body = nn.Sequential(
        nn.Linear(entrance.channels, units, bias=False), nn.BatchNorm1d(units, affine=False), Shift(units), nn.ReLU(),
        nn.Unflatten(1, (first, height, width_)),
        layers.up("up.0", first, second, 5, bias=False, padding=(2, 1)), *_shifted(second), nn.ReLU(),
        layers.up("up.1", second, third, 5, bias=False, padding=(2, 1)), *_shifted(third), nn.ReLU(),
        output, nn.Tanh(),
    )
    network = Decoder(image, latents, entrance, body)
    initialise(network, DCGAN_005)
    for part in list(output.modules()):
        if isinstance(part, nn.ConvTranspose2d):
            # Where channels go in groups, axis 1 counts within a group: each input's weights have a length then.
            weight_norm(part, dim=1 if part.groups == 1 else 0)
        elif isinstance(part, nn.Conv2d):
            weight_norm(part)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 96, normalisation: str = "weight_norm", dropout: Sequence[float] = (0.2, 0.5),
    bounded: Sequence[str] = ("latents",), condition: str = "join",
) -> Encoder:
    """Images of 9 pixels or more to outputs. Roles: ``stem``, ``block.0.0``, ``down.0``, ``block.1.0``, ``block.1.1``,
    ``down.1``.

    Args:
        channels: of the first three convolutions; the others have twice as many.
        normalisation: "weight_norm" with scales that are not trained, or "batch_norm".
        dropout: the shares of the image, and of what is left after each halving, that are dropped in training.
        bounded: the outputs that lie in -1 to 1, as uniform latents do; take [] where latents are normal.
        condition: how labels enter, "join" or "multiply".
    """
    entrance = Entrance(condition, classes, tuple(image))
    stages, size = _stages(image, entrance.channels, layers, width, channels, normalisation, dropout)

    def head(name: str, count: int) -> nn.Module:
        return Bounded(size, count) if name in bounded else nn.Linear(size, count)

    network = Encoder(image, outputs, entrance, classes, stages, nn.Identity(), head)
    initialise(network, HE)
    _normed(network, network.heads, normalisation)
    return network


def joint(
    image: ImageShape, vector: int, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *,
    width: float = 1.0, channels: Count = 96, normalisation: str = "weight_norm",
    dropout: Sequence[float] = (0.2, 0.5), of_vectors: Count = 512, of_pairs: Count = 1024, condition: str = "join",
) -> Joint:
    """Images with vectors to outputs. Roles and options as of `encoder`; labels enter with the vector.

    Args:
        of_vectors, of_pairs: units of the two layers on the vector alone, and of the two on both.
    """
    check_outputs(outputs, "salimans_convolutional")
    entrance = Entrance(condition, classes, (vector,))
    stages, size = _stages(image, image.channels, layers, width, channels, normalisation, dropout)
    alone, both = scaled(of_vectors, width), scaled(of_pairs, width)
    network = Joint(
        image, vector, outputs, entrance, nn.Sequential(*stages), _dense(entrance.channels, alone),
        _dense(size + alone, both), both,
    )
    initialise(network, HE)
    _normed(network, network.heads, normalisation)
    return network


def _stages(
    image: ImageShape, in_channels: int, layers: Layers, width: float, channels: int, normalisation: str,
    dropout: Sequence[float],
) -> tuple[list[nn.Module], int]:
    """The three stages to one number a map, and how many these are."""
    one_of("normalisation", normalisation, NORMALISATIONS)
    if len(dropout) != 2:
        raise UserError(f"dropout={list(dropout)}: give two shares, of the image and after each halving.")
    if min(image.height, image.width) < 9:
        raise UserError(
            "The encoder of 'salimans_convolutional' halves images twice and crops them, which needs 9 pixels or more "
            f"on a side, but these are {image.height} x {image.width}. Resize the data, e.g. to 32 x 32."
        )
    narrow, wide = scaled(channels, width), scaled(2 * channels, width)
    normed = normalisation == "batch_norm"

    def after(layer: nn.Module, count: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(count)] if normed else []
        return [layer, *norm, nn.LeakyReLU(SLOPE)]

    def same(role: str, before: int, now: int) -> list[nn.Module]:
        return after(layers.same(role, before, now, 3, bias=not normed), now)

    def halve(role: str, count: int) -> list[nn.Module]:
        halving = layers.down(role, count, count, 3, bias=not normed, padding=(1, 1))
        return [*after(halving, count), Dropout(dropout[1])]

    def plain(kernel: int) -> list[nn.Module]:
        return after(Convolution(wide, wide, (kernel, kernel), bias=not normed), wide)

    first = nn.Sequential(
        Dropout(dropout[0]), *same("stem", in_channels, narrow), *same("block.0.0", narrow, narrow),
        *halve("down.0", narrow),
    )
    second = nn.Sequential(*same("block.1.0", narrow, wide), *same("block.1.1", wide, wide), *halve("down.1", wide))
    third = nn.Sequential(*plain(3), *plain(1), *plain(1), MapMeans(), nn.Flatten())
    return [first, second, third], wide


def _dense(size: int, units: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, units), nn.LeakyReLU(SLOPE), nn.Linear(units, units), nn.LeakyReLU(SLOPE))


def _shifted(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels, affine=False), Shift(channels)


def _normed(network: nn.Module, heads: nn.Module, normalisation: str) -> None:
    """Norm all weights but those that a batch norm follows; the heads' scales are trained."""
    trained = set(heads.modules())
    if normalisation == "batch_norm":
        return
    for part in list(network.modules()):
        if isinstance(part, nn.Linear) and part in trained:
            weight_norm(part)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(part, "weight", Direction(part.weight.detach()))


variant = Architecture("salimans_convolutional", decoder=decoder, encoder=encoder, joint=joint)
