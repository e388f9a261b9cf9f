"""Residual blocks that double or halve the image, and how many channels BigGAN gives them at each image size.

Brock et al. 2019 (arXiv 1809.11096), appendix B, as in the authors' PyTorch code. Its shortcut is a 1 x 1 layer on the
larger image; here it sees the smaller one, before upsampling or after pooling. The numbers are the same (both steps are
linear), for a quarter of the shortcut's work.

Layers that a family may build have the roles ``block.NUMBER.0`` and ``block.NUMBER.1``; shortcuts are standard.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from frugan.batch import ImageShape
from frugan.convs import Convolution, Layers
from frugan.nets._attention import SelfAttention
from frugan.nets._choices import halvings
from frugan.nets._norms import ConditionalBatchNorm
from frugan.registry import UserError

UP = {1: (4, 4), 2: (4, 4, 4), 3: (4, 4, 4, 4), 4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1),
      6: (16, 16, 8, 8, 4, 2, 1)}  # fmt: skip
"""By how often the image is doubled: the base widths before the first block and after each. 3 is 32 pixels, 6 is 256.
Images under 32 pixels, which the paper does not have, take the form of 32."""

DOWN = {1: (4, 4, 4), 2: (4, 4, 4, 4), 3: (4, 4, 4, 4), 4: (1, 2, 4, 8, 16), 5: (1, 2, 4, 8, 16, 16),
        6: (1, 2, 4, 8, 8, 16, 16)}  # fmt: skip
"""By how often the image could be halved: the base widths after each block."""

KEEP = {1: 2, 2: 2, 3: 2}
"""How many of the last blocks keep the size; one, where nothing is said."""


def doublings(image: ImageShape, owner: str) -> tuple[int, int, int]:
    """How often an image is doubled from its smallest map, and that map's height and width.

    Raises UserError for images that there are no widths for, with those that there are.
    """
    stages, height, width = halvings(image, owner)
    if stages not in UP:
        raise UserError(
            f"{owner} makes images that can be halved up to {max(UP)} times with 4 pixels left, such as 32 x 32, "
            f"64 x 64, 128 x 128 or 256 x 256; {image.height} x {image.width} can be halved {stages} times. Give one "
            "of these sizes, e.g. data.size=128."
        )
    return stages, height, width


def normed(norm: nn.Module, x: Tensor, told: Tensor | None) -> Tensor:
    """A norm's output, given what the network is told if it takes that."""
    return norm(x, told) if isinstance(norm, ConditionalBatchNorm) else norm(x)


class UpBlock(nn.Module):
    """Doubles the image: norm, ReLU, upsampling, 3 x 3, norm, ReLU, 3 x 3, plus a shortcut.

    ``[n, before, h, w]`` and what its norms are told to ``[n, after, 2 h, 2 w]``.

    Args:
        number: of the block in its network, for roles.
        norm: makes a norm for so many features, a `ConditionalBatchNorm` or one of torch's.
    """

    def __init__(
        self, number: int, before: int, after: int, layers: Layers, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList([norm(before), norm(after)])
        # A bias inside a layer that is split would be one more shift before the next norm.
        self.enlarge = nn.Sequential(
            nn.Upsample(scale_factor=2), layers.same(f"block.{number}.0", before, after, 3, inner_bias=False)
        )
        self.keep = layers.same(f"block.{number}.1", after, after, 3, inner_bias=False)
        self.shortcut = Convolution(before, after, (1, 1))

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        # Out of place: the shortcut needs x as it is.
        hidden = self.enlarge(functional.relu(normed(self.norms[0], x, told)))
        hidden = self.keep(functional.relu(normed(self.norms[1], hidden, told)))
        return hidden + functional.interpolate(self.shortcut(x), scale_factor=2.0)


class DownBlock(nn.Module):
    """Halves the image, or keeps its size: ReLU, 3 x 3, ReLU, 3 x 3, average pooling, plus a shortcut; no norms.

    ``[n, before, h, w]`` to ``[n, after, h / 2, w / 2]``. The first block of a network sees images, which have no ReLU
    before them.
    """

    def __init__(self, number: int, before: int, after: int, layers: Layers, halve: bool) -> None:
        super().__init__()
        self.first = number == 0
        self.halve = halve
        self.enter = layers.same(f"block.{number}.0", before, after, 3, inner_bias=False)
        self.keep = layers.same(f"block.{number}.1", after, after, 3, inner_bias=False)
        self.shortcut = Convolution(before, after, (1, 1)) if halve or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.keep(functional.relu(self.enter(x if self.first else functional.relu(x))))
        if self.halve:
            hidden, x = functional.avg_pool2d(hidden, 2), functional.avg_pool2d(x, 2)
        return hidden + self.shortcut(x)


def attend_at(side: int, height: int, channels: int) -> list[nn.Module]:
    """Self-attention, if this is the side of the map that it was asked for."""
    return [SelfAttention(channels)] if side == height else []


def judging_stages(
    image: ImageShape, layers: Layers, base: int, attention: int, owner: str
) -> tuple[list[nn.Module], int]:
    """BigGAN's discriminator up to its last ReLU, as stages of one block each, and the channels after the last.

    Args:
        base: channels of the base width.
        attention: the height of the map after which self-attention stands, once; 0 for none.

    Raises UserError for images of another size, or without a map of that height.
    """
    doubled, height = doublings(image, owner)[0], image.height
    widths = [base * factor for factor in DOWN[doubled]]
    halving = len(widths) - KEEP.get(doubled, 1)
    stages: list[nn.Module] = []
    before, heights = image.channels, []
    for number, after in enumerate(widths):
        height //= 2 if number < halving else 1
        attending = attend_at(attention if attention not in heights else 0, height, after)
        heights.append(height)
        block = DownBlock(number, before, after, layers, number < halving)
        stages.append(nn.Sequential(block, *attending) if attending else block)
        before = after
    check_attention(attention, heights, owner)
    return stages, before


def check_attention(attention: int, heights: list[int], owner: str) -> None:
    """Raise UserError if self-attention was asked for at a height that no block ends with."""
    if attention and attention not in heights:
        listed = ", ".join(str(height) for height in dict.fromkeys(heights))
        raise UserError(
            f"attention={attention}: {owner} has no block that ends with maps of that height. Its blocks end at "
            f"{listed}; attention=0 is none."
        )
