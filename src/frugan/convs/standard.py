"""The standard family: one dense K x K convolution, the form every other family is measured against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from frugan.convs import SEAM, ConvFamily, Pads
from frugan.convs._primitives import Convolution, Transposed, exact


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
) -> nn.Module:
    """A K x K convolution of stride `stride`. It is one piece, so `inner_bias` and `inner_norm` have no effect."""
    around = exact(kernel, stride) if padding is None else padding
    return Convolution(
        in_channels, out_channels, (kernel, kernel), stride=(stride, stride), rows=around, columns=around, bias=bias,
        padding_mode=padding_mode,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
) -> nn.Module:
    """A K x K transposed convolution of stride `stride`."""
    crop = exact(kernel, stride) if padding is None else padding
    return Transposed(
        in_channels, out_channels, (kernel, kernel), stride=(stride, stride), rows=crop, columns=crop, bias=bias,
        padding_mode=padding_mode,
    )


same = partial(down, stride=1)
variant = ConvFamily("standard", same=same, down=down, up=up, ignores=(*SEAM, "start"))
