"""Seconds to pack a folder of 60,000 digits, a PNG file each, into one array of bytes. Gate: 30 s on 2 cores.

The digits are the built-in glyphs, written as files in class folders before the time is taken. The quick form packs a
sixth of them and has a sixth of the gate. Opening the finished pack is timed too; it has to look at every file.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from _report import arguments, finish, show
from PIL import Image

from frugan.data import open_dataset
from frugan.data.readers import glyphs

IMAGES = 60_000
LIMIT = 30.0  # seconds


def write_digits(folder: Path, count: int) -> None:
    """`count` digits as ``<class>/<number>.png``."""
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
    for number, pixels in enumerate(glyphs.draw("digits", "train", range(count), (28, 28))):
        Image.fromarray(pixels[:, :, 0]).save(folder / str(number % 10) / f"{number:05}.png")


def main() -> None:
    options = arguments(__doc__ or "")
    count = IMAGES // 6 if options.quick else IMAGES
    limit = LIMIT * count / IMAGES
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "digits", Path(place) / "cache"
        write_digits(folder, count)
        start = time.perf_counter()
        packed = open_dataset(str(folder), cache=cache)
        packing = time.perf_counter() - start
        start = time.perf_counter()
        again = open_dataset(str(folder), cache=cache)
        opening = time.perf_counter() - start
        same = packed.content_hash == again.content_hash and len(again) == count
    show(["", "images", "seconds"], [["packing", count, packing], ["opening again", count, opening]])
    result = {
        "images": count,
        "packing_seconds": packing,
        "opening_seconds": opening,
        "content_hash": packed.content_hash,
    }
    finish(options, result, met=same and packing <= limit, gate=f"{count:,} PNG digits packed in at most {limit:g} s")


if __name__ == "__main__":
    main()
