"""How long `frugan evaluate RUN` takes on folders of 64-pixel images, with all that is made on the way. Gate: 120 s.

Each folder is new to the cache: packing, the judge's training, the generator's images, features, metrics and floors are
all counted. The generator is that of `dcgan-64`, untrained, since the time does not depend on its weights. The images
are drawn portraits, in two classes by an attribute that is hard to see, or without labels. The gate is for the seconds
that the processor worked, divided by the number of threads, since other programs make the clock's seconds longer; both
are printed. The short form takes 50 and 600 images.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import arguments, finish, show

import frugan
from frugan import data
from frugan.cache import cached_in

LIMIT, COUNTS, QUICK_COUNTS = 120.0, (50, 600, 5_000, 50_000), (50, 600)
HARD = "smile"


def write(folder: Path, count: int, labelled: bool) -> Path:
    """An .npz of so many portraits; where there are fewer different ones, some come again with a little noise."""
    drawn = data.open_dataset("portraits", size=64, limit=min(count, 5_000))
    rows = torch.arange(count) % len(drawn)
    images = drawn.images.index_select(0, rows).permute(0, 2, 3, 1).numpy()
    if count > len(drawn):
        noise = np.random.default_rng(0).integers(0, 4, (count, 64, 64, 1), np.uint8)
        images = np.minimum(images, 251) + noise
    path = folder / "photos.npz"
    arrays = {"images": images}
    if labelled:
        assert drawn.labels is not None
        arrays["labels"] = drawn.labels[rows, drawn.attributes.index(HARD)].numpy()
    np.savez(path, **arrays)
    return path


def measure(count: int, labelled: bool) -> dict[str, Any]:
    """Seconds of one evaluation by the clock and of the processor, its metrics, and its lines of progress."""
    with tempfile.TemporaryDirectory() as place:
        photos = str(write(Path(place), count, labelled))
        with cached_in(Path(place) / "cache"):
            return evaluated(photos, Path(place) / "run")


def evaluated(photos: str, out: Path) -> dict[str, Any]:
    """As `measure`, of a run on these images that has hardly begun."""
    keys = {"data.size": 64, "data.channels": 3, "batch_size": 32}
    run = frugan.train("dcgan-64", data=photos, images=128, out=out, quiet=True, changes=keys, device="cpu")
    lines: list[str] = []
    start, worked = time.perf_counter(), time.process_time()
    values = frugan.evaluate(run.path, progress=lines.append, device="cpu")
    return {
        "seconds": time.perf_counter() - start,
        "of_the_processor": (time.process_time() - worked) / torch.get_num_threads(),
        "metrics": [value["metric"] for value in values], "lines": len(lines),
    }  # fmt: skip


def main() -> None:
    options = arguments(__doc__ or "")
    taken: dict[str, dict[str, Any]] = {}
    for count in QUICK_COUNTS if options.quick else COUNTS:
        for labelled in (False, True):
            name = f"{count:,} images, {'two hard classes' if labelled else 'no labels'}"
            taken[name] = measure(count, labelled)
            print(f"{name}: {taken[name]['seconds']:.0f} s", flush=True)
    show(
        ["folder", "seconds", "of the processor", "lines", "metrics"],
        [[name, round(one["seconds"]), round(one["of_the_processor"]), one["lines"], ", ".join(one["metrics"])]
         for name, one in taken.items()],
    )  # fmt: skip
    longest = max(one["of_the_processor"] for one in taken.values())
    gate = f"every evaluation in at most {LIMIT:g} s of the processor on all threads"
    finish(options, {"evaluations": taken, "threads": torch.get_num_threads()}, met=longest <= LIMIT, gate=gate)


if __name__ == "__main__":
    main()
