"""How labels enter a network: `Entrance` at its input, `Table` wherever an architecture looks labels up.

``"join"``: the label as a one-hot vector is appended to a vector, or as constant planes to an image (Mirza and Osindero
2014). ``"multiply"``: a learned table, one row per class, multiplies the input element by element.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frugan.nets._choices import one_of
from frugan.registry import UserError

WAYS = ("join", "multiply")


def encode(condition: Tensor | None, classes: int, like: Tensor) -> Tensor | None:
    """Labels ``[n]`` or bits ``[n, classes]`` as floats ``[n, classes]``; None for a network without labels.

    Raises UserError if labels are missing where they are needed, or given where they have no effect.
    """
    check_labels(condition, classes)
    if condition is None:
        return None
    if condition.dim() == 2:
        return condition.to(like.dtype)
    bits = torch.zeros(condition.shape[0], classes, dtype=like.dtype, device=like.device)
    return bits.scatter_(1, condition[:, None], 1.0)


def check_labels(condition: Tensor | None, classes: int) -> None:
    """Raise UserError if labels are missing where they are needed, or given where they have no effect."""
    if classes == 0 and condition is not None:
        raise UserError("This network takes no labels (classes=0), but it was called with labels. Leave them out.")
    if classes and condition is None:
        raise UserError(f"This network needs labels (classes={classes}). Call it as network(x, labels).")


def join(x: Tensor, labels: Tensor | None) -> Tensor:
    """Vectors ``[n, c]`` or images ``[n, c, h, w]`` with the labels ``[n, classes]`` appended as channels."""
    if labels is None:
        return x
    if x.dim() == 4:
        labels = labels[:, :, None, None].expand(-1, -1, *x.shape[2:])
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            # Otherwise what is joined would have the default layout, and the first layer a slower kernel.
            labels = labels.contiguous(memory_format=torch.channels_last)
    return torch.cat([x, labels.to(x.dtype)], dim=1)


class Entrance(nn.Module):
    """Lets labels in at the input of a network; without classes it passes the input through.

    Args:
        how: a name in `WAYS`.
        classes: how many values a label can take, 0 for no labels.
        shape: of one input: (latents,), (channels, height, width), or (pixels,) for images that are to be flattened.
    """

    def __init__(self, how: str, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        one_of("condition", how, WAYS)
        self.classes = classes
        self.flat = len(shape) == 1
        self.table = nn.Embedding(classes, math.prod(shape)) if classes and how == "multiply" else None
        self.channels = shape[0] + (classes if how == "join" else 0)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Inputs ``[n, *shape]`` and labels to what the first layer sees, ``[n, channels, ...]``."""
        x = x.flatten(1) if self.flat else x
        labels = encode(condition, self.classes, x)
        if labels is None or self.table is None:
            return join(x, labels)
        return x * (labels @ self.table.weight.to(x.dtype)).view_as(x)


class Table(nn.Module):
    """A learned row for each class.

    Labels ``[n]`` give their rows ``[n, size]``, values ``[n, classes]`` the sum of all rows by these values.
    """

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(classes, size)

    def forward(self, condition: Tensor) -> Tensor:
        if condition.dim() == 1:
            return self.rows(condition)
        weight = self.rows.weight
        return condition.to(weight.dtype) @ weight

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """None for labels, which are looked up; for values a product with the whole table."""
        return 0 if len(input_shape) == 1 else math.prod(input_shape) * self.rows.embedding_dim
