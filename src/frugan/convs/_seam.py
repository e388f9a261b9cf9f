"""The seam of a layer that is split in two: a norm between the pieces, an activation, both or nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from frugan.registry import UserError, suggest

BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": partial(nn.LeakyReLU, 0.2),
}  # fmt: skip
"""Activations for a seam, by the name that a family's option `between` takes; "" is none."""


def joined(
    one: tuple[str, nn.Module], other: tuple[str, nn.Module], channels: int,
    inner_norm: Callable[[int], nn.Module] | None, between: str,
) -> nn.Sequential:
    """Join two named pieces. Between them come a norm of `channels` and then an activation, if asked for."""
    parts = OrderedDict([one])
    if inner_norm is not None:
        parts["norm"] = inner_norm(channels)
    if between:
        parts["activation"] = BETWEEN[between]()
    parts.update([other])
    return nn.Sequential(parts)


def check_between(family: str, between: str) -> None:
    """Raise UserError for an unknown activation."""
    if between and between not in BETWEEN:
        raise UserError(
            f"The family '{family}' has no activation '{between}' for between its pieces. {suggest(between, BETWEEN)}"
        )
