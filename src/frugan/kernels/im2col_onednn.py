"""`im2col` whose float32 product is written as a 1 x 1 convolution, so that oneDNN computes it.

Torch computes float32 products with its BLAS library. On some processors this reaches a third of oneDNN's speed (MKL on
AMD's). The weight, which is large, takes the place of the images and is not copied. Only the small matrices are
transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import channels_last
from torch.nn import functional

from frugan.kernels import Kernel, computed, im2col

if TYPE_CHECKING:
    from torch import Tensor

    from frugan.kernels import Call


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """Whether `im2col` takes the call, in float32, and torch has oneDNN."""
    return (
        computed(images) is torch.float32 and torch.backends.mkldnn.is_available()
        and im2col.takes(call, images, weight)
    )  # fmt: skip


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute the call as a product of ``[n h w, kh kw in]`` patches and ``[kh kw in, out]`` weights."""
    return im2col.multiplied(call, images, weight, bias, _linear)


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    pixels = weight.view(1, 1, *weight.shape).permute(0, 3, 1, 2)  # one image of one row, channels-last
    made = functional.conv2d(pixels, rows[:, :, None, None])
    if made.requires_grad:
        # The gradient of the weight follows the layout of what it is made of, and should lie as the weight does. In a
        # penalty's second derivative none may come.
        made.register_hook(lambda grad: None if grad is None else grad.contiguous(memory_format=channels_last))
    made = made[0, :, 0].contiguous()
    return made if bias is None else made + bias


variant = Kernel("im2col_onednn", takes, run)
