"""The two primitive convolutions that every family is made of: torch's own, with any padding on any side, and a tag.

Parameters and their names are torch's (`weight`, `bias`); a faster kernel may replace the function that `forward`
calls, never these.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from frugan.convs import Pads

NONE: Pads = (0, 0)


class Convolution(nn.Conv2d):
    """A convolution with padding (before, after) for each axis.

    Args:
        kernel, stride: (height, width).
        rows, columns: padding (before, after) along height and width.
        tag: "spatial", or "pointwise" for 1 x 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
        rows: Pads = NONE, columns: Pads = NONE, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
    ) -> None:
        even = rows[0] == rows[1] and columns[0] == columns[1]
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=(rows[0], columns[0]) if even else 0,
            groups=groups, bias=bias, padding_mode=padding_mode,
        )
        self.tag = "pointwise" if tuple(kernel) == (1, 1) else "spatial"
        self.uneven = None if even else (*columns, *rows)

    def forward(self, input: Tensor) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``."""
        if self.uneven is not None:
            input = functional.pad(input, self.uneven, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)
        return super().forward(input)


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution whose full output, (n - 1) stride + kernel long, is cropped (before, after) on each axis.

    A crop that is smaller after than before is torch's `output_padding`; one that is larger is cut off afterwards; a
    negative one appends zeros.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
        rows: Pads = NONE, columns: Pads = NONE, groups: int = 1, bias: bool = True,
    ) -> None:
        padding = (max(rows[0], 0), max(columns[0], 0))
        extra = tuple(max(before - after, 0) for before, after in ((padding[0], rows[1]), (padding[1], columns[1])))
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=padding, output_padding=(extra[0], extra[1]),
            groups=groups, bias=bias,
        )
        self.tag = "pointwise" if tuple(kernel) == (1, 1) and tuple(stride) == (1, 1) else "spatial"
        self.cut = (max(rows[1] - padding[0], 0), max(columns[1] - padding[1], 0))

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``."""
        output = super().forward(input, output_size)
        below, right = self.cut
        return output[..., : output.shape[-2] - below, : output.shape[-1] - right] if below or right else output


def exact(kernel: int, stride: int) -> Pads:
    """The padding (or, for `up`, the crop) with which a layer keeps, divides or multiplies the size exactly."""
    total = kernel - stride
    before = max(total, 0) // 2
    return before, total - before


def narrower(padding: Pads | None, kernel: int, to: int) -> Pads | None:
    """The padding for a smaller kernel that looks at the same centre: half of the difference less on either side."""
    if padding is None:
        return None
    less = kernel - to
    return padding[0] - less // 2, padding[1] - (less - less // 2)

