"""InfoGAN's networks for digits: a generator of noise and codes, and a discriminator that finds the codes again.

Chen et al. 2016 (arXiv 1606.03657), appendix C.1. The decoder has two dense layers and two transposed convolutions, the
encoder two convolutions and a dense layer, with batch norm after each but the encoder's first and the last. Every
output but the score has a further dense layer of 128 before it (the paper has one for all codes). Images are in -1 to 1
(theirs in 0 to 1).

With ``categories=[10]`` the first ten latents are a category: the decoder sees a 1 for the largest of them, and 0 for
the others. So latents are drawn, moved and shown as any generator's are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._choices import divided, widths
from frugan.nets._condition import Entrance
from frugan.nets._decoder import Decoder
from frugan.nets._encoder import Encoder, Flatten
from frugan.nets._initialise import initialise as initialise_by
from frugan.ranges import Count
from frugan.registry import UserError

SLOPE = 0.1


class Chosen(Entrance):
    """An entrance to which the first latents are categories: the largest of each becomes 1 and the others 0."""

    def __init__(self, how: str, classes: int, latents: int, categories: Sequence[int]) -> None:
        super().__init__(how, classes, (latents,))
        self.categories = tuple(categories)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        *parts, rest = x.split([*self.categories, x.shape[1] - sum(self.categories)], 1)
        chosen = [(part == part.amax(1, keepdim=True)).to(x.dtype) for part in parts]
        return super().forward(torch.cat([*chosen, rest], 1), condition)

    def extra_repr(self) -> str:
        return f"categories={list(self.categories)}"


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (128, 64), hidden: Count = 1024, categories: Sequence[Count] = (),
    initialise: str = "dcgan", condition: str = "join",
) -> Decoder:
    """Latents ``[n, latents]`` to images in -1 to 1, of sides that are multiples of 4. Roles: ``up.0``, ``output``.

    Args:
        channels: after the dense layers and after the first that doubles.
        hidden: units of the first dense layer.
        categories: how many latents, from the first on, are each category: [10] or [10, 10]; as many as the game has.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The decoder of 'infogan'")
    first, second = widths("channels", channels, 2, width)
    if any(size < 2 for size in categories) or sum(categories) > latents:
        raise UserError(
            f"categories={list(categories)}: give sizes of 2 or more, which are {latents} latents or fewer together."
        )
    dense, units = scaled(hidden, width), first * height * width_
    entrance = Chosen(condition, classes, latents, categories)
    body = nn.Sequential(
        nn.Linear(entrance.channels, dense, bias=False), nn.BatchNorm1d(dense), nn.ReLU(),
        nn.Linear(dense, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(), nn.Unflatten(1, (first, height, width_)),
        layers.up("up.0", first, second, 4, bias=False), nn.BatchNorm2d(second), nn.ReLU(),
        layers.up("output", second, image.channels, 4), nn.Tanh(),
    )
    network = Decoder(image, latents, entrance, body)
    initialise_by(network, initialise)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (64, 128), hidden: Count = 1024, further: Count = 128, initialise: str = "dcgan",
    condition: str = "join",
) -> Encoder:
    """Images of sides that are multiples of 4 to outputs. Roles: ``stem``, ``down.0``.

    Args:
        channels: of the two layers, each of which halves.
        hidden: units of the dense layer that all outputs share.
        further: units of the layer of its own that each output has, but for ``score``.
        initialise: a rule for first weights, one of `frugan.nets.rules`.
        condition: how labels enter, "join" or "multiply".
    """
    height, width_ = divided(image, 4, "The encoder of 'infogan'")
    first, second = widths("channels", channels, 2, width)
    dense, own = scaled(hidden, width), scaled(further, width)
    entrance = Entrance(condition, classes, tuple(image))
    stages = [
        nn.Sequential(layers.down("stem", entrance.channels, first, 4), nn.LeakyReLU(SLOPE)),
        nn.Sequential(
            layers.down("down.0", first, second, 4, bias=False), nn.BatchNorm2d(second), nn.LeakyReLU(SLOPE)
        ),
        nn.Sequential(
            Flatten(), nn.Linear(second * height * width_, dense, bias=False), nn.BatchNorm1d(dense),
            nn.LeakyReLU(SLOPE),
        ),
    ]

    def head(name: str, size: int) -> nn.Module:
        if name == "score":
            return nn.Linear(dense, size)
        return nn.Sequential(
            nn.Linear(dense, own, bias=False), nn.BatchNorm1d(own), nn.LeakyReLU(SLOPE), nn.Linear(own, size)
        )

    network = Encoder(image, outputs, entrance, classes, stages, nn.Identity(), head)
    initialise_by(network, initialise)
    return network


variant = Architecture("infogan", decoder=decoder, encoder=encoder)
