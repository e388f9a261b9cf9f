"""A look at a source: what kind of images it has, from some of them."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frugan import terminal
from frugan.arguments import Name, Source, strict
from frugan.countdown import Countdown
from frugan.data._known import known
from frugan.data._sources import Classes, find, wanted_of
from frugan.data.pack import Wanted, class_numbers, convert_all, open_content, renumber
from frugan.data.readers import Found
from frugan.registry import UserError

GREY = 16
"""How far the channels of a grey image may be apart, of 255, if it was saved in colour: JPEG moves them a little."""


@dataclass(frozen=True)
class Look:
    """What kind of images a source has, as `look` finds out from some of them.

    Args:
        count: how many images there are, less the share of those that cannot be used.
        looked_at: how many of them were read.
        usual: the most frequent (height, width), if half of the images or more have it; else one in the middle of all.
        often: whether half of them or more have it.
        channels: 3 if one of them has colours, else 1.
        classes: how many images each class has, by name; empty where there are none.
        alike: whether all are the same image.
    """

    count: int
    looked_at: int
    usual: tuple[int, int]
    often: bool
    channels: int
    classes: Mapping[str, int]
    alike: bool


@strict
def look(
    source: Source, *, split: Name = "train", only: Classes = (), limit: int | None = None, most: int = 60,
    cache: Path | None = None, announce: Callable[[str], None] = terminal.tell,
) -> Look:
    """What kind of images a source has, from at most `most` of them; nothing is packed.

    If that takes long, `announce` is called with lines about how far it is.

    The source is opened only the first time.

    Raises:
        UserError: there is no such source, split or class, or none of the images looked at can be used.
    """
    wanted = wanted_of(None, None, only, limit)
    found = find(source, split, None, cache)
    asked = ["look", wanted.only, limit, most]

    def find_out() -> dict[str, Any]:
        return asdict(_look(source, found, wanted, most, announce))

    seen: dict[str, Any] = known(found, split, asked, cache, find_out)
    height, width = seen.pop("usual")
    return Look(usual=(height, width), **seen)


def _look(source: str, found: Found, wanted: Wanted, most: int, announce: Callable[[str], None]) -> Look:
    content, numbers = open_content(found, wanted)
    spread = [numbers[place * len(numbers) // most] for place in range(most)] if len(numbers) > most else numbers
    countdown = Countdown(announce, f"Looking at {source}", len(spread))
    sizes, coloured, contents, reasons = [], False, set(), []
    for number, conversion in enumerate(convert_all(content, spread, wanted)):
        if conversion.converted is None:
            reasons.append(f"{conversion.path}: {conversion.reason}")
        else:  # photographs are large: none is kept
            pixels = conversion.converted.pixels
            sizes.append(pixels.shape[1:])
            coloured = coloured or _coloured(pixels)
            contents.add(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest())
        countdown.at(number + 1)
    if not sizes:
        raise UserError(
            f"{source}: none of the {len(spread)} files that were looked at is a usable image. "
            f"The first is {reasons[0]}. Put images there, or name another folder."
        )
    chosen = content.labels if not content.attributes else None
    names = [str(one) for one in wanted.only] or list(content.classes)
    if chosen is not None and wanted.only:
        chosen = renumber(chosen, class_numbers(found.name, content.classes, wanted.only))
    counts = {} if chosen is None else {
        name: int((chosen[numbers] == place).sum()) for place, name in enumerate(names)
    }
    usual, often = _usual(sizes)
    return Look(
        count=len(numbers) - round(len(reasons) / len(spread) * len(numbers)),
        looked_at=len(sizes),
        usual=usual,
        often=often,
        channels=3 if coloured else 1,
        classes=counts,
        alike=len(sizes) > 1 and len(contents) == 1,
    )


def _usual(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], bool]:
    """The (height, width) that half of the images have, and True; else one with the middle ratio and shorter side."""
    size, count = Counter(sizes).most_common(1)[0]
    if 2 * count >= len(sizes):
        return size, True
    ratio = statistics.median(math.log(height / width) for height, width in sizes)
    side = statistics.median_low(min(size) for size in sizes)
    longer = round(side * math.exp(abs(ratio)))
    return ((longer, side) if ratio > 0 else (side, longer)), False


def _coloured(pixels: np.ndarray) -> bool:
    """Whether an image ``[channels, height, width]`` has colours: grey photographs are often saved with three channels.

    A few grey levels apart are JPEG's doing.
    """
    return len(pixels) == 3 and int((pixels.max(0) - pixels.min(0)).max()) > GREY
