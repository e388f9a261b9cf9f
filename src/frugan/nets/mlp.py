"""The vanilla GAN of the coursework: dense layers only, for images of any shape.

Known for its collapse. Batch norm comes after the activation in the decoder, the encoder has neither norm nor dropout,
and without convolutions there is nothing for a family to build. Batch norm as in the Keras collection that the
coursework matches (epsilon 1e-3, momentum 0.2 for the new value).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._choices import one_of, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, simple_encoder
from frugan.nets._initialise import initialise as initialise_by
from frugan.nets._norms import set_batch_norms
from frugan.nets._spectral import spectral
from frugan.ranges import Count


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (256, 512, 1024), initialise: str = "keras", condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1. No roles.

    Args:
        hidden: units of each hidden layer.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    entrance = Entrance(condition, classes, (latents,))
    body: list[nn.Module] = []
    now = entrance.channels
    for units in widths("hidden", hidden, len(hidden), width):
        body += [nn.Linear(now, units), nn.LeakyReLU(0.2), nn.BatchNorm1d(units)]
        now = units
    body += [nn.Linear(now, math.prod(image)), nn.Tanh(), nn.Unflatten(1, tuple(image))]
    network = Decoder(image, latents, entrance, nn.Sequential(*body))
    set_batch_norms(network, eps=1e-3, momentum=0.2)
    initialise_by(network, initialise)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (512, 256), normalisation: str = "none", initialise: str = "keras",
    condition: str = "join",
) -> Encoder:
    """Images to outputs. No roles.

    Args:
        hidden: units of each hidden layer.
        normalisation: "none" as in the original, or "spectral" on every weight.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" (one-hot, behind the flattened image) or "multiply".
    """
    one_of("normalisation", normalisation, ("none", "spectral"))
    entrance = Entrance(condition, classes, (math.prod(image),))
    stages: list[nn.Module] = []
    now = entrance.channels
    for units in widths("hidden", hidden, len(hidden), width):
        stages.append(nn.Sequential(nn.Linear(now, units), nn.LeakyReLU(0.2)))
        now = units
    network = simple_encoder(image, outputs, entrance, stages, now)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("mlp", decoder=decoder, encoder=encoder)
