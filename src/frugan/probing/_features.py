"""Features of images for a linear probe: what a network's layers say, what its outputs say, or the pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.arithmetic import exact
from frugan.batch import from_bytes
from frugan.engine.average import measure_standing
from frugan.registry import UserError, suggest

LAYERS, HIDDEN, PIXELS = "layers", "hidden", "pixels"
SIDE = 4
"""Every map is max-pooled to so many places a side (Radford et al. 2016, section 5.1)."""

_BATCH = 128

Look = Callable[[Tensor], Tensor]
"""Bytes ``[n, c, h, w]`` to features ``[n, width]``."""


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """The activations of every layer, ``[n, c, h, w]`` or ``[n, c]``, max-pooled to 4 x 4 and put in one row each.

    A smaller map stays as it is. Maps of 16, 8 and 4 pixels have windows of 4, 2 and 1 pixels.
    """
    rows = []
    for one in maps:
        if one.dim() == 4:
            one = functional.adaptive_max_pool2d(one, [min(side, SIDE) for side in one.shape[2:]])
        rows.append(one.flatten(1))
    return torch.cat(rows, 1)


def look_by(module: nn.Module, what: str, image_range: tuple[float, float], who: str) -> Look:
    """What `module` (in evaluation mode) says of images.

    Args:
        what: "layers", the pooled activations of all of them; "hidden", those of the last one; or an output's name.
        who: its name in messages.

    A network that takes labels is told none (zeros). Raises UserError for an unknown output, or if the network does not
    show its layers.
    """
    outputs = list(getattr(module, "outputs", {}))
    if what not in (LAYERS, HIDDEN, *outputs):
        raise UserError(f"{who} has no features '{what}'. {suggest(what, [LAYERS, HIDDEN, *outputs])}")
    if what in (LAYERS, HIDDEN) and not hasattr(module, "features"):
        raise UserError(
            f"{who} does not show its layers (`features`, see frugan.nets.Attributes), so '{what}' cannot be probed."
        )
    device = next(module.parameters()).device
    classes = getattr(module, "classes", 0)

    def look(images: Tensor) -> Tensor:
        given = from_bytes(images.to(device), image_range)
        told = torch.zeros(len(given), classes, device=device) if classes else None
        with exact(device):
            if what in (LAYERS, HIDDEN):
                maps: Sequence[Tensor] = module.features(given, told)  # pyrefly: ignore
                found = pooled(maps) if what == LAYERS else maps[-1].flatten(1)
            else:
                found = module(given, told)[what].flatten(1) if classes else module(given)[what].flatten(1)
        return found.float().cpu()

    return look


def look_at_pixels(images: Tensor) -> Tensor:
    """The pixels themselves, in -1 to 1."""
    return from_bytes(images).flatten(1)


def extract(look: Look, images: Tensor, rows: Tensor, done: Callable[[int], None] = lambda more: None) -> Tensor:
    """The features of the images numbered `rows`, float32 ``[rows, width]``; `done` is called after each batch."""
    found = []
    for part in rows.split(_BATCH):
        found.append(look(images.index_select(0, part)))
        done(len(part))
    return torch.cat(found)


def settle_norms(module: nn.Module, images: Tensor, rows: Tensor, image_range: tuple[float, float]) -> None:
    """Give batch norms the statistics of real images: the means over batches of the images numbered `rows`.

    Those of training are of real and generated images, and an untrained network has none at all.
    """
    device = next(module.parameters()).device
    classes = getattr(module, "classes", 0)

    def show(number: int) -> None:
        start = number * _BATCH % max(1, len(rows) - _BATCH + 1)
        shown = from_bytes(images.index_select(0, rows[start : start + _BATCH]).to(device), image_range)
        module(shown, *([torch.zeros(len(shown), classes, device=device)] if classes else []))

    measure_standing([module], show)
