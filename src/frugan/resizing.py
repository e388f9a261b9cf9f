"""Images made smaller by means over areas, which belongs to no view and no net but to several of them."""

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
