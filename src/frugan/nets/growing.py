"""The growing networks of PGGAN (Karras et al. 2018, arXiv 1710.10196): from 4 x 4 pixels to 1024 x 1024, size by size.

Every size's layers are there from the start. How far a network has grown is its `level`: 0 is 4 x 4 pixels, 1 is 8 x 8,
and 0.25 is 8 x 8 faded in by a quarter over the enlarged 4 x 4. The game ``growing`` sets it; a new network has grown
to its last size, so that any other game trains it as it is.

In training both networks work at the size of their level, which makes early sizes cheap. In evaluation mode the
decoder's images are enlarged to the full size, by repeating pixels, so that metrics and previews always see one size.
The encoder also takes images that are larger than its level, and averages them down.

The defaults are the full model's: `channels` 8192, `most_channels` 512. The paper's ablation has ``channels=2048``, its
CIFAR-10 model ``channels=4096 most_channels=128``. Its table of configurations is made of the other options.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.batch import SIGNED, ImageShape
from frugan.convs import Layers, Transposed
from frugan.nets import Architecture, scaled
from frugan.nets._choices import one_of
from frugan.nets._condition import Entrance, encode, join
from frugan.nets._decoder import check_latents
from frugan.nets._equalised import start_by_gain
from frugan.nets._minibatch import MinibatchDeviation, MinibatchDiscrimination
from frugan.nets._norms import PixelNorm, encoder_norm
from frugan.ranges import Count
from frugan.registry import UserError

SMALLEST = 4
"""Pixels of a side at level 0."""
LARGEST = 1024

ACTIVATIONS = ("leaky_relu", "relu")
DECODER_NORMS = ("pixel", "batch_norm", "none")
MINIBATCH = ("deviation", "discrimination", "none")


def halved(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` at half the size: means of 2 x 2 pixels."""
    return functional.avg_pool2d(images, 2)


def doubled(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` at twice the size: every pixel repeated."""
    return functional.interpolate(images, scale_factor=2.0)


def faded(level: float, new: Tensor, old: Tensor) -> Tensor:
    """What is new at `level`, over what it replaces: the paper's alpha is the level's fraction."""
    return (level % 1) * new + (1 - level % 1) * old


class Decoder(nn.Module):
    """Latents ``[n, latents]``, and labels if it takes any, to images ``[n, c, side, side]``.

    They are in about -1 to 1: a linear output reaches beyond.

    Attributes:
        top: the last level.
        level: how far it has grown, from 0 to `top`; set by `grow`.
    """

    image_range = SIGNED
    level: Tensor

    def __init__(
        self, image: ImageShape, latents: int, entrance: Entrance, before: nn.Module, blocks: list[nn.Module],
        to_image: list[nn.Module],
    ) -> None:
        super().__init__()
        self.image, self.latents, self.classes = image, latents, entrance.classes
        self.before, self.entrance = before, entrance
        self.blocks, self.to_image = nn.ModuleList(blocks), nn.ModuleList(to_image)
        self.top = len(blocks) - 1
        self.grown = float(self.top)
        self.register_buffer("level", torch.tensor(self.grown))

    def grow(self, level: float) -> None:
        """Set the level to which the network is grown from now on; between whole levels the last one is fading in."""
        self.grown = level
        self.level.fill_(level)

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        check_latents(latents, self.latents)
        # Averaged copies know their level only by the buffer, which on a GPU would be waited for in training. A program
        # that is exported cannot read it either.
        level = self.grown if self.training or torch.compiler.is_exporting() else float(self.level)
        stage = math.ceil(level)
        x = previous = self.entrance(self.before(latents), condition)[:, :, None, None]
        for block in self.blocks[: stage + 1]:
            previous, x = x, block(x)
        images = self.to_image[stage](x)
        if level < stage:
            images = faded(level, images, doubled(self.to_image[stage - 1](previous)))
        return images if self.training else functional.interpolate(images, size=self.image[1:])


class Encoder(nn.Module):
    """Images ``[n, c, side, side]`` of the full size or of its level's, and labels if it takes any, to outputs.

    Attributes: as of `Decoder`.
    """

    level: Tensor

    def __init__(
        self, image: ImageShape, classes: int, outputs: Mapping[str, int], from_image: list[nn.Module],
        blocks: list[nn.Module], heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.image, self.classes, self.outputs = image, classes, dict(outputs)
        self.from_image, self.blocks = nn.ModuleList(from_image), nn.ModuleList(blocks)
        self.heads = nn.ModuleDict(heads)
        self.top = len(blocks) - 1
        self.grown = float(self.top)
        self.register_buffer("level", torch.tensor(self.grown))

    def grow(self, level: float) -> None:
        """Set the level to which the network is grown from now on; between whole levels the last one is fading in."""
        self.grown = level
        self.level.fill_(level)

    def features(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """The activations after the layer that takes images and after each size's layers, the largest size first."""
        level = self.grown if self.training or torch.compiler.is_exporting() else float(self.level)
        stage = math.ceil(level)
        side = SMALLEST * 2**stage
        accepted = [(self.image.channels, size, size) for size in (side, self.image.height)]
        if tuple(images.shape[1:]) not in accepted:
            shapes = " or ".join(str([len(images), *shape]) for shape in dict.fromkeys(accepted))
            raise UserError(f"The images have the shape {list(images.shape)}, but this network needs {shapes}.")
        while images.shape[-1] > side:
            images = halved(images)
        labels = encode(condition, self.classes, images)
        features = [self.from_image[stage](join(images, labels))]
        for number in range(stage, 0, -1):
            x = self.blocks[number](features[-1])
            if number == stage and level < stage:
                x = faded(level, x, self.from_image[number - 1](join(halved(images), labels)))
            features.append(x)
        return [*features, self.blocks[0](features[-1])]

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        last = self.features(images, condition)[-1]
        return {name: head(last) for name, head in self.heads.items()}


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 8192, most_channels: Count = 512, activation: str = "leaky_relu", normalisation: str = "pixel",
    normalise_latents: bool = True, output: str = "linear", equalised: bool = True,
) -> Decoder:
    """Latents ``[n, latents]`` to images. Roles: ``block.0.0`` at 4 x 4 pixels, then ``block.1.0``, ``block.1.1`` ...

    Args:
        channels: how many maps; a size of 2^r pixels has ``channels / 2^(r - 1)``, but `most_channels` at most.
        activation: "leaky_relu" (0.2), or "relu" as in the paper's rows (a) to (c).
        normalisation: "pixel" norm after each activation, "batch_norm" before it, or "none".
        normalise_latents: whether latents are pixel-normalised first (the labels that join them are not).
        output: "linear", or "tanh".
        equalised: whether weights have the equalised learning rate, else they start alike and are trained as they are.
    """
    maps = maps_of(image, channels, most_channels, width, "The decoder of 'growing'")
    one_of("activation", activation, ACTIVATIONS)
    one_of("normalisation", normalisation, DECODER_NORMS)
    one_of("output", output, ("linear", "tanh"))
    entrance = Entrance("join", classes, (latents,))

    def finished(layer: nn.Module, features: int) -> nn.Module:
        active = nn.LeakyReLU(0.2, inplace=True) if activation == "leaky_relu" else nn.ReLU(inplace=True)
        if normalisation == "batch_norm":
            return nn.Sequential(layer, nn.BatchNorm2d(features), active)
        return nn.Sequential(layer, active, *([PixelNorm()] if normalisation == "pixel" else []))

    def keep(role: str, before: int, after: int) -> nn.Module:
        return finished(layers.same(role, before, after, 3, inner_bias=False), after)

    first = Transposed(entrance.channels, maps[0], (SMALLEST, SMALLEST))  # one bias for each map, not for each pixel
    blocks: list[nn.Module] = [nn.Sequential(finished(first, maps[0]), keep("block.0.0", maps[0], maps[0]))]
    for stage, (before, after) in enumerate(itertools.pairwise(maps), 1):
        kept = keep(f"block.{stage}.0", before, after), keep(f"block.{stage}.1", after, after)
        blocks.append(nn.Sequential(nn.Upsample(scale_factor=2), *kept))
    images = [nn.Conv2d(now, image.channels, 1) for now in maps]
    to_image: list[nn.Module] = [nn.Sequential(layer, nn.Tanh()) if output == "tanh" else layer for layer in images]
    before = PixelNorm() if normalise_latents else nn.Identity()
    network = Decoder(image, latents, entrance, before, blocks, to_image)
    start_by_gain(network, dict.fromkeys(images, 1.0), equalised=equalised)
    return network


def encoder(
    image: ImageShape, outputs: Mapping[str, int], layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Count = 8192, most_channels: Count = 512, normalisation: str = "none", minibatch: str = "deviation",
    group: int | None = 4, equalised: bool = True,
) -> Encoder:
    """Images to outputs. Roles as of the decoder, ``block.1.0`` being the first layer at 8 x 8 pixels.

    Args:
        channels, most_channels, equalised: as of the decoder.
        normalisation: "none", or "layer_norm" after each layer as in the paper's rows (a) to (c).
        minibatch: by what the images of a batch are compared: their standard "deviation" (no parameters),
            "discrimination" (Salimans et al. 2016, 100 kernels of size 5), or "none".
        group: how many images each deviation is of, or null for the whole batch.
    """
    maps = maps_of(image, channels, most_channels, width, "The encoder of 'growing'")
    one_of("normalisation", normalisation, ("none", "layer_norm"))
    one_of("minibatch", minibatch, MINIBATCH)

    def finished(layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, *encoder_norm(normalisation, features), nn.LeakyReLU(0.2, inplace=True))

    def keep(role: str, before: int, after: int) -> nn.Module:
        return finished(layers.same(role, before, after, 3, inner_bias=False), after)

    size, deviating = maps[0], minibatch == "deviation"
    last = [
        *([MinibatchDeviation(group)] if deviating else []), keep("block.0.0", size + deviating, size),
        finished(nn.Conv2d(size, size, SMALLEST), size), nn.Flatten(),
    ]  # fmt: skip
    seen = size
    if minibatch == "discrimination":
        compared = MinibatchDiscrimination(size)
        last, seen = [*last, compared], size + compared.kernels
    blocks: list[nn.Module] = [nn.Sequential(*last)]
    for stage, (after, before) in enumerate(itertools.pairwise(maps), 1):
        kept = keep(f"block.{stage}.0", before, before), keep(f"block.{stage}.1", before, after)
        blocks.append(nn.Sequential(*kept, nn.AvgPool2d(2)))
    from_image: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(image.channels + classes, now, 1), nn.LeakyReLU(0.2, inplace=True)) for now in maps
    ]
    heads = {name: nn.Linear(seen, number) for name, number in outputs.items()}
    network = Encoder(image, classes, outputs, from_image, blocks, heads)
    start_by_gain(network, dict.fromkeys(heads.values(), 1.0), equalised=equalised)
    return network


def maps_of(image: ImageShape, channels: int, most: int, width: float, owner: str) -> list[int]:
    """How many maps each size has, 4 x 4 first. Raises UserError for an image that no growing network can make."""
    sizes = [SMALLEST]
    while sizes[-1] < LARGEST:
        sizes.append(2 * sizes[-1])
    if image.height != image.width or image.height not in sizes:
        nearest = next((size for size in sizes if size >= max(image.height, image.width)), LARGEST)
        raise UserError(
            f"{owner} makes square images of {', '.join(map(str, sizes[:-1]))} or {LARGEST} pixels a side, and these "
            f"are {image.height} x {image.width}. Give e.g. data.size={nearest}."
        )
    stages = sizes.index(image.height) + 1
    return [scaled(min(channels // 2 ** (stage + 1), most), width) for stage in range(stages)]


variant = Architecture("growing", decoder=decoder, encoder=encoder)
