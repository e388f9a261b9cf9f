"""Architectures: networks written in layers that any convolution family can build.

An architecture offers up to three parts, each a function that returns an `nn.Module`:

    decoder(image, latents, layers, classes, *, width=1.0, ...)     latents [n, latents]         -> images [n, c, h, w]
    encoder(image, outputs, layers, classes, *, width=1.0, ...)     images [n, c, h, w]          -> {output: [n, size]}
                                                                    or, for each place, ["score"]: [n, 1, h', w']
    translator(image, layers, classes, *, width=1.0, ...)           images [n, c, h, w]          -> images [n, c, h, w]

`image` is an `ImageShape`; `layers` builds every swappable layer, each under its role (``stem``, ``down.0``,
``block.2.1``, ``up.0``, ``output``); `classes` is how many values a condition can take, 0 for none; `outputs` names the
heads that the game asks for and their sizes, e.g. ``{"score": 1}``; an encoder that judges patches gives a map of
scores. Keyword-only arguments are the architecture's options; `width` multiplies every inner channel count (rounded, at
least 1).

Networks are called ``network(x, condition=None)``, the condition being labels ``[n]`` int64 (or bits ``[n, classes]``);
how it enters is an option of the architecture. A network that makes images says their range in `image_range`. Each part
initialises its weights as its paper does, from torch's global random generator, which `build` seeds.

A norm or other module whose buffers follow from the weights (virtual batch norm) has a method `settle()`; a buffer's
fate in an averaged copy is declared by the module's dict `averaging`, buffer name -> "copy" | "average" (norms'
running statistics are averaged, everything else is copied, if nothing is said).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from frugan.registry import Registry, UserError, check_options, options_of

registry = Registry("architecture", "frugan.nets")
names = registry.names

PARTS = ("decoder", "encoder", "translator")


@dataclass(frozen=True)
class Architecture:
    """Up to three parts of one architecture; those it does not have are None."""

    name: str
    decoder: Callable[..., nn.Module] | None = None
    encoder: Callable[..., nn.Module] | None = None
    translator: Callable[..., nn.Module] | None = None

    def part(self, part: str) -> Callable[..., nn.Module]:
        """The function that builds `part`. Raises UserError if this architecture has none."""
        build = getattr(self, part, None)
        if build is None:
            has = ", ".join(name for name in PARTS if getattr(self, name) is not None)
            raise UserError(f"The architecture '{self.name}' has no {part}; it has: {has}.")
        return build


def find(name: str) -> Architecture:
    """The architecture called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, architecture: Architecture) -> Architecture:
    """Make an architecture of one's own known under `name`."""
    return registry.add(name, architecture)


def options(name: str, part: str) -> dict[str, Any]:
    """The options of one part of an architecture and their defaults."""
    return options_of(find(name).part(part))


def check(name: str, part: str, given: dict[str, Any]) -> None:
    """Raise UserError if the part does not exist, or does not take one of the options given."""
    check_options(f"The {part} of '{name}'", given, options(name, part))


def scaled(channels: int, width: float) -> int:
    """A channel count made wider or thinner: rounded to the nearest whole number, at least 1."""
    return max(1, round(channels * width))
