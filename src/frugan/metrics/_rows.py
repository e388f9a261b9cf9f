"""Rows in pairs: how much nearer things lie to what was made of them than to others; and rows with their classes."""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import seeds
from frugan.registry import UserError


def ratio_of_distances(metric: str, named: dict[str, Tensor]) -> dict[str, float]:
    """The mean distance of each row of the first of two tensors to the row of the second, over that to another row.

    Args:
        named: two tensors ``[count, ...]`` of floats, by the names that messages have for them.

    Returns:
        ``ratio``: 0 if both are equal, 1 if the second says nothing of the first; ``standard_error`` of it, by the
        delta method; and both means, ``distance`` and ``distance_of_others``. The other row is drawn, always the same
        for so many rows, so their order does not count. In version 1 it was the next row; for rows in random order the
        expected values are the same.

    Raises UserError, in the name of `metric`, for unequal shapes, fewer than two rows, or rows that are all alike.
    """
    (one_name, one), (other_name, other) = named.items()
    if one.shape != other.shape or len(one) < 2:
        raise UserError(
            f"{metric}: '{one_name}' is {list(one.shape)} and '{other_name}' {list(other.shape)}. Each row is compared "
            "with the same row, so both must have one shape, of two rows or more."
        )
    if not bool(torch.isfinite(one).all() and torch.isfinite(other).all()):
        raise UserError(f"{metric}: some numbers are not finite. Look at the images: the networks may have diverged.")
    one, other = one.double().flatten(1), other.double().flatten(1)
    own, foreign = (one - other).norm(dim=1), (one - other[seeds.others(len(one))]).norm(dim=1)
    if not float(foreign.mean()):
        raise UserError(f"{metric}: all rows of '{one_name}' are alike, so no other is farther. Give different images.")
    ratio = own.mean() / foreign.mean()
    spread = (own - ratio * foreign).std() / foreign.mean() / len(own) ** 0.5
    return {
        "ratio": float(ratio), "standard_error": float(spread), "distance": float(own.mean()),
        "distance_of_others": float(foreign.mean()),
    }  # fmt: skip


def check_classes(metric: str, name: str, labels: Tensor | None, count: int) -> None:
    """Raise UserError, in the name of `metric`, unless there is one class for each of so many rows."""
    if labels is None or labels.shape != (count,):
        shape = "missing" if labels is None else f"{list(labels.shape)}"
        raise UserError(f"{metric}: '{name}' are {shape}. It needs one class for each of {count} images.")
