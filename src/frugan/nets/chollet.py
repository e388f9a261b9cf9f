"""The 32-pixel colour nets with which the factorised project draws CIFAR-10's frogs, from Chollet's book.

Decoder: dense to half the image, 5 x 5 layers around one 4 x 4 layer that doubles it, a 7 x 7 output layer, tanh; no
norms. Encoder: four unpadded layers, 3 x 3 and then 4 x 4 of stride 2, dropout, one dense layer. (Deep Learning with
Python, 2017, section 8.5.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._choices import divided, one_of, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._dropout import Dropout
from frugan.nets._encoder import Encoder, simple_encoder
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._norms import encoder_norm, set_batch_norms
from frugan.nets._spectral import spectral
from frugan.ranges import Count
from frugan.registry import UserError


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (128, 256), slope: float = 0.3, normalisation: str = "none", initialise: str = "keras",
    condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``block.0``, ``up.0``, ``block.1``, ``block.2``,
    ``output``.

    Args:
        channels: after the dense layer, and of every layer after it.
        slope: of the leaky ReLUs.
        normalisation: "none" as in the original, or "batch_norm" after every convolution but the last.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 2, "The decoder of 'chollet'")
    first, inner = widths("channels", channels, 2, width)
    entrance = Entrance(condition, classes, (latents,))
    normed = one_of("normalisation", normalisation, ("none", "batch_norm")) == "batch_norm"

    def rectified() -> list[nn.Module]:
        return [*([nn.BatchNorm2d(inner)] if normed else []), nn.LeakyReLU(slope)]

    body = nn.Sequential(
        nn.Linear(entrance.channels, first * height * width_), nn.LeakyReLU(slope),
        nn.Unflatten(1, (first, height, width_)),
        layers.same("block.0", first, inner, 5), *rectified(),
        layers.up("up.0", inner, inner, 4), *rectified(),
        layers.same("block.1", inner, inner, 5), *rectified(),
        layers.same("block.2", inner, inner, 5), *rectified(),
        layers.same("output", inner, image.channels, 7), nn.Tanh(),
    )
    network = Decoder(image, latents, entrance, body)
    set_batch_norms(network, eps=1e-3, momentum=0.01)
    initialise_by(network, initialise)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 128, slope: float = 0.3, dropout: float = 0.5, normalisation: str = "none",
    initialise: str = "keras", condition: str = "join",
) -> Encoder:
    """Images of at least 24 x 24 to outputs. Unpadded layers are no part of the family axis: it has no roles.

    Args:
        channels: of every layer.
        slope: of the leaky ReLUs.
        dropout: before the dense layer, the share that is dropped.
        normalisation: "none" as in the original, "spectral" on every weight, or "batch_norm" or "layer_norm" after
            every layer but the first.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    inner = scaled(channels, width)
    entrance = Entrance(condition, classes, tuple(image))
    height, width_ = image.height, image.width
    stages: list[nn.Module] = []
    before = entrance.channels
    for kernel, stride in ((3, 1), (4, 2), (4, 2), (4, 2)):
        convolution = nn.Conv2d(before, inner, kernel, stride=stride)
        norm = encoder_norm(normalisation, inner) if stages else []
        stages.append(nn.Sequential(convolution, *norm, nn.LeakyReLU(slope)))
        before = inner
        height, width_ = (height - kernel) // stride + 1, (width_ - kernel) // stride + 1
    if min(height, width_) < 1:
        raise UserError(
            f"The encoder of 'chollet' needs images of 24 x 24 or more, but these are {image.height} x {image.width}. "
            "Resize the data to 32 x 32."
        )
    network = simple_encoder(
        image, outputs, entrance, stages, inner * height * width_, dropout=Dropout(dropout)
    )
    set_batch_norms(network, eps=1e-3, momentum=0.01)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("chollet", decoder=decoder, encoder=encoder)
