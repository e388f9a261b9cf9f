"""The conditional MNIST nets of DCGAN's released code: labels joined at every layer, images in 0 to 1.

The one-hot label is appended to vectors, and as constant planes to maps, before each layer; batch norms have neither
scale nor shift, and there is a hidden dense layer on either side. Without classes the same nets take no labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.batch import UNIT, ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.nets._choices import divided, widths
from frugan.nets._condition import encode, join
from frugan.nets._decoder import check_latents
from frugan.nets._encoder import check_images
from frugan.nets._initialise import initialise
from frugan.nets._norms import set_batch_norms
from frugan.ranges import Count


class JoinedDecoder(nn.Module):
    """Latents ``[n, latents]`` and labels to images ``[n, c, h, w]`` in 0 to 1; labels meet every stage's input."""

    def __init__(self, image: ImageShape, latents: int, classes: int, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.image = image
        self.latents = latents
        self.classes = classes
        self.image_range = UNIT
        self.stages = nn.ModuleList(stages)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        check_latents(latents, self.latents)
        labels = encode(condition, self.classes, latents)
        x = latents
        for stage in self.stages:
            x = stage(join(x, labels))
        return x


class JoinedEncoder(nn.Module):
    """Images ``[n, c, h, w]`` and labels to a dict of outputs ``[n, size]``; labels meet the input of every stage."""

    def __init__(
        self, image: ImageShape, outputs: Mapping[str, int], classes: int, stages: Sequence[nn.Module],
        hidden: nn.Module, size: int,
    ) -> None:
        super().__init__()
        self.image = image
        self.classes = classes
        self.stages = nn.ModuleList(stages)
        self.hidden = hidden
        self.heads = nn.ModuleDict({name: nn.Linear(size, count, bias=False) for name, count in outputs.items()})

    def features(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The activations after each convolution's non-linearity, first to last."""
        check_images(images, self.image)
        return self._features(images, encode(condition, self.classes, images))

    def _features(self, images: Tensor, labels: Tensor | None) -> list[Tensor]:
        x, features = images, []
        for stage in self.stages:
            x = stage(join(x, labels))
            features.append(x)
        return features

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        check_images(images, self.image)
        labels = encode(condition, self.classes, images)
        hidden = self.hidden(join(torch.flatten(self._features(images, labels)[-1], 1), labels))
        return {name: head(join(hidden, labels)) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (128, 64), hidden: Count = 1024, eps: float = 1e-5,
) -> JoinedDecoder:
    """Latents ``[n, latents]`` and labels to images in 0 to 1. Roles: ``up.0``, ``output``.

    Args:
        channels: after the second dense layer and after ``up.0``.
        hidden: units of the first dense layer.
        eps: of the batch norms.
    """
    height, width_ = divided(image, 4, "The decoder of 'dcgan_conditional'")
    first, second = widths("channels", channels, 2, width)
    units, size = scaled(hidden, width), first * height * width_
    # Crop as in the released code: 2 before and 1 after.
    stages = [
        nn.Sequential(nn.Linear(latents + classes, units, bias=False), nn.BatchNorm1d(units, affine=False), nn.ReLU()),
        nn.Sequential(
            nn.Linear(units + classes, size, bias=False), nn.BatchNorm1d(size, affine=False), nn.ReLU(),
            nn.Unflatten(1, (first, height, width_)),
        ),
        nn.Sequential(
            layers.up("up.0", first + classes, second, 5, bias=False, padding=(2, 1)),
            nn.BatchNorm2d(second, affine=False), nn.ReLU(),
        ),
        nn.Sequential(
            layers.up("output", second + classes, image.channels, 5, bias=False, padding=(2, 1)), nn.Sigmoid()
        ),
    ]
    network = JoinedDecoder(image, latents, classes, stages)
    set_batch_norms(network, eps=eps, momentum=0.1)
    initialise(network, "dcgan")
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[Count] = (64, 128), hidden: Count = 1024, eps: float = 1e-5,
) -> JoinedEncoder:
    """Images and labels to outputs. Roles: ``stem``, ``down.0``.

    Args:
        channels: after ``stem`` and after ``down.0``.
        hidden: units of the dense layer before the heads.
        eps: of the batch norms.
    """
    height, width_ = divided(image, 4, "The encoder of 'dcgan_conditional'")
    first, second = widths("channels", channels, 2, width)
    units = scaled(hidden, width)
    stages = [
        nn.Sequential(
            layers.down("stem", image.channels + classes, first, 5, bias=False, padding=(2, 2)), nn.LeakyReLU(0.2)
        ),
        nn.Sequential(
            layers.down("down.0", first + classes, second, 5, bias=False, padding=(2, 2)),
            nn.BatchNorm2d(second, affine=False), nn.LeakyReLU(0.2),
        ),
    ]
    dense = nn.Sequential(
        nn.Linear(second * height * width_ + classes, units, bias=False), nn.BatchNorm1d(units, affine=False),
        nn.LeakyReLU(0.2),
    )
    network = JoinedEncoder(image, outputs, classes, stages, dense, units + classes)
    set_batch_norms(network, eps=eps, momentum=0.1)
    initialise(network, "dcgan")
    return network


variant = Architecture("dcgan_conditional", decoder=decoder, encoder=encoder)
