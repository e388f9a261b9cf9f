"""Checks of the labels and pairs of images that metrics of translations get, and the distance within pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from frugan.metrics._pixels import accept_pixels
from frugan.registry import UserError


def accept_labels(
    metric: str, labels: Tensor, source_labels: Tensor, told: Tensor, source_told: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check four tables of labels of one shape, and return them: int64 ``[count]`` or attributes ``[count, bits]``.

    Raises UserError, which names `metric`, if shapes differ or there are fewer than two images.
    """
    given = {"labels": labels, "source_labels": source_labels, "told": told, "source_told": source_told}
    shapes = {name: tuple(one.shape) for name, one in given.items()}
    if len(set(shapes.values())) > 1 or labels.ndim not in (1, 2):
        listed = ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())
        raise UserError(f"{metric}: {listed}. It needs four tables of one shape, [count] or [count, bits].")
    if any(one.is_floating_point() for one in given.values()):
        raise UserError(
            f"{metric}: some labels are floats. Labels must be whole numbers: classes from 0, or bits 0 and 1."
        )
    if len(labels) < 2:
        raise UserError(f"{metric}: {len(labels)} translated images, but it needs 2 or more. Translate more.")
    accepted = [one.detach().cpu().long() for one in given.values()]
    return accepted[0], accepted[1], accepted[2], accepted[3]


def apart(metric: str, one_name: str, one: Tensor, other_name: str, other: Tensor) -> float:
    """The mean absolute difference of bytes ``[count, channels, height, width]``, row by row, in levels of 255.

    Raises UserError, which names `metric`, if images are not bytes, too few, or not in pairs.
    """
    one, other = accept_pixels(metric, one_name, one, side=1), accept_pixels(metric, other_name, other, side=1)
    if one.shape != other.shape:
        raise UserError(
            f"{metric}: '{one_name}' is {list(one.shape)} and '{other_name}' {list(other.shape)}. Each image is "
            "compared with the one in the same row, so both must have the same shape."
        )
    # Sums of whole numbers, part by part: exact, and no large floats at a time.
    total = sum(int((a.short() - b.short()).abs().sum(dtype=torch.int64)) for a, b in zip(
        one.split(256), other.split(256), strict=True
    ))  # fmt: skip
    return total / one.numel()
