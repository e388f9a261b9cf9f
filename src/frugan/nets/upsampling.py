"""The coursework's MNIST DCGANs: shallow, medium and deep are this decoder with other widths.

Decoder: dense to a quarter of the image, twice nearest upsampling and a 3 x 3 layer, a 3 x 3 output layer, tanh; or, by
``upsampling="transposed"``, 4 x 4 transposed layers instead. (The two have different counts at equal names; do not mix
them in a table.) Encoder: four 3 x 3 layers with dropout, one dense layer. Kernel sizes follow the public Keras
collection that the coursework matches; so do batch norm's settings (epsilon 1e-3, momentum 0.2 for the new value).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._choices import divided, one_of, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._dropout import Dropout
from frugan.nets._encoder import Encoder, simple_encoder
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._norms import Referenced, VirtualBatchNorm, encoder_norm, set_batch_norms
from frugan.nets._spectral import spectral
from frugan.ranges import Count


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (128, 256, 128), upsampling: str = "nearest", normalisation: str = "batch_norm",
    reference: Count = 64, initialise: str = "keras", condition: str = "join",
) -> Decoder | Referenced:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``block.0``, ``block.1``, ``output``; transposed ``up.0``,
    ``up.1``, ``output``.

    Args:
        channels: after the dense layer and after each of the two inner layers: shallow (128, 128, 64),
            medium (128, 256, 128), deep (128, 512, 256).
        upsampling: "nearest" and a layer that keeps the size, or "transposed".
        normalisation: "batch_norm" or "virtual_batch_norm".
        reference: examples in virtual batch norm's reference batch, at least 16 for a small influence on themselves.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The decoder of 'upsampling'")
    start, first, second = widths("channels", channels, 3, width)
    virtual = one_of("normalisation", normalisation, ("batch_norm", "virtual_batch_norm")) == "virtual_batch_norm"
    entrance = Entrance(condition, classes, (latents,))
    units = start * height * width_

    def norm(features: int) -> nn.Module:
        return VirtualBatchNorm(features, reference) if virtual else nn.BatchNorm2d(features)

    if one_of("upsampling", upsampling, ("nearest", "transposed")) == "nearest":
        body = [
            nn.Linear(entrance.channels, units), nn.ReLU(), nn.Unflatten(1, (start, height, width_)),
            nn.Upsample(scale_factor=2), layers.same("block.0", start, first, 3), norm(first), nn.ReLU(),
            nn.Upsample(scale_factor=2), layers.same("block.1", first, second, 3), norm(second), nn.ReLU(),
        ]
    else:
        body = [
            nn.Linear(entrance.channels, units, bias=False),
            VirtualBatchNorm(units, reference) if virtual else nn.BatchNorm1d(units), nn.ReLU(),
            nn.Unflatten(1, (start, height, width_)),
            layers.up("up.0", start, first, 4, bias=False), norm(first), nn.ReLU(),
            layers.up("up.1", first, second, 4, bias=False), norm(second), nn.ReLU(),
        ]
    body += [layers.same("output", second, image.channels, 3), nn.Tanh()]
    network = Decoder(image, latents, entrance, nn.Sequential(*body))
    set_batch_norms(network, eps=1e-3, momentum=0.2)
    initialise_by(network, initialise)
    if not virtual:
        return network
    referenced = Referenced(network, reference)
    referenced.settle()
    return referenced


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (32, 64, 128, 256), dropout: float = 0.25, last_norm: bool = True,
    normalisation: str = "batch_norm", initialise: str = "keras", condition: str = "join",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``, ``down.1``, ``block.0``.

    Args:
        channels: after each of the four layers.
        dropout: after each of them, the share that is dropped.
        last_norm: whether the last layer has a norm; the oldest public version has none.
        normalisation: "batch_norm" after every layer but the first, "layer_norm" there, "spectral" on every weight, or
            "none".
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" (one-hot planes) or "multiply".
    """
    height, width_ = divided(image, 4, "The encoder of 'upsampling'")
    first, second, third, fourth = widths("channels", channels, 4, width)
    entrance = Entrance(condition, classes, tuple(image))
    # A zero row and column at the end make an odd map even, so that it can be halved: 7 -> 8 for MNIST.
    odd = (0, width_ % 2, 0, height % 2)

    def stage(*convolution: nn.Module, features: int, norm: bool = True) -> nn.Module:
        norms = encoder_norm(normalisation, features) if norm else []
        return nn.Sequential(*convolution, *norms, nn.LeakyReLU(0.2), Dropout(dropout))

    stages = [
        stage(layers.down("stem", entrance.channels, first, 3), features=first, norm=False),
        stage(layers.down("down.0", first, second, 3), nn.ZeroPad2d(odd), features=second),
        stage(layers.down("down.1", second, third, 3), features=third),
        stage(layers.same("block.0", third, fourth, 3), features=fourth, norm=last_norm),
    ]
    size = fourth * ((height + 1) // 2) * ((width_ + 1) // 2)
    network = simple_encoder(image, outputs, entrance, stages, size)
    set_batch_norms(network, eps=1e-3, momentum=0.2)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("upsampling", decoder=decoder, encoder=encoder)
