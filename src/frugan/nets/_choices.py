"""What the architectures of this package check before they build: a named choice, a list of widths, an image size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from frugan.batch import ImageShape
from frugan.nets import scaled
from frugan.registry import UserError, suggest


def one_of(option: str, value: str, accepted: Iterable[str]) -> str:
    """`value`, if it is one of the accepted ones. Raises UserError with the nearest one otherwise."""
    accepted = list(accepted)
    if value not in accepted:
        raise UserError(f"{option}={value!r} is not known. {suggest(value, accepted)}")
    return value


def widths(option: str, channels: Sequence[int], count: int, width: float) -> list[int]:
    """`count` channel counts, each multiplied by `width`. Raises UserError if another number of them was given."""
    if len(channels) != count or not all(isinstance(value, int) and value > 0 for value in channels):
        raise UserError(f"{option}={list(channels)!r}: give {count} whole numbers above 0.")
    return [scaled(value, width) for value in channels]


def divided(image: ImageShape, by: int, owner: str) -> tuple[int, int]:
    """Height and width of the image divided by `by`. Raises UserError if they cannot be."""
    if image.height % by or image.width % by:
        up = [-(-side // by) * by for side in (image.height, image.width)]
        raise UserError(
            f"{owner} needs images whose height and width are multiples of {by}, but these are {image.height} x "
            f"{image.width}. Resize the data to {up[0]} x {up[1]}."
        )
    return image.height // by, image.width // by


def halvings(image: ImageShape, owner: str) -> tuple[int, int, int]:
    """How often the image can be halved with at least 4 pixels left on each side, and the height and width left.

    64 x 64 gives (4, 4, 4), 28 x 28 gives (2, 7, 7). Raises UserError for an image that cannot be halved once.
    """
    stages, height, width = 0, image.height, image.width
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 8:
        stages, height, width = stages + 1, height // 2, width // 2
    if stages == 0:
        raise UserError(
            f"{owner} halves the image several times, which is impossible for {image.height} x {image.width}. Resize "
            "the data, e.g. to 32 x 32 or 64 x 64."
        )
    return stages, height, width
