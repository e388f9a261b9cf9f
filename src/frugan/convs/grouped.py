"""The grouped family: a K x K convolution in groups; each output channel is computed from its own group only.

As in AlexNet and ResNeXt (Xie et al. 2017, arXiv 1611.05431), without shuffling of channels afterwards. It has 1/groups
of the standard layer's weights and multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from frugan.convs import SEAM, ConvFamily, Declined, Pads
from frugan.convs._primitives import Convolution, Transposed, exact
from frugan.ranges import Count


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    groups: Count = 4,
) -> nn.Module:
    """A K x K convolution in `groups` groups. Raises Declined if `groups` does not divide the channels."""
    return _grouped(
        partial(Convolution, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, padding,
        groups,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    groups: Count = 4,
) -> nn.Module:
    """A K x K transposed convolution in `groups` groups; as `down`."""
    return _grouped(
        partial(Transposed, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, padding, groups
    )


def _grouped(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool,
    padding: Pads | None, groups: int,
) -> nn.Module:
    if in_channels % groups or out_channels % groups:
        raise Declined(f"{in_channels} -> {out_channels} channels do not divide into {groups} groups")
    around = exact(kernel, stride) if padding is None else padding
    return convolution(
        in_channels, out_channels, (kernel, kernel), stride=(stride, stride), rows=around, columns=around,
        groups=groups, bias=bias,
    )


variant = ConvFamily("grouped", same=partial(down, stride=1), down=down, up=up, ignores=tuple(SEAM))
