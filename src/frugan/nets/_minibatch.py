"""Layers by which a discriminator sees how much the images of a batch differ.

They look at a batch in training alone. In evaluation mode each image is judged as if it were by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from frugan.registry import UserError


def check_groups(modules: Iterable[nn.Module], counts: Iterable[int]) -> None:
    """Raise UserError if a layer that compares groups of images cannot divide a batch of one of these counts."""
    for module in modules:
        if isinstance(module, MinibatchDeviation):
            for count in counts:
                module.size_of(count)


class MinibatchDeviation(nn.Module):
    """One more map that says how much a group of images deviates (Karras et al. 2018, arXiv 1710.10196, section 3).

    Of n images, m groups of `group` each: image i belongs to group i mod m. Of every channel and pixel the population
    standard deviation over the group is taken, sqrt(variance + 1e-8), and the mean of all these is written to every
    pixel of the new map. Computed in at least float32. Input ``[n, c, h, w]``, output ``[n, c + 1, h, w]``.

    Args:
        group: the largest size of a group; None for the whole batch, as in the paper. Where it does not divide the
            batch, the next smaller size that does is taken.

    Raises UserError for a batch that cannot be divided into groups of 2 or more. A single image deviates from nothing;
    whoever trains with such batches is refused before (`frugan.losses.compatibility`).
    """

    def __init__(self, group: int | None) -> None:
        super().__init__()
        if group is not None and group < 2:
            raise UserError(
                f"group={group}: give how many images are compared, 2 or more, or null for the whole batch."
            )
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        count, _, height, width = input.shape
        size = self.size_of(count) if self.training else 1
        wide = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        grouped = wide.reshape(size, count // size, *input.shape[1:])  # row i of the batch is in group i mod m
        deviation = ((grouped - grouped.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
        made = deviation.to(input.dtype).repeat(size)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([input, made], dim=1)

    def size_of(self, count: int) -> int:
        """How many images of a batch of `count` form a group."""
        most = count if self.group is None else min(self.group, count)
        size = next(size for size in range(most, 0, -1) if count % size == 0)
        if size == 1 < count:
            raise UserError(
                f"The discriminator compares images in groups of up to {most}, and {count} images in a batch of one "
                f"process cannot be divided so. Give a batch that is a multiple of {most}, or "
                "discriminator.minibatch=none."
            )
        return size

    def extra_repr(self) -> str:
        return f"group={self.group}"


class MinibatchDiscrimination(nn.Module):
    """Learnt features of how near an image is to the others (Salimans et al. 2016, arXiv 1606.03498, section 3.2).

    Input ``[n, features]``, output ``[n, features + kernels]``: the features, then for each kernel the sum over the
    other images of exp(-|M_i - M_j|), with M the image's projection to `size` numbers and the distance L1.
    """

    def __init__(self, features: int, kernels: int = 100, size: int = 5) -> None:
        super().__init__()
        self.kernels, self.size = kernels, size
        self.projection = nn.Linear(features, kernels * size, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        projected = self.projection(input).float().unflatten(1, (self.kernels, self.size))
        if not self.training:
            return torch.cat([input, input.new_zeros(input.shape[0], self.kernels)], dim=1)
        near = (-(projected[:, None] - projected[None]).abs().sum(3)).exp().sum(1) - 1  # without itself
        return torch.cat([input, near.to(input.dtype)], dim=1)
