"""The depthwise separable family: one K x K kernel per channel, then (or before it) a 1 x 1 layer that mixes channels.

Chollet 2016 (arXiv 1610.02357); in GANs, Ngxande et al. 2019 (arXiv 1903.02225). The depthwise part has the stride and
the padding. It has 1/out + 1/K^2 of the standard layer's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from frugan.convs import ConvFamily, Declined, Pads
from frugan.convs._primitives import Convolution, Transposed, exact
from frugan.convs._seam import check_between, joined
from frugan.ranges import Count
from frugan.registry import UserError, suggest

ORDERS = ("depthwise_first", "pointwise_first")


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    order: str = "depthwise_first", multiplier: Count = 1, between: str = "",
) -> nn.Module:
    """A depthwise K x K convolution of stride `stride` and a 1 x 1 convolution; `inner_norm` stands between them.

    Args:
        order: "depthwise_first" as in the papers. "pointwise_first" has the 1 x 1 layer at the input's resolution:
            cheaper for `up` (stride^2 times fewer multiply-accumulates in this layer), more expensive for `down`.
        multiplier: how many kernels each input channel has; the 1 x 1 layer then mixes this many times as many maps
            (Keras' depth_multiplier). Only with "depthwise_first".
        between: an activation between the two, after `inner_norm`: "tanh", "relu", "leaky_relu", or "" for none.
    """
    return _separable(
        partial(Convolution, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, inner_bias,
        inner_norm, padding, order, multiplier, between,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    order: str = "depthwise_first", multiplier: Count = 1, between: str = "",
) -> nn.Module:
    """A depthwise K x K transposed convolution and a 1 x 1 convolution; options as for `down`."""
    return _separable(
        partial(Transposed, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, inner_bias,
        inner_norm, padding, order, multiplier, between,
    )


def _separable(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool,
    inner_bias: bool | None, inner_norm: Callable[[int], nn.Module] | None, padding: Pads | None, order: str,
    multiplier: int, between: str,
) -> nn.Module:
    if order not in ORDERS:
        raise UserError(f"The family 'depthwise' has no order '{order}'. {suggest(order, ORDERS)}")
    if kernel == 1:
        raise Declined("a 1 x 1 kernel is pointwise already")
    first = order == "depthwise_first"
    if multiplier < 1 or (multiplier > 1 and not first):
        raise UserError(
            f"multiplier={multiplier} with order={order}: the family 'depthwise' takes a multiplier above 1 only with "
            "order=depthwise_first. Give multiplier=1, or that order."
        )
    check_between("depthwise", between)
    inside = bias if inner_bias is None else inner_bias
    around = exact(kernel, stride) if padding is None else padding
    channels = in_channels if first else out_channels
    seam = channels * multiplier
    spatial = convolution(
        channels, seam, (kernel, kernel), stride=(stride, stride), rows=around, columns=around, groups=channels,
        bias=inside if first else bias,
    )
    mixing = Convolution(seam if first else in_channels, out_channels, (1, 1), bias=bias if first else inside)
    pieces = ("depthwise", spatial), ("pointwise", mixing)
    return joined(*(pieces if first else pieces[::-1]), seam, inner_norm, between)



variant = ConvFamily("depthwise", same=partial(down, stride=1), down=down, up=up)
