"""The small convolutional nets of a well-known semi-supervised GAN for digits (the "GAN workshop", January 2020).

The text says: a dense layer, two transposed convolutions with batch norm and a plain one without, tanh; and three
convolutions with batch norm and a dense layer; weights from N(0, 0.02). Widths and kernels are ours, since it gives
none. At 28 x 28 grey pixels with 100 latents and ten classes they have 797,985 and 128,394 parameters (797,793 and
127,946 trainable). The text has a norm after the first layer of the encoder too, against DCGAN's rule.
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
from frugan.nets._norms import encoder_norm
from frugan.nets._spectral import spectral
from frugan.ranges import Count


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (128, 64, 32), initialise: str = "dcgan", condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1, of sides that are multiples of 4. Roles: ``up.0``, ``up.1``,
    ``output``.

    Args:
        channels: after the dense layer and after the two that double.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The decoder of 'sgan'")
    first, second, third = widths("channels", channels, 3, width)
    entrance = Entrance(condition, classes, (latents,))
    body = nn.Sequential(
        nn.Linear(entrance.channels, first * height * width_), nn.Unflatten(1, (first, height, width_)),
        layers.up("up.0", first, second, 4, bias=False), nn.BatchNorm2d(second), nn.ReLU(inplace=True),
        layers.up("up.1", second, third, 4, bias=False), nn.BatchNorm2d(third), nn.ReLU(inplace=True),
        layers.same("output", third, image.channels, 3), nn.Tanh(),
    )
    network = Decoder(image, latents, entrance, body)
    initialise_by(network, initialise)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (32, 64, 128), normalisation: str = "batch_norm", dropout: float = 0.0,
    initialise: str = "dcgan", condition: str = "join",
) -> Encoder:
    """Images of sides that are multiples of 4 to outputs. Roles: ``stem``, ``down.0``, ``down.1``.

    Args:
        channels: of the three layers, each of which halves.
        normalisation: "batch_norm" or "layer_norm" after every layer, "spectral" on every weight, or "none".
        dropout: after every layer, the share that is dropped; the original has none.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The encoder of 'sgan'")
    entrance = Entrance(condition, classes, tuple(image))
    stages: list[nn.Module] = []
    before = entrance.channels
    for role, kernel, now in zip(
        ("stem", "down.0", "down.1"), (4, 4, 3), widths("channels", channels, 3, width), strict=True
    ):
        # One zero on either side: 7 pixels become 4.
        halving = layers.down(role, before, now, kernel, bias=False, padding=(1, 1))
        after = [] if dropout == 0 else [Dropout(dropout)]
        stages.append(nn.Sequential(halving, *encoder_norm(normalisation, now), nn.LeakyReLU(0.2), *after))
        before = now
    size = before * -(-height // 2) * -(-width_ // 2)
    network = simple_encoder(image, outputs, entrance, stages, size)
    initialise_by(network, initialise)
    if normalisation == "spectral":
        spectral(network)
    return network


variant = Architecture("sgan", decoder=decoder, encoder=encoder)
