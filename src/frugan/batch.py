"""The words everything shares: a batch of images and what an image looks like.

Images are float tensors ``[count, channels, height, width]`` in a stated range, most often -1 to 1; on disk and in what
users receive they are bytes, 0 to 255. Labels are ``[count]`` int64 class numbers, or ``[count, bits]`` for attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Range = tuple[float, float]
SIGNED: Range = (-1.0, 1.0)
UNIT: Range = (0.0, 1.0)


class ImageShape(NamedTuple):
    """Channels, height and width of one image, in that order."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Images ``[count, channels, height, width]``, and labels ``[count]`` or ``[count, bits]`` if there are any.

    `exclusive` are groups of bits, by number, of which an image has at most one. `finer` are the same images, larger,
    where the data have them (`Data.finer`).
    """

    images: Tensor
    labels: Tensor | None = None
    exclusive: tuple[tuple[int, ...], ...] = ()
    finer: Tensor | None = None

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.images)


def from_bytes(images: Tensor, image_range: Range = SIGNED) -> Tensor:
    """Bytes 0..255 as float32 in `image_range`: 0 becomes its lower end, 255 its upper end."""
    low, high = image_range
    return images.float().mul_((high - low) / 255).add_(low)


def to_bytes(images: Tensor, image_range: Range = SIGNED) -> Tensor:
    """Floats in `image_range` as bytes, rounded to the nearest (not cut off) and clipped to 0..255."""
    import torch

    low, high = image_range
    return images.float().sub(low).mul_(255 / (high - low)).round_().clamp_(0, 255).to(torch.uint8)
