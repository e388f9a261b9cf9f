"""Portraits: faces in colour that frugan draws itself. Their attributes are known and independent of each other.

They are not photographs, and nobody's face. Each has one of three hair colours or none (then it is ginger, white if
old, or bald). Eight more attributes are drawn independently, with the shares in `SHARES`. Pose, light, proportions and
clothes vary too. Image i of a split depends on (split, i) only. Portraits are drawn in the size that is asked for, not
resized; sizes from 32 to 256 pixels look best.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from frugan import seeds
from frugan.data.faces import CHANCES, Faces, draw
from frugan.data.readers import Content, Found, Item, Reader

HAIR = ("black_hair", "blond_hair", "brown_hair")  # a quarter each; the last quarter has none of them
SHARES = {
    "glasses": 0.4, "smile": 0.5, "beard": 0.4, "hat": 0.3, "old": 0.4, "long_hair": 0.5, "dark_skin": 0.4,
    "blue_background": 0.5,
}  # fmt: skip
ATTRIBUTES = (*HAIR, *SHARES)
COUNTS = {"train": 20_000, "test": 4_000}
SIDE = 64  # pixels, where no size is asked for
_DRAWING = 1  # raise when the drawing changes: packs of an older one are then made anew
_SEED = 0
_PIXELS = 65_536  # drawn at once: arrays of that length stay in a processor's cache


@functools.cache
def attributes(split: str) -> np.ndarray:
    """The bits of every portrait of a split, int64 ``[count, len(ATTRIBUTES)]``."""
    generator = seeds.generator(_SEED, "portraits", "attributes", split)
    random = torch.rand((COUNTS[split], 1 + len(SHARES)), generator=generator, dtype=torch.float64).numpy()
    hair = (4 * random[:, :1]).astype(int) == np.arange(len(HAIR))
    return np.concatenate([hair, random[:, 1:] < list(SHARES.values())], axis=1).astype(np.int64)


def faces(split: str, numbers: Sequence[int]) -> Faces:
    """The attributes and random numbers that the portraits with these numbers are drawn from."""
    bits, chances = attributes(split)[list(numbers)], _chances(split)[list(numbers)]
    return Faces(
        {name: bits[:, place] > 0 for place, name in enumerate(ATTRIBUTES)},
        {name: chances[:, place] for place, name in enumerate(CHANCES)},
    )


@functools.cache
def _chances(split: str) -> np.ndarray:
    generator = seeds.generator(_SEED, "portraits", "chances", split)
    return torch.rand((COUNTS[split], len(CHANCES)), generator=generator, dtype=torch.float64).numpy()


def _items(split: str, numbers: Sequence[int], height: int, width: int) -> Iterator[Item]:
    """The portraits with the given numbers, some at once on every thread."""
    chunk = max(1, _PIXELS // (height * width))
    threads = min(os.cpu_count() or 1, 16)

    def drawn(part: Sequence[int]) -> np.ndarray:
        return draw(faces(split, part), height, width)

    with ThreadPoolExecutor(threads) as pool:
        ahead = 4 * threads * chunk  # what may wait in memory
        for first in range(0, len(numbers), ahead):
            some = numbers[first : first + ahead]
            chunks = [some[start : start + chunk] for start in range(0, len(some), chunk)]
            for part, images in zip(chunks, pool.map(drawn, chunks), strict=True):
                yield from (Item(f"portrait {number}", image) for number, image in zip(part, images, strict=True))


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    height, width = size or (SIDE, SIDE)

    def open_() -> Content:
        def read(numbers: Sequence[int]) -> Iterator[Item]:
            return _items(split, numbers, height, width)

        return Content(COUNTS[split], read, attributes(split), attributes=ATTRIBUTES)

    return Found("portraits", {"portraits": _DRAWING, "size": [height, width]}, open_)


variant = Reader(
    what="faces drawn with eleven attributes, built in",
    typed="portraits",
    accepts=lambda source: source == "portraits",
    splits=lambda source: ("train", "test"),
    find=_find,
    built_in=(("portraits", "drawn faces in colour with eleven attributes", 0),),
    terms="Drawn by frugan, nobody's photographs; nobody else has a claim to them.",
)
