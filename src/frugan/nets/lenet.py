"""LeNet-5 (LeCun et al. 1998) as it is trained today: the small classifier of digits, here as an encoder.

Two 5 x 5 layers, each followed by ReLU and 2 x 2 max-pooling, and dense layers of 120 and 84 units. The original's
squashed tanh, trainable pooling and sparse connections are left out. Neither layer is swappable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture
from frugan.nets._choices import widths
from frugan.nets._condition import Entrance
from frugan.nets._encoder import Encoder
from frugan.nets._initialise import initialise as initialise_by
from frugan.ranges import Count
from frugan.registry import UserError


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (6, 16), hidden: Sequence[Count] = (120, 84), initialise: str = "keras",
    condition: str = "join",
) -> Encoder:
    """Images of at least 12 x 12 to outputs, say ``{"classes": 10}``. No roles.

    Args:
        channels: of the two convolutions.
        hidden: units of the two dense layers before the heads.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = ((side // 2 - 4) // 2 for side in (image.height, image.width))
    if min(height, width_) < 1:
        raise UserError(
            f"'lenet' needs images of 12 x 12 or more, but these are {image.height} x {image.width}. Resize the data "
            "to 28 x 28."
        )
    first, second = widths("channels", channels, 2, width)
    third, fourth = widths("hidden", hidden, 2, width)
    entrance = Entrance(condition, classes, tuple(image))
    stages = [
        nn.Sequential(nn.Conv2d(entrance.channels, first, 5, padding=2), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(first, second, 5), nn.ReLU()),
    ]
    neck = nn.Sequential(
        nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(second * height * width_, third), nn.ReLU(), nn.Linear(third, fourth), nn.ReLU(),
    )
    network = Encoder(image, outputs, entrance, classes, stages, neck, lambda name, size: nn.Linear(fourth, size))
    initialise_by(network, initialise)
    return network


variant = Architecture("lenet", encoder=encoder)
