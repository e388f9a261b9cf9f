"""The dense nets of Salimans et al. 2016 (arXiv 1606.03498) for semi-supervised digits, as in their released code.

Decoder: two dense layers with batch norm (a shift, no scale) and softplus, then a dense layer with weight norm and a
sigmoid. Encoder: five dense layers with weight norm and ReLU; normal noise is added to the image and after every layer,
in training alone. There are no convolutions, so no family could build a layer. Images are in 0 to 1.

Other than theirs: weights are drawn by He's rule with noise, not scaled by a first batch of real images, which a
network is not given here when it is built; the scales of weight norm are all trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from frugan.batch import UNIT, ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._choices import widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, Flatten
from frugan.nets._initialise import FirstWeights, initialise
from frugan.ranges import Count
from frugan.registry import UserError

HE = FirstWeights(
    lambda part: nn.init.kaiming_normal_(part.weight, nonlinearity="relu"),  # type: ignore[arg-type]
    lambda standard: 2 / standard.fans[0],
)


class Noise(nn.Module):
    """Adds normal noise of a deviation in training; nothing in evaluation."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x

    def extra_repr(self) -> str:
        return f"{self.deviation}"


class Shift(nn.Module):
    """Adds a learnt number to every unit of ``[n, units]``, or to every map of ``[n, units, h, w]``."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(units))

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """It multiplies nothing."""
        return 0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift.view(-1, *[1] * (x.dim() - 2))


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (500, 500), condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in 0 to 1. No roles.

    Args:
        hidden: units of each hidden layer.
        condition: how labels enter, "join" or "multiply".
    """
    entrance = Entrance(condition, classes, (latents,))
    body: list[nn.Module] = []
    now = entrance.channels
    for units in widths("hidden", hidden, len(hidden), width):
        body += [nn.Linear(now, units, bias=False), nn.BatchNorm1d(units, affine=False), Shift(units), nn.Softplus()]
        now = units
    last = nn.Linear(now, math.prod(image))
    network = Decoder(
        image, latents, entrance, nn.Sequential(*body, last, nn.Sigmoid(), nn.Unflatten(1, tuple(image))), UNIT
    )
    initialise(network, HE)
    weight_norm(last)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    hidden: Sequence[Count] = (1000, 500, 250, 250, 250), noise: Sequence[float] = (0.3, 0.5), condition: str = "join",
) -> Encoder:
    """Images to outputs. No roles.

    Args:
        hidden: units of each hidden layer.
        noise: deviation of the noise on the image, and after every hidden layer.
        condition: how labels enter, "join" (one-hot, behind the flattened image) or "multiply".
    """
    if len(noise) != 2 or min(noise) < 0:
        raise UserError(f"noise={list(noise)}: give two numbers of 0 or more, for the image and for hidden layers.")
    entrance = Entrance(condition, classes, (math.prod(image),))
    stages: list[nn.Module] = []
    now = entrance.channels
    for units in widths("hidden", hidden, len(hidden), width):
        # Before the layer, so that a stage's features are those before their own noise, as in the released code.
        before = Noise(noise[0] if not stages else noise[1])
        stages.append(nn.Sequential(before, nn.Linear(now, units), nn.ReLU()))
        now = units
    network = Encoder(
        image, outputs, entrance, classes, stages, nn.Sequential(Flatten(), Noise(noise[1])),
        lambda name, size: nn.Linear(now, size),
    )
    initialise(network, HE)
    for part in list(network.modules()):
        if isinstance(part, nn.Linear):
            weight_norm(part)
    return network


variant = Architecture("salimans", decoder=decoder, encoder=encoder)
