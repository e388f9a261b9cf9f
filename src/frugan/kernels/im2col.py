"""A full convolution as one product of matrices, for layers whose weight is larger than their output.

The last layers of a discriminator have millions of weights and a few pixels. At each call, forward and in each
derivative, torch copies such a weight into a layout of its own, and this takes longer than the convolution. In
channels-last layout the weight ``[out, in, kh, kw]`` is already the matrix ``[out, kh kw in]``. The patches that it is
multiplied with are few, so copying them is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import channels_last
from torch.nn import functional

from frugan.kernels import Kernel, Sliding, computed

if TYPE_CHECKING:
    from torch import Tensor

    from frugan.kernels import Call

LEAST = 1 << 18
"""The fewest values of a weight for which it pays: a smaller one stays in the processor's caches."""


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """Whether it is a full convolution on a CPU, with a large channels-last weight, at least as large as the output."""
    if call.operation != "convolution" or images.device.type != "cpu" or weight is None or weight.numel() < LEAST:
        return False
    assert isinstance(call.settings, Sliding)
    height, width = call.settings.output_size(images, weight)
    few = len(images) * height * width <= math.prod(weight.shape[1:]) and min(height, width) > 0
    return few and weight.is_contiguous(memory_format=channels_last)


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute the call as a product of ``[n h w, kh kw in]`` patches and ``[kh kw in, out]`` weights."""
    return multiplied(call, images, weight, bias, functional.linear)


def multiplied(
    call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None,
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Tensor:
    """Compute the call with `product`, a function of patches ``[rows, size]``, weights ``[out, size]`` and bias."""
    assert weight is not None
    assert isinstance(call.settings, Sliding)
    height, width = call.settings.output_size(images, weight)
    stride, rows, columns, _ = call.settings
    padded = functional.pad(images.to(computed(images)), (*columns, *rows)).permute(0, 2, 3, 1)
    patches = padded.unfold(1, weight.shape[2], stride[0]).unfold(2, weight.shape[3], stride[1])
    flat = patches.permute(0, 1, 2, 4, 5, 3).reshape(len(images) * height * width, -1)
    made = product(flat, weight.permute(0, 2, 3, 1).reshape(len(weight), -1), bias)
    return made.view(len(images), height, width, -1).permute(0, 3, 1, 2)


variant = Kernel("im2col", takes, run)
