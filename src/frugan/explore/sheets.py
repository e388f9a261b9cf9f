"""Pictures of explorations: samples with their numbers, and rows with a title each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from frugan.pictures import enlargement, grid

_TEXT = 11
_LINE = 14  # pixels of a line of text


def _as_tensor(images: Any) -> torch.Tensor:
    """Bytes ``[n, height, width, channels]`` as ``[n, channels, height, width]``."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def numbered(images: Any, columns: int | None = None) -> Image.Image:
    """A contact sheet: bytes ``[n, h, w, c]``, each with its number below."""
    tensor = _as_tensor(images)
    count, _, height, width = tensor.shape
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    scale = enlargement(height)
    across, down = width * scale + 4, height * scale + _LINE + 2
    sheet = Image.new("RGB", (columns * across, math.ceil(count / columns) * down), "white")
    text, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for number in range(count):
        row, column = divmod(number, columns)
        sheet.paste(grid(tensor[number : number + 1], 1, scale, gap=0), (column * across + 2, row * down + 2))
        text.text((column * across + 2, row * down + height * scale + 2), str(number), fill="black", font=font)
    return sheet


def titled(rows: Sequence[tuple[str, Any]]) -> Image.Image:
    """Rows of bytes ``[n, h, w, c]``, each under a line of text; they may differ in length."""
    pictures = [(title, grid(_as_tensor(images), len(images))) for title, images in rows]
    font = ImageFont.load_default(_TEXT)
    wide = max(max(picture.width, math.ceil(font.getlength(title)) + 8) for title, picture in pictures)
    sheet = Image.new("RGB", (wide, sum(picture.height + _LINE for _, picture in pictures)), "white")
    text, top = ImageDraw.Draw(sheet), 0
    for title, picture in pictures:
        text.text((4, top), title, fill="black", font=font)
        sheet.paste(picture, (0, top + _LINE))
        top += picture.height + _LINE
    return sheet


def frames(images: Any, columns: int | None = None) -> Iterator[Image.Image]:
    """Frames of a film from bytes ``[frames, n, h, w, c]``: `n` images side by side in each."""
    for shown in images:
        yield grid(_as_tensor(shown), columns)
