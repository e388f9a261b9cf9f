"""Checks of the images that metrics of pixels get: bytes on the CPU, enough of them, of one shape."""

from __future__ import annotations

import torch
from torch import Tensor

from frugan.registry import UserError


def accept_pixels(metric: str, name: str, images: Tensor, *, side: int) -> Tensor:
    """Check bytes ``[count, channels, height, width]`` of the set called `name`, and return them.

    Raises UserError, which names `metric`, for fewer than two images or a side below `side`.
    """
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise UserError(
            f"{metric}: '{name}' is {images.dtype} {list(images.shape)}. It needs images as bytes, torch.uint8 [count, "
            "channels, height, width] (frugan.batch.to_bytes makes them)."
        )
    if len(images) < 2:
        held = "1 image" if len(images) == 1 else "no images"
        raise UserError(f"{metric}: {held} in '{name}', but it needs 2 or more. Make more.")
    height, width = images.shape[2:]
    if min(height, width) < side:
        raise UserError(
            f"{metric}: the images of '{name}' are {height} x {width}, but it needs at least {side} x {side}. For "
            "smaller images use a metric of features (--view pixels)."
        )
    return images.detach().cpu()


def accept_pixel_pair(metric: str, real: Tensor, fake: Tensor, *, side: int) -> tuple[Tensor, Tensor]:
    """Check real and fake images of one shape, as `accept_pixels` does, and return them.

    All fakes may be equal (a collapsed generator). All real images may not: nothing can be compared with them.
    """
    real = accept_pixels(metric, "real_pixels", real, side=side)
    fake = accept_pixels(metric, "pixels", fake, side=side)
    shapes = [" x ".join(map(str, images.shape[1:])) for images in (real, fake)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{metric}: the real images are {shapes[0]} and the fakes {shapes[1]} (channels, height, width). Both must "
            "have the same shape."
        )
    if bool((real == real[0]).all()):
        raise UserError(
            f"{metric}: all {len(real)} real images are equal, so nothing can be compared with them. Check the data "
            "with `frugan data show`."
        )
    return real, fake
