"""Two exactly defined ways to resize images. A view's version says which one it uses."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def tensorflow1_bilinear(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear as TensorFlow 1 did it (align_corners=False, no half-pixel centres), in float32 and in its order.

    A new pixel i is taken from the old position i * old / new. So the image shifts up and left, nothing is smoothed
    when it shrinks, and the last pixels repeat when it grows. The published FID network was used with exactly this.
    Float images ``[count, channels, h, w]`` become ``[count, channels, height, width]``.
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


def clean_bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Bicubic as in Pillow, each channel alone in float32, clipped to 0..255 (Parmar et al. 2022, 2104.11222).

    If an image shrinks, the kernel grows with the step, which avoids aliasing. Nothing is rounded to bytes in between.
    Float images ``[count, channels, h, w]`` in 0..255 become ``[count, channels, height, width]``.
    """
    planes = images.detach().to("cpu", torch.float32).flatten(0, 1).numpy()
    resized = np.empty((len(planes), height, width), np.float32)
    for old, new in zip(planes, resized, strict=True):
        new[:] = np.asarray(Image.fromarray(old).resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(resized).clamp_(0, 255).unflatten(0, images.shape[:2]).to(images.device)
