"""The pixels of small copies of images: for a first look, for unlabelled data, and as a control without weights.

Pixels are means over areas (28 x 28 grey becomes 16 x 16, 32 x 32 colour 8 x 8), as numbers from 0 to 1. Distances
between them show brightness, colour and placement, and hardly sharpness.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan.arithmetic import exact
from frugan.registry import UserError
from frugan.resizing import area
from frugan.views import Builder, Seen, View

if TYPE_CHECKING:
    from frugan.data import Dataset

MOST = 256


def build(
    *, dataset: Dataset | None, cache: Path, device: str, announce: Callable[[str], None], side: int | None = None
) -> View:
    """The view for images of the data set's shape.

    Each side becomes `side`, or stays if it is smaller. If left out: 16, halved until an image has at most 256 numbers.
    """
    if dataset is None:
        raise UserError("The view 'pixels' is built for images of one shape. Pass the data set: dataset=...")
    channels, height, width = dataset.shape
    if side is None:
        side = 16
        while channels * side * side > MOST and side > 1:
            side //= 2
    if side < 1:
        raise UserError(f"The view 'pixels' has side={side}. Give a whole number, 1 or more.")
    rows, columns = min(side, height), min(side, width)
    place = torch.device(device)

    def look(images: Tensor) -> Seen:
        if tuple(images.shape[1:]) != (channels, height, width):
            raise UserError(
                f"This view 'pixels' was built for images {[channels, height, width]}, but these are "
                f"{list(images.shape[1:])}."
            )
        with exact(place):
            return Seen(area(images.to(place, torch.float32) / 255, rows, columns).flatten(1).cpu())

    resizing = f"area to {rows}x{columns}"
    return View(
        name="pixels",
        version=f"pixels-{channels}x{rows}x{columns}-area",
        width=channels * rows * columns,
        input_size=(rows, columns),
        look=look,
        classes=0,
        description={"resizing": resizing, "range": "0 to 1"},
    )


variant = Builder("pixels", build, needs=("images",))
