"""The small MNIST and EMNIST nets of the factorised project, which are those of TensorFlow's DCGAN tutorial.

Decoder: dense, batch norm over all units, then transposed 5 x 5 layers: one that keeps the size and two that double it;
tanh. Encoder: two 5 x 5 layers that halve, dropout, one dense layer. Both behave as in Keras: LeakyReLU slope 0.3,
batch norm epsilon 1e-3 and momentum 0.01, 'same' padding that is smaller before than after, Glorot weights. The decoder
starts at a quarter of the image, 7 x 7 for MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._choices import divided, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._dropout import Dropout
from frugan.nets._encoder import Encoder, simple_encoder
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._norms import encoder_norm, set_batch_norms
from frugan.nets._spectral import spectral
from frugan.ranges import Count


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (256, 128, 64), slope: float = 0.3, initialise: str = "keras", condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. Roles: ``block.0``, ``up.0``, ``output``.

    Args:
        channels: after the dense layer, after ``block.0`` and after ``up.0``.
        slope: of the leaky ReLUs.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The decoder of 'tutorial'")
    first, second, third = widths("channels", channels, 3, width)
    entrance = Entrance(condition, classes, (latents,))
    units = first * height * width_
    body = nn.Sequential(
        nn.Linear(entrance.channels, units, bias=False), nn.BatchNorm1d(units), nn.LeakyReLU(slope),
        nn.Unflatten(1, (first, height, width_)),
        # Transposed even where it keeps the size, so it is an `up` of stride 1.
        layers.up("block.0", first, second, 5, stride=1, bias=False), nn.BatchNorm2d(second), nn.LeakyReLU(slope),
        layers.up("up.0", second, third, 5, bias=False), nn.BatchNorm2d(third), nn.LeakyReLU(slope),
        layers.up("output", third, image.channels, 5, bias=False), nn.Tanh(),
    )
    network = Decoder(image, latents, entrance, body)
    set_batch_norms(network, eps=1e-3, momentum=0.01)
    initialise_by(network, initialise)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (64, 128), slope: float = 0.3, dropout: float = 0.3, normalisation: str = "none",
    initialise: str = "keras", condition: str = "join",
) -> Encoder:
    """Images to outputs. Roles: ``stem``, ``down.0``.

    Args:
        channels: after ``stem`` and after ``down.0``.
        slope: of the leaky ReLUs.
        dropout: after each of them, the share that is dropped.
        normalisation: "none" as in the original, "spectral" on every weight, or "batch_norm" or "layer_norm" after
            ``down.0``.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The encoder of 'tutorial'")
    first, second = widths("channels", channels, 2, width)
    entrance = Entrance(condition, classes, tuple(image))
    stages = [
        nn.Sequential(layers.down("stem", entrance.channels, first, 5), nn.LeakyReLU(slope), Dropout(dropout)),
        nn.Sequential(
            layers.down("down.0", first, second, 5), *encoder_norm(normalisation, second), nn.LeakyReLU(slope),
            Dropout(dropout),
        ),
    ]
    network = simple_encoder(image, outputs, entrance, stages, second * height * width_)
    set_batch_norms(network, eps=1e-3, momentum=0.01)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("tutorial", decoder=decoder, encoder=encoder)
