"""The depthwise separable family: one K x K kernel per channel, then (or before it) a 1 x 1 layer that mixes channels.

Chollet 2016 (arXiv 1610.02357); in GANs, Ngxande et al. 2019 (arXiv 1903.02225). The depthwise part carries stride and
padding. Of the weights 1/out + 1/K^2 is left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from frugan.convs import ConvFamily, Declined, Pads
from frugan.convs._primitives import Convolution, Transposed, exact
from frugan.registry import UserError, suggest

ORDERS = ("depthwise_first", "pointwise_first")


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    order: str = "depthwise_first",
) -> nn.Module:
    """A depthwise K x K convolution of stride `stride` and a 1 x 1 convolution; `inner_norm` stands between them.

    Args:
        order: "depthwise_first" as in the papers; "pointwise_first" mixes at the input's resolution, which is cheaper
            for `up` (stride^2 times fewer multiply-accumulates there) and dearer for `down`.
    """
    return _separable(
        partial(Convolution, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, inner_bias,
        inner_norm, padding, order,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    order: str = "depthwise_first",
) -> nn.Module:
    """A depthwise K x K transposed convolution and a 1 x 1 convolution; options as for `down`."""
    return _separable(
        Transposed, in_channels, out_channels, kernel, stride, bias, inner_bias, inner_norm, padding, order
    )


def _separable(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool,
    inner_bias: bool | None, inner_norm: Callable[[int], nn.Module] | None, padding: Pads | None, order: str,
) -> nn.Module:
    if order not in ORDERS:
        raise UserError(f"The family 'depthwise' has no order '{order}'. {suggest(order, ORDERS)}")
    if kernel == 1:
        raise Declined("a 1 x 1 kernel is pointwise already")
    inside = bias if inner_bias is None else inner_bias
    around = exact(kernel, stride) if padding is None else padding
    first = order == "depthwise_first"
    seam = in_channels if first else out_channels
    parts = OrderedDict()
    spatial = convolution(
        seam, seam, (kernel, kernel), stride=(stride, stride), rows=around, columns=around, groups=seam,
        bias=inside if first else bias,
    )
    mixing = Convolution(in_channels, out_channels, (1, 1), bias=bias if first else inside)
    parts["depthwise" if first else "pointwise"] = spatial if first else mixing
    if inner_norm is not None:
        parts["norm"] = inner_norm(seam)
    parts["pointwise" if first else "depthwise"] = mixing if first else spatial
    return nn.Sequential(parts)


variant = ConvFamily("depthwise", same=partial(down, stride=1), down=down, up=up)
