"""The factorised family: a K x K kernel becomes K x 1 then 1 x K, or two smaller kernels, or both at once.

Szegedy et al. 2015 (arXiv 1512.00567), as the public project `josephjojoe/factorised-image-generation` uses it for
generators. One thing differs: a stride s is split into (s, 1) and (1, s), so an `up` layer multiplies the size by s
without holes. `holes=True` does it as in the project.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from torch import nn

from frugan.convs import ConvFamily, Declined, Pads
from frugan.convs._primitives import NONE, Convolution, Transposed, exact, narrower
from frugan.convs._seam import check_between, joined
from frugan.ranges import Range
from frugan.registry import UserError, suggest

FORMS = ("pair", "small", "both")
Middle = Annotated[float, Range(above=0, most=1_000, such_as="0.5")]


def down(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    form: str = "pair", middle: Middle = 1.0, holes: bool = False, between: str = "",
) -> nn.Module:
    """The pieces of a K x K convolution, in this order, with M = middle x out_channels between them.

    Args:
        form: "pair" is K x 1 then 1 x K; "small" two kernels of (K + 1) / 2 that together see as far as one K x K
            (two 3 x 3 for K = 5), for odd K from 5; "both" those two, each split into a pair.
        middle: the width between the pieces as a multiple of `out_channels`.
        holes: both halves of a pair have the stride (s, s), so the size changes by s^2, and an `up` layer leaves zeros
            between its values. This is an error of the published project, kept to reproduce its numbers.
        between: an activation, after `inner_norm`: "tanh", "relu", "leaky_relu", or "" for none.

    `inner_norm` and `between` are between the two halves of a pair; in "both", between the pairs. Raises Declined
    if there is nothing to split.
    """
    return _pieces(
        partial(Convolution, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, inner_bias,
        inner_norm, padding, form, middle, holes, between, stride_first=True,
    )


def up(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, bias: bool = True,
    inner_bias: bool | None = None, inner_norm: Callable[[int], nn.Module] | None = None, padding: Pads | None = None,
    padding_mode: str = "zeros",
    form: str = "pair", middle: Middle = 1.0, holes: bool = False, between: str = "",
) -> nn.Module:
    """The pieces of a K x K transposed convolution; options as for `down`."""
    return _pieces(
        partial(Transposed, padding_mode=padding_mode), in_channels, out_channels, kernel, stride, bias, inner_bias,
        inner_norm, padding, form, middle, holes, between, stride_first=False,
    )


def _pieces(
    convolution: Callable[..., nn.Module], in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool,
    inner_bias: bool | None, inner_norm: Callable[[int], nn.Module] | None, padding: Pads | None, form: str,
    middle: float, holes: bool, between: str, *, stride_first: bool,
) -> nn.Module:
    if form not in FORMS:
        raise UserError(f"The family 'factorised' has no form '{form}'. {suggest(form, FORMS)}")
    check_between("factorised", between)
    if holes and form != "pair":
        raise UserError(
            f"The option holes of the family 'factorised' only works with form=pair, not with form={form}. Leave holes "
            "out, or give form=pair."
        )
    if kernel == 1:
        raise Declined("a 1 x 1 kernel has nothing to split")
    if form != "pair" and (kernel < 5 or kernel % 2 == 0):
        raise Declined(f"two smaller kernels replace an odd kernel of 5 or more, not {kernel} x {kernel}")

    width = max(1, round(middle * out_channels))
    inside = bias if inner_bias is None else inner_bias
    around = exact(kernel, stride) if padding is None else padding
    if form == "pair":
        tall, wide = _halves(convolution, in_channels, width, out_channels, kernel, stride, around, inside, bias, holes)
        return joined(("tall", tall), ("wide", wide), width, inner_norm, between)

    size = (kernel + 1) // 2
    # The stride goes where the image is smaller already: first when halving, last when doubling.
    steps = [(stride, narrower(around, kernel, size)), (1, exact(size, 1))]
    (one, one_around), (two, two_around) = steps if stride_first else steps[::-1]
    if form == "small":
        first = convolution(
            in_channels, width, (size, size), stride=(one, one), rows=one_around, columns=one_around, bias=inside
        )
        second = convolution(
            width, out_channels, (size, size), stride=(two, two), rows=two_around, columns=two_around, bias=bias
        )
    else:
        first, second = (
            joined(("tall", tall), ("wide", wide), width, None, "")
            for tall, wide in (
                _halves(convolution, in_channels, width, width, size, one, one_around, inside, inside, False),
                _halves(convolution, width, width, out_channels, size, two, two_around, inside, bias, False),
            )
        )
    return joined(("first", first), ("second", second), width, inner_norm, between)


def _halves(
    convolution: Callable[..., nn.Module], in_channels: int, width: int, out_channels: int, kernel: int, stride: int,
    around: Pads, inside: bool, bias: bool, holes: bool,
) -> tuple[nn.Module, nn.Module]:
    """K x 1 and 1 x K. With holes each also strides along the axis on which it is one wide."""
    across, beside = (stride, exact(1, stride)) if holes else (1, NONE)
    return (
        convolution(in_channels, width, (kernel, 1), stride=(stride, across), rows=around, columns=beside, bias=inside),
        convolution(width, out_channels, (1, kernel), stride=(across, stride), rows=beside, columns=around, bias=bias),
    )


variant = ConvFamily("factorised", same=partial(down, stride=1), down=down, up=up)
