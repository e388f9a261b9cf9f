"""The two convolutions that every family is made of: torch's own, with any padding on any side, and a tag.

Parameters and their names are torch's (`weight`, `bias`). A faster kernel (`frugan.kernels`) may replace the function
that `forward` calls, but never the parameters. The upsampling without weights that two families share is also here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import kernels
from frugan.kernels import Call, Sliding
from frugan.registry import UserError

Pads = tuple[int, int]
NONE: Pads = (0, 0)


def pad(images: Tensor, rows: Pads, columns: Pads, mode: str = "zeros") -> Tensor:
    """Pad images ``[n, c, h, w]`` by `rows` and `columns`, each (before, after); negative numbers cut off."""
    if mode == "zeros":
        return functional.pad(images, (*columns, *rows))
    around = (*columns, *rows)
    cut, added = [min(side, 0) for side in around], [max(side, 0) for side in around]
    return functional.pad(functional.pad(images, cut), added, mode=mode)


class Convolution(nn.Conv2d):
    """A convolution with padding (before, after) for each axis; a negative number cuts off that side of the input.

    Args:
        kernel, stride: (height, width).
        rows, columns: padding (before, after) along height and width.
        tag: "spatial", or "pointwise" for 1 x 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
        rows: Pads = NONE, columns: Pads = NONE, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
    ) -> None:
        even = rows[0] == rows[1] >= 0 and columns[0] == columns[1] >= 0
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=(rows[0], columns[0]) if even else 0,
            groups=groups, bias=bias, padding_mode=padding_mode,  # pyrefly: ignore
        )
        self.tag = "pointwise" if tuple(kernel) == (1, 1) else "spatial"
        self.rows, self.columns = rows, columns
        self.uneven = not even

    def forward(self, input: Tensor) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``."""
        rows, columns, plain = self.rows, self.columns, self._plain
        if self.padding_mode != "zeros":
            input, plain = pad(input, rows, columns, self.padding_mode), self._unpadded
            rows = columns = NONE
        operation = "convolution" if self.groups == 1 else "grouped"
        settings = Sliding(self.stride, rows, columns, self.groups)
        return kernels.apply(Call(operation, settings, plain), input, self.weight, self.bias)

    def _plain(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self._skips:
            return self._skipping(pad(input, self.rows, self.columns, self.padding_mode), weight, bias)
        if self.uneven:
            input = pad(input, self.rows, self.columns, self.padding_mode)
        return self._conv_forward(input, weight, bias)  # pyrefly: ignore

    def _unpadded(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self._skips:
            return self._skipping(input, weight, bias)
        return functional.conv2d(input, weight, bias, self.stride, 0, 1, self.groups)  # pyrefly: ignore

    @property
    def _skips(self) -> bool:
        """Whether it looks at single pixels and skips others, and is trained.

        For the gradient of such weights, oneDNN writes past the end of its memory on CPUs with AVX2 but no AVX-512 if
        the input's channels are not a multiple of 8 (docs/decisions/2026-11-30-strided-pointwise.md).
        """
        single = tuple(self.kernel_size) == (1, 1) and tuple(self.stride) != (1, 1)
        return single and torch.is_grad_enabled()

    def _skipping(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """The same with the skipped pixels left out first."""
        kept = input[..., :: self.stride[0], :: self.stride[1]]
        return functional.conv2d(kept, weight, bias, 1, 0, 1, self.groups)  # pyrefly: ignore


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution whose output is cropped (before, after) on each axis.

    The full output has the length (n - 1) stride + kernel. If the crop is smaller after than before, torch's
    `output_padding` does it; if it is larger, the rest is cut off afterwards. A negative crop adds zeros there (the
    bias is added to them, as in Keras).

    Raises UserError for a `padding_mode` other than "zeros": it would have no effect.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
        rows: Pads = NONE, columns: Pads = NONE, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
    ) -> None:
        if padding_mode != "zeros":
            raise UserError(
                f"padding_mode={padding_mode} was asked of a transposed convolution, which crops its output and pads "
                "nothing. Give it to layers that keep or divide the image size alone, or take another family here."
            )
        high, wide = _split(rows, stride[0]), _split(columns, stride[1])
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=(high[0], wide[0]),
            output_padding=(high[1], wide[1]), groups=groups, bias=bias,
        )
        self.tag = "pointwise" if tuple(kernel) == (1, 1) and tuple(stride) == (1, 1) else "spatial"
        self.rows, self.columns = rows, columns
        self.rest = high[2], wide[2]

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``."""
        if output_size is not None:
            return self._plain(input, self.weight, self.bias, output_size)
        operation = "transposed" if self.groups == 1 else "grouped_transposed"
        settings = Sliding(self.stride, self.rows, self.columns, self.groups)
        return kernels.apply(Call(operation, settings, self._plain), input, self.weight, self.bias)

    def _plain(
        self, input: Tensor, weight: Tensor | None, bias: Tensor | None, output_size: list[int] | None = None
    ) -> Tensor:
        rest = (*self.rest[0], *self.rest[1])
        grown = max(rest) > 0
        extra = self.output_padding
        if output_size is not None:
            extra = self._output_padding(
                input, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation  # pyrefly: ignore
            )
        output = functional.conv_transpose2d(
            input, weight, None if grown else bias, self.stride, self.padding, extra, self.groups  # pyrefly: ignore
        )
        if any(rest):
            # Cut by padding, not by slices: a batch norm takes three times as long where there are gaps between rows.
            output = pad(output, *self.rest)
        return output + bias.view(1, -1, 1, 1) if grown and bias is not None else output


def _split(crop: Pads, stride: int) -> tuple[int, int, Pads]:
    """A crop as torch's `padding` and `output_padding`, and what is left to add (if negative: cut) afterwards."""
    before, after = crop
    padding = max(0, min(before, after + stride - 1))  # torch wants output_padding below the stride
    extra = min(max(padding - after, 0), stride - 1)
    return padding, extra, (padding - before, padding - after - extra)


class AdditiveUpsample(nn.Module):
    """Bilinear additive upsampling: C x H x W -> C / stride^2 x stride H x stride W, without parameters.

    Wojna et al., "The Devil is in the Decoder", 2017 (arXiv 1707.05847): upsample bilinearly, then add groups of
    stride^2 consecutive channels, so that the number of values is unchanged. Here the groups are added first. Both
    steps are linear, so the result is the same with a fraction of the work. Corners are not aligned.
    """

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` to ``[n, c / stride^2, stride h, stride w]``."""
        n, channels, height, width = images.shape
        group = self.stride * self.stride
        added = images.view(n, channels // group, group, height, width).sum(2)
        return functional.interpolate(added, scale_factor=self.stride, mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


def exact(kernel: int, stride: int) -> Pads:
    """The padding (for `up`: the crop) with which a layer exactly keeps, divides or multiplies the size."""
    total = kernel - stride
    before = max(total, 0) // 2
    return before, total - before


def narrower(padding: Pads, kernel: int, to: int) -> Pads:
    """The padding that keeps a smaller kernel at the same centre: smaller by half of the difference on each side."""
    less = kernel - to
    return padding[0] - less // 2, padding[1] - (less - less // 2)


def beyond(padding: Pads | None, kernel: int, stride: int) -> Pads:
    """How much more `padding` adds (for `up`: crops) than `exact` does, before and after; (0, 0) if left out."""
    rule = exact(kernel, stride)
    return NONE if padding is None else (padding[0] - rule[0], padding[1] - rule[1])
