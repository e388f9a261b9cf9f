"""A full transposed convolution of one pixel, as in a generator's first layer, as a product of matrices.

Nothing overlaps, so the output is the latents times the weight as a matrix. For such a layer torch's gradients take
many times as long as those of the product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from frugan.kernels import Kernel, Sliding

if TYPE_CHECKING:
    from torch import Tensor

    from frugan.kernels import Call


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """Whether it is a full transposed convolution of images of one pixel, with nothing cropped."""
    settings = call.settings
    if call.operation != "transposed" or weight is None or not isinstance(settings, Sliding):
        return False
    return tuple(images.shape[2:]) == (1, 1) and not any((*settings.rows, *settings.columns)) and images.numel() > 0


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute the call as a product of latents ``[n, in]`` and weights ``[in, kh kw out]``."""
    assert weight is not None
    made = functional.linear(images.flatten(1), weight.permute(0, 2, 3, 1).flatten(1).t())
    made = made.view(len(images), *weight.shape[2:], -1).permute(0, 3, 1, 2)
    return made if bias is None else made + bias.to(made.dtype).view(1, -1, 1, 1)


variant = Kernel("one_pixel", takes, run)
