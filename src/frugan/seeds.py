"""Randomness by name: every stream of random numbers follows from (seed, what it is for, how far the run is).

Streams with different names do not shift one another, so two twins that differ in one layer still see the same images
in the same order and the same latents (the pairing that a comparison rests on).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, independent of every other stream of the same `seed`."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU random generator for the stream called `names`; drawn on the CPU, numbers are the same on every device."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))


def others(count: int) -> torch.Tensor:
    """For each of `count` rows, 2 or more, the number of another one: always the same, and in no order.

    The next row would not do. Images are often ordered by class, and then it nearly always has the same one.
    """
    import torch

    circle = torch.randperm(count, generator=generator(0, "others", count))  # each row's other one stands before it
    found = torch.empty_like(circle)
    found[circle] = circle.roll(1)
    return found
