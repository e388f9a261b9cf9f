"""A convolution family of your own: ghost convolutions (Han et al. 2020, arXiv 1911.11907).

A convolution makes half of the output channels. The other half is made from these by one cheap 3 x 3 kernel each.

    frugan check examples/extending/ghost.py
    frugan compare mnist --code examples/extending/ghost.py --families standard,ghost --data glyphs --images 60k
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frugan import convs
from frugan.convs import ConvFamily, Convolution, Declined

standard = convs.find("standard")


class Ghost(nn.Module):
    """Images ``[n, in, h, w]`` to ``[n, out, h', w']``: channels of `primary`, then what `cheap` makes of them."""

    def __init__(self, primary: nn.Module, norm: nn.Module | None, cheap: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.primary, self.norm, self.cheap, self.out_channels = primary, norm, cheap, out_channels

    def forward(self, images: Tensor) -> Tensor:
        made = self.primary(images)
        seen = made if self.norm is None else self.norm(made)
        return torch.cat([made, self.cheap(seen)], 1)[:, : self.out_channels]


def ghostly(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Turn a function that builds standard layers into one that builds layers of this family."""

    def layer(
        in_channels: int, out_channels: int, kernel: int, *, bias: bool = True, inner_bias: bool | None = None,
        inner_norm: Callable[[int], nn.Module] | None = None, cheap_kernel: int = 3, **rest: Any,
    ) -> nn.Module:
        if out_channels < 2:
            raise Declined("one channel has no half")
        half, pads = (out_channels + 1) // 2, ((cheap_kernel - 1) // 2, cheap_kernel // 2)
        primary = build(in_channels, half, kernel, bias=bias, **rest)
        cheap = Convolution(
            half, half, (cheap_kernel, cheap_kernel), rows=pads, columns=pads, groups=half,
            bias=bias if inner_bias is None else inner_bias,
        )
        return Ghost(primary, None if inner_norm is None else inner_norm(half), cheap, out_channels)

    return layer


convs.add("ghost", ConvFamily("ghost", ghostly(standard.same), ghostly(standard.down), ghostly(standard.up)))
