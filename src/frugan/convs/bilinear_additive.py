"""The bilinear additive family: upsampling without weights that adds groups of channels, then a K x K convolution.

Wojna et al. 2017, "The Devil is in the Decoder" (arXiv 1707.05847). For `up` only. It has 1/stride^2 of the weights of
a transposed layer, but as many multiply-accumulates, since the convolution runs on the larger image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from frugan.convs import ConvFamily, Declined, Pads
from frugan.convs._primitives import AdditiveUpsample, Convolution, beyond, exact


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
) -> nn.Module:
    """`AdditiveUpsample`, then a K x K convolution in/stride^2 -> out of stride 1; `inner_norm` stands between them.

    Raises Declined if stride^2 does not divide `in_channels`.
    """
    group = stride * stride
    if stride == 1:
        raise Declined("stride 1 upsamples nothing")
    if in_channels % group:
        raise Declined(f"{in_channels} channels do not divide into groups of {group}")
    keep, more = exact(kernel, 1), beyond(padding, kernel, stride)
    around = (keep[0] - more[0], keep[1] - more[1])  # cropping a transposed layer more is padding this one less
    parts: OrderedDict[str, nn.Module] = OrderedDict(upsample=AdditiveUpsample(stride))
    if inner_norm is not None:
        parts["norm"] = inner_norm(in_channels // group)
    parts["convolution"] = Convolution(
        in_channels // group, out_channels, (kernel, kernel), rows=around, columns=around, bias=bias,
        padding_mode=padding_mode,
    )
    return nn.Sequential(parts)


def decline(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, **contract: object) -> nn.Module:
    """Raises Declined: the standard family builds layers that keep or divide the size."""
    raise Declined("bilinear additive upsampling is for layers that enlarge the image")


variant = ConvFamily("bilinear_additive", same=decline, down=decline, up=up, ignores=("inner_bias",))
