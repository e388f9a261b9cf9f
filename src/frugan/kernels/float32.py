"""Torch's own functions in float32 under autocast, the result rounded to autocast's precision.

For grouped convolutions on a CPU, for which torch is slow in bf16: a depthwise 5 x 5 step of the MNIST nets takes half
as long this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan.kernels import Call, Kernel, slow_in_half


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """Whether the call is a grouped convolution under autocast on a CPU."""
    return slow_in_half(call, images)


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The call's plain form, computed on images in float32."""
    with torch.autocast("cpu", enabled=False):
        return call.plain(images.float(), weight, bias).to(torch.get_autocast_dtype("cpu"))


variant = Kernel("float32", takes, run)
