"""Latents: the random vectors that a generator turns into images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frugan.ranges import Range, Unfit
from frugan.registry import UserError, suggest
from frugan.seeds import generator

DISTRIBUTIONS = ("normal", "uniform")
_ROWS = 64


@dataclass(frozen=True)
class Latents:
    """Vectors of `size` independent numbers: standard normal, or uniform on [-1, 1] (the DCGAN paper's)."""

    size: int
    distribution: str = "normal"

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise UserError(
                f"Latents cannot have the distribution '{self.distribution}'. "
                f"{suggest(self.distribution, DISTRIBUTIONS)}"
            )

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """`count` new vectors ``[count, size]`` from a CPU random generator."""
        if self.distribution == "normal":
            return torch.randn(count, self.size, generator=random)
        return torch.rand(count, self.size, generator=random).mul_(2).sub_(1)

    def rows(self, start: int, count: int, seed: int, truncation: float | None = None) -> Tensor:
        """Vectors ``[count, size]`` number `start`, `start` + 1, ... of `seed`: vector i depends on (seed, i) alone.

        `truncation` (normal latents only) maps each number to the normal distribution cut off at +-truncation, keeping
        their order: a smaller value trades variety for typicality.
        """
        first, last = start // _ROWS, (start + count - 1) // _ROWS
        chunks = [self.draw(_ROWS, generator(seed, "latents", chunk)) for chunk in range(first, last + 1)]
        rows = torch.cat(chunks)[start - first * _ROWS :][:count]
        return rows if truncation is None else self._truncated(rows, truncation)

    def check_truncation(self, truncation: Any) -> None:
        """Raise UserError for a truncation that these latents cannot have."""
        if self.distribution != "normal":
            raise UserError(
                f"truncation={truncation}: only normal latents can be truncated; these latents are {self.distribution}."
            )
        try:
            Range(above=0, such_as="0.7").check(truncation, whole=False)
        except Unfit as unfit:
            raise UserError(f"truncation={truncation!r}: {unfit}.") from None

    def _truncated(self, rows: Tensor, truncation: float) -> Tensor:
        self.check_truncation(truncation)
        tail = 0.5 * math.erfc(truncation / math.sqrt(2))
        share = torch.special.ndtr(rows.double()).mul(1 - 2 * tail).add(tail)
        return torch.special.ndtri(share).clamp(-truncation, truncation).float()
