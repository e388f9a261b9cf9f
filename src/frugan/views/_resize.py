"""Two exact ways to resize images; which one is used belongs to a view's version."""

from __future__ import annotations

import torch
from torch import Tensor


def area(images: Tensor, height: int, width: int) -> Tensor:
    """Every new pixel is the mean of the area that it covers, parts of pixels counted as parts. For smaller sizes.

    Float images ``[count, channels, h, w]`` give ``[count, channels, height, width]``.
    """
    rows, columns = _cover(images.shape[2], height), _cover(images.shape[3], width)
    return rows.to(images) @ images @ columns.to(images).T


def _cover(old: int, new: int) -> Tensor:
    """What share of each of `new` intervals each of `old` ones fills ``[new, old]``; rows add up to 1."""
    step = old / new
    starts = torch.arange(new, dtype=torch.float64)[:, None] * step
    pixels = torch.arange(old, dtype=torch.float64)[None]
    return (torch.minimum(starts + step, pixels + 1) - torch.maximum(starts, pixels)).clamp_min(0) / step


def tensorflow1_bilinear(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear as TensorFlow 1 did it (align_corners=False, no half-pixel centres), in float32 and in its order.

    A new pixel i looks at the old place i * old / new, so the image shifts up and left, nothing is smoothed when it
    shrinks, and the last pixels repeat when it grows. The published FID network was used with exactly this.
    Float images ``[count, channels, h, w]`` give ``[count, channels, height, width]``.
    """
    low, high, part = _places(images.shape[3], width, images.device)
    left, right = images.index_select(3, low), images.index_select(3, high)
    images = left + (right - left) * part
    low, high, part = _places(images.shape[2], height, images.device)
    top, bottom = images.index_select(2, low), images.index_select(2, high)
    return top + (bottom - top) * part[:, None]


def _places(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two old pixels that each new one lies between, and how far it is from the first to the second."""
    place = torch.arange(new, dtype=torch.float32, device=device) * (torch.tensor(old, dtype=torch.float32) / new)
    low = place.floor()
    return low.long(), (low.long() + 1).clamp_max(old - 1), place - low
