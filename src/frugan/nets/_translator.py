"""The translators of StarGAN and CycleGAN: halve, keep, double, around residual blocks, whatever the size of the image.

Both follow Johnson et al. 2016 (arXiv 1603.08155); they differ in kernels, padding, biases and norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from frugan.batch import SIGNED, ImageShape, Range
from frugan.convs import Layers, Pads
from frugan.nets import scaled
from frugan.nets._choices import divided
from frugan.nets._condition import Entrance
from frugan.nets._norms import InstanceNorm
from frugan.registry import UserError


class Residual(nn.Module):
    """What `body` makes of its input, added to the input."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Translator(nn.Module):
    """Images ``[n, c, h, w]``, with labels or bits if it takes any, to as large images in `image_range`.

    Any height and width that are multiples of `multiple` will do, not only those of `image`.
    """

    def __init__(
        self, image: ImageShape, entrance: Entrance, body: nn.Module, multiple: int, image_range: Range = SIGNED
    ) -> None:
        super().__init__()
        self.image = image
        self.classes = entrance.classes
        self.multiple = multiple
        self.image_range = image_range
        self.entrance = entrance
        self.body = body

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        _, channels, height, width = images.shape
        if channels != self.image.channels or height % self.multiple or width % self.multiple:
            raise UserError(
                f"The images have the shape {list(images.shape)}, but this network needs [count, "
                f"{self.image.channels}, height, width] with a height and width that are multiples of {self.multiple}."
            )
        return self.body(self.entrance(images, condition))


@dataclass(frozen=True)
class Style:
    """How the layers of one translator are built, beside their number and width.

    Args:
        ends: kernel of the first and the last layer; `kernel`: of those that halve and double.
        down, up: padding and crop (before, after) of those; None is the rule that is exact.
        bias: of every layer before a norm; `output_bias`: of the last layer.
        affine: whether the instance norms have parameters.
        stem_padding, padding: modes of the first layer's padding, and of the blocks' and the last one's.
    """

    ends: int
    kernel: int
    down: Pads | None
    up: Pads | None
    bias: bool
    output_bias: bool
    affine: bool
    stem_padding: str
    padding: str


def translator(
    image: ImageShape, layers: Layers, entrance: Entrance, style: Style, *, width: float, channels: int, stages: int,
    blocks: int, block_layers: Sequence[int],
) -> Translator:
    """A translator of `stages` halvings from `channels` on, residual blocks, and as many doublings.

    Roles: ``stem``, ``down.i``, ``block.i.j``, ``up.i``, ``output``. `block_layers` is one number for all blocks or one
    for each. Raises UserError for numbers that do not fit, or an image that cannot be halved so often.
    """
    if stages < 0 or blocks < 0:
        raise UserError(f"stages={stages}, blocks={blocks}: give whole numbers, 0 or more.")
    counts = list(block_layers) * blocks if len(block_layers) == 1 else list(block_layers)
    if len(counts) != blocks or not all(isinstance(count, int) and count >= 1 for count in counts):
        raise UserError(
            f"block_layers={list(block_layers)}: give one whole number above 0 for all blocks, e.g. [2], or one for "
            f"each of the {blocks} blocks."
        )
    divided(image, 2**stages, "This translator")
    now = scaled(channels, width)

    def finished(layer: nn.Module, features: int) -> list[nn.Module]:
        # The norm rectifies in the same pass; the ReLU's place stays, since parameters are named by their places.
        return [layer, InstanceNorm(features, affine=style.affine, rectify=True), nn.Identity()]

    body = finished(
        layers.same("stem", entrance.channels, now, style.ends, bias=style.bias, padding_mode=style.stem_padding), now
    )
    for stage in range(stages):
        down = layers.down(f"down.{stage}", now, 2 * now, style.kernel, bias=style.bias, padding=style.down)
        body += finished(down, 2 * now)
        now *= 2
    for block, count in enumerate(counts):
        inside: list[nn.Module] = []
        for number in range(count):
            kept = layers.same(f"block.{block}.{number}", now, now, 3, bias=style.bias, padding_mode=style.padding)
            inside += finished(kept, now)
        inside[-2:] = [InstanceNorm(now, affine=style.affine, rectify=False)]  # no ReLU here, nor after the sum
        body.append(Residual(nn.Sequential(*inside)))
    for stage in range(stages):
        up = layers.up(f"up.{stage}", now, now // 2, style.kernel, bias=style.bias, padding=style.up)
        body += finished(up, now // 2)
        now //= 2
    last = layers.same(
        "output", now, image.channels, style.ends, bias=style.output_bias, padding_mode=style.padding
    )
    return Translator(image, entrance, nn.Sequential(*body, last, nn.Tanh()), 2**stages)
