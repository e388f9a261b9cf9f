"""A network of your own: a small generator like StyleGAN2 (Karras et al. 2020, arXiv 1912.04958).

Latents become styles that scale the input channels of every convolution; each stage adds to the image. Two
things differ: noise is a fixed picture for each stage, so that image i depends on (seed, i) only, and there is no style
mixing.

    frugan cost style-digits --code examples/extending/stylegan_lite.py --layers
    frugan train style-digits --code examples/extending/stylegan_lite.py --data glyphs --images 60k
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import Architecture, scaled
from frugan.recipe import Network
from frugan.recipes import find, recipe


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose output has variance 1 again."""

    def __init__(self, styles: int, in_channels: int, out_channels: int, kernel: int, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style, self.demodulate = nn.Linear(styles, in_channels), demodulate
        nn.init.ones_(self.style.bias)
        self.gain = 1 / math.sqrt(in_channels * kernel**2)

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        scaled_by = self.style(styles)
        weight = self.gain * self.weight * scaled_by[:, None, :, None, None]  # [n, out, in, k, k]
        if self.demodulate:
            weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        count, channels, height, width = images.shape
        made = functional.conv2d(
            images.reshape(1, count * channels, height, width), weight.flatten(0, 1).to(images), None,
            padding=self.weight.shape[-1] // 2, groups=count,
        )
        return made.view(count, -1, height, width) + self.bias.view(1, -1, 1, 1)

    def macs(self, input_shape: Sequence[int]) -> int:
        """What the functional convolution multiplies for such images, which no layer shows."""
        return self.weight.numel() * input_shape[-2] * input_shape[-1] * input_shape[0]


class Stage(nn.Module):
    """Two modulated convolutions at one size; what they make is added to the image."""

    def __init__(self, styles: int, in_channels: int, channels: int, image: ImageShape, side: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second = Modulated(styles, in_channels, channels, 3), Modulated(styles, channels, channels, 3)
        self.to_image = Modulated(styles, channels, image.channels, 1, demodulate=False)
        self.register_buffer("noise", torch.randn(1, 1, *side))
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, picture: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        features = functional.leaky_relu(self.first(features, styles) + self.strength * self.noise, 0.2)
        features = functional.leaky_relu(self.second(features, styles), 0.2)
        return features, picture + self.to_image(features, styles)


class Decoder(nn.Module):
    image_range = (-1.0, 1.0)

    def __init__(self, image: ImageShape, latents: int, classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.classes, styles, steps = classes, 4 * max(channels), len(channels) - 1
        height, width = image.height // 2**steps, image.width // 2**steps
        self.mapping = nn.Sequential(
            nn.Linear(latents + classes, styles), nn.LeakyReLU(0.2), nn.Linear(styles, styles), nn.LeakyReLU(0.2)
        )
        self.start = nn.Parameter(torch.randn(1, channels[0], height, width))
        sides = [(height * 2**number, width * 2**number) for number in range(len(channels))]
        before = [channels[0], *channels]
        self.stages = nn.ModuleList(
            Stage(styles, before[number], channels[number], image, side) for number, side in enumerate(sides)
        )
        self.image = image

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        latents = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        if self.classes and condition is not None:
            told = condition if condition.dim() == 2 else functional.one_hot(condition, self.classes)
            latents = torch.cat([latents, told.to(latents)], 1)
        styles = self.mapping(latents)
        features = self.start.expand(len(latents), -1, -1, -1)
        picture = features.new_zeros(len(latents), self.image.channels, *features.shape[2:])
        for number, stage in enumerate(self.stages):
            if number:
                features = functional.interpolate(features, scale_factor=2, mode="bilinear")
                picture = functional.interpolate(picture, scale_factor=2, mode="bilinear")
            features, picture = stage(features, picture, styles)
        return torch.tanh(picture)


def decoder(
    image: ImageShape, latents: int, layers: Layers, classes: int = 0, *, width: float = 1.0,
    channels: Sequence[int] = (64, 64, 32),
) -> Decoder:
    """Latents to images. It has no roles, since styles need the weights themselves.

    `channels`: of each stage, smallest image first. Both sides must be divisible by 2^(stages - 1).
    """
    return Decoder(image, latents, classes, [scaled(each, width) for each in channels])


nets.add("stylegan_lite", Architecture("stylegan_lite", decoder=decoder))


@recipe
def style_digits() -> Any:
    """Digits by a small StyleGAN2 against the discriminator of the recipe mnist."""
    plain = find("mnist")
    return replace(plain, name="style-digits", networks={**plain.networks, "generator": Network("stylegan_lite")})
