"""Glyphs whose drawing is known: images with their factors, and the true tangents along these."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frugan.batch import from_bytes
from frugan.data.readers import glyphs

SIDE, STEP = 28, 0.05
"""Pixels, and the step of differences as a share of each factor's range."""


class Drawn(NamedTuple):
    """Digits ``[n, 1, 28, 28]`` in a range, their classes ``[n]``, and their factors in 0 to 1 ``[n, 6]``."""

    images: Tensor
    classes: Tensor
    factors: Tensor


def drawn(split: str, count: int, image_range: Any, first: int = 0) -> Drawn:
    """`count` digits of a split from number `first` on."""
    numbers = range(first, first + count)
    random = glyphs.chances("digits", split)
    return Drawn(
        _images(split, numbers, random, image_range), torch.arange(first, first + count) % 10,
        torch.from_numpy(random[first : first + count, list(glyphs.FACTORS.values())]).float(),
    )  # fmt: skip


def true_tangents(split: str, count: int) -> Tensor:
    """How each of the first images changes with each factor, up to scale: ``[count, 6, 1, 28, 28]``."""
    random, along = glyphs.chances("digits", split), []
    for column in glyphs.FACTORS.values():
        ends = []
        for step in (STEP, -STEP):
            moved = random.copy()
            moved[:, column] += step
            ends.append(_images(split, range(count), moved, (0.0, 1.0)))
        along.append((ends[0] - ends[1]) / (2 * STEP))
    return torch.stack(along, 1)


def _images(split: str, numbers: range, random: np.ndarray, image_range: Any) -> Tensor:
    pixels = np.stack(list(glyphs.draw("digits", split, list(numbers), (SIDE, SIDE), random)))
    low, high = image_range
    return from_bytes(torch.from_numpy(pixels).permute(0, 3, 1, 2), (low, high))
