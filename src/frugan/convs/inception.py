"""The inception family: four branches side by side, each with a quarter of the channels. frugan's own design.

The factorised project only names an "InceptionGAN" and does not describe it. So we designed one, after Szegedy et al.
2014 and 2015 (arXiv 1409.4842, 1512.00567) and, for `up`, Wojna et al. 2017 (arXiv 1707.05847). As in all families, the
layer is linear: norms and activations come after it, and only `inner_norm` is inside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from frugan.convs import ConvFamily, Declined, Pads
from frugan.convs._primitives import NONE, AdditiveUpsample, Convolution, beyond, exact, pad


class Branches(nn.Module):
    """Four branches of out/4 channels, concatenated: 1 x 1; 1 x 1, K x 1, 1 x K; 1 x 1, 3 x 3, 3 x 3; pool, 1 x 1.

    The first wide layer of a branch has the stride, or the last 1 x 1 if there is no wide one. The input is first
    enlarged by `upsample`, if there is one. Then it is padded by `shift` (before, after), so that any padding is
    possible.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int, upsample: nn.Module | None, shift: Pads,
        bias: bool, inner_bias: bool, inner_norm: Callable[[int], nn.Module] | None, padding_mode: str,
    ) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.upsample, self.shift, self.padding_mode = upsample, shift, padding_mode
        convolution = partial(Convolution, padding_mode=padding_mode)
        step, still, (wide, small, one) = (stride, stride), (1, 1), (exact(size, stride) for size in (kernel, 3, 1))

        def reduced() -> list[nn.Module]:
            norm = [] if inner_norm is None else [inner_norm(quarter)]
            return [convolution(in_channels, quarter, (1, 1), bias=inner_bias), *norm]

        def point(bias: bool) -> nn.Module:
            return convolution(in_channels, quarter, (1, 1), stride=step, rows=one, columns=one, bias=bias)

        self.point = point(bias)
        self.pair = nn.Sequential(
            *reduced(),
            convolution(quarter, quarter, (kernel, 1), stride=(stride, 1), rows=wide, bias=inner_bias),
            convolution(quarter, quarter, (1, kernel), stride=(1, stride), columns=wide, bias=bias),
        )
        self.small = nn.Sequential(
            *reduced(),
            convolution(quarter, quarter, (3, 3), stride=step, rows=small, columns=small, bias=inner_bias),
            convolution(quarter, quarter, (3, 3), stride=still, rows=(1, 1), columns=(1, 1), bias=bias),
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), point(bias))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``."""
        if self.upsample is not None:
            images = self.upsample(images)
        if self.shift != NONE:
            images = pad(images, self.shift, self.shift, self.padding_mode)
        return torch.cat([branch(images) for branch in (self.point, self.pair, self.small, self.pool)], dim=1)


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
) -> nn.Module:
    """`Branches` of stride `stride`; `inner_norm` comes after the two first 1 x 1 layers.

    Raises Declined if 4 does not divide `out_channels`.
    """
    _check(out_channels, kernel)
    return Branches(
        in_channels, out_channels, kernel, stride=stride, upsample=None, shift=beyond(padding, kernel, stride),
        bias=bias, inner_bias=bias if inner_bias is None else inner_bias, inner_norm=inner_norm,
        padding_mode=padding_mode,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
) -> nn.Module:
    """`AdditiveUpsample`, then `Branches` on in/stride^2 channels; as `down`; stride^2 must divide `in_channels`."""
    _check(out_channels, kernel)
    group = stride * stride
    if in_channels % group:
        raise Declined(f"{in_channels} channels do not divide into groups of {group}")
    more = beyond(padding, kernel, stride)
    return Branches(
        in_channels // group, out_channels, kernel, stride=1, upsample=AdditiveUpsample(stride) if stride > 1 else None,
        shift=(-more[0], -more[1]), bias=bias, inner_bias=bias if inner_bias is None else inner_bias,
        inner_norm=inner_norm, padding_mode=padding_mode,
    )


def _check(out_channels: int, kernel: int) -> None:
    if kernel == 1:
        raise Declined("a 1 x 1 kernel has no window to divide among branches")
    if out_channels % 4:
        raise Declined(f"{out_channels} output channels do not divide into four branches")


variant = ConvFamily("inception", same=partial(down, stride=1), down=down, up=up)
