"""Pictures of images: grids for people to look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def enlargement(height: int) -> int:
    """The whole number by which small images are enlarged for people, so that they are about 56 pixels large."""
    return max(1, round(56 / height))


def grid(images: Tensor, columns: int | None = None, scale: int | None = None, gap: int = 2) -> Image.Image:
    """Bytes ``[n, c, h, w]`` (1 or 3 channels) side by side, row by row, on white.

    `columns` is the square root of n if left out; `scale` enlarges each pixel (a whole number, so that nothing is
    smoothed): if left out, small images are enlarged to about 56 pixels.
    """
    import numpy as np
    from PIL import Image

    count, _, height, width = images.shape
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    scale = scale or enlargement(height)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images.cpu().numpy()):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(canvas)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def save_grid(images: Tensor, path: Path, columns: int | None = None, scale: int | None = None) -> None:
    """Save `grid` as a PNG, making the folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images, columns, scale).save(path)
