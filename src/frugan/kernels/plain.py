"""Torch's own functions, as the layer calls them."""

from __future__ import annotations

from torch import Tensor

from frugan.kernels import Call, Kernel


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """True: this kernel can compute every call."""
    return True


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute the call's plain form."""
    return call.plain(images, weight, bias)


variant = Kernel("plain", takes, run)
