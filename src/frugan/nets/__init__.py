"""Architectures: networks written in layers that any convolution family can build.

An architecture offers up to four parts, each a function that returns an `nn.Module`:

    decoder(image, latents, layers, classes, *, width=1.0, ...)     latents [n, latents]         -> images [n, c, h, w]
    encoder(image, outputs, layers, classes, *, width=1.0, ...)     images [n, c, h, w]          -> {output: [n, size]}
                                                                    or, for each place, ["score"]: [n, 1, h', w']
    translator(image, layers, classes, *, width=1.0, ...)           images [n, c, h, w]          -> images [n, c, h, w]
    joint(image, vector, outputs, layers, classes, *, width=1.0, ...)   images [n, c, h, w], vectors [n, vector]
                                                                                                 -> {output: [n, size]}

`image` is an `ImageShape`; `layers` builds every swappable layer, each under its role (``stem``, ``down.0``,
``block.2.1``, ``up.0``, ``output``); `classes` is the size of the condition that the network is told, 0 for none;
`outputs` names the heads that the game asks for and their sizes, e.g. ``{"score": 1}``; an encoder that judges patches
gives a map of scores. Of a joint part, the outputs ``score_of_images`` and ``score_of_vectors`` see one half of a pair
alone; one that cannot do this refuses them. Keyword-only arguments are the architecture's options; `width` multiplies
every inner channel count (rounded, at least 1).

Networks are called ``network(x, condition=None)``, a joint part ``network(images, vectors, condition=None)``. The
condition is class numbers ``[n]`` int64 or values ``[n, classes]`` (bits of attributes, latents, whatever the game
tells); how it enters is an option of the architecture. Each part initialises its weights as its paper does, from
torch's global random generator, which `build` seeds: by `initialise(network, rule)`, which also makes what families
build start as the standard layers would. A part that leaves torch's own first weights needs no call.

What general code reads of a network besides calling it stands in `Attributes` below, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from frugan.nets._equalised import start_by_gain as start_by_gain
from frugan.nets._initialise import FirstWeights as FirstWeights
from frugan.nets._initialise import initialise as initialise
from frugan.nets._initialise import rules as rules
from frugan.nets._minibatch import MinibatchDeviation as MinibatchDeviation
from frugan.nets._minibatch import MinibatchDiscrimination as MinibatchDiscrimination
from frugan.nets._minibatch import check_groups as check_groups
from frugan.nets._orthogonality import orthogonality as orthogonality
from frugan.nets._spectral import SpectralNorm as SpectralNorm
from frugan.registry import Registry, UserError, check_options, declared, options_of

registry = Registry("architecture", "frugan.nets")
names = registry.names

PARTS = ("decoder", "encoder", "translator", "joint")


class Attributes(Protocol):
    """What general code reads of a network, or of a module inside one; each is read only where it is there.

    Of a network that makes images, `image_range` must be there; everything else may be left out.
    """

    image_range: tuple[float, float]
    """Of a decoder or translator: the range of its images."""

    classes: int
    """The size of the condition that the network was built for, 0 or left out for none. Games ask it (`labels_for`)
    whether to pass on the labels of the data."""

    norms_follow_truncation: bool
    """Of a decoder: whether the statistics of its norms are measured anew for truncated latents. That suits one whose
    latents reach later blocks too; where they enter at the input alone, the first norm would undo the truncation."""

    multiple: int
    """Of a translator: the sides of the images that it takes are multiples of this; 1 if left out."""

    outputs: Mapping[str, int]
    """Of an encoder or joint part: its outputs and their sizes, for games that need to know them."""

    parts: Mapping[str, str]
    """Of any network: a part's name -> the module in it (``"heads.score"``) of which ``frugan cost`` tells the cost
    apart too."""

    joins: bool
    """Of an encoder: whether one call on two batches gives what two calls give. Left out, they are called apart."""

    averaging: Mapping[str, str]
    """Of any module inside: buffer name -> "copy" or "average", what an averaged network does with that buffer. Left
    out, the running statistics of batch norms are averaged and all other buffers copied."""

    orthogonal: bool
    """Of any module inside: False leaves its weights out of `orthogonality`."""

    top: int
    """Of a network that grows: its last level, at which it works at the full size; each level before it at half the
    size of the next. A new network is at its last level."""

    level: Tensor
    """Of a network that grows: a buffer with its level, 0 to `top`; 1.25 is level 1 with a quarter of 2 faded in."""

    def grow(self, level: float) -> None:
        """Of a network that grows: be at `level` from now on. In training it then makes images of that level's size, or
        takes them; in evaluation mode images always have the full size."""
        ...

    def features(self, images: Tensor, condition: Tensor | None = None) -> Sequence[Tensor]:
        """Of an encoder: the activations ``[n, c, h, w]`` or ``[n, c]`` after each stage, first to last. Of a joint
        part, which is called with ``(images, vectors, condition)``, the last ones are of pairs."""
        ...

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Of any module inside: multiply-accumulates of its products with weights for such an input, batch and all,
        that no layer in it shows (see `frugan.costs`)."""
        ...

    def macs_attention(self, input_shape: tuple[int, ...]) -> int:
        """Of any module inside: the same of the products of its attention."""
        ...

    def settle(self) -> None:
        """Of any module inside: compute anew the buffers that follow from the weights (virtual batch norm's)."""
        ...


@dataclass(frozen=True)
class Architecture:
    """Up to four parts of one architecture; those it does not have are None."""

    name: str
    decoder: Callable[..., nn.Module] | None = None
    encoder: Callable[..., nn.Module] | None = None
    translator: Callable[..., nn.Module] | None = None
    joint: Callable[..., nn.Module] | None = None

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


def check(name: str, part: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the part takes them. Raises UserError if it does not exist, or does not take one that is given."""
    return check_options(f"The {part} of '{name}'", given, declared(find(name).part(part)))


def scaled(channels: int, width: float) -> int:
    """A channel count made wider or thinner: rounded to the nearest whole number, at least 1.

    Raises UserError for a width that is not above 0.
    """
    if not 0 < width < float("inf"):
        raise UserError(f"width={width}: give a number above 0, e.g. 0.5 for half as many channels.")
    return max(1, round(channels * width))
