"""Time and memory of a round of training as batch, image size, width and size of the data set grow.

One recipe, `dcgan-64-faithful`, and one axis at a time from the same middle. Every point has a process of its own, so
that its peak of memory is its own too. The middle is measured again on each axis, which shows if the machine became
slower or faster between two axes. Kernels and precision are those of a usual run. Data are zeros in a sparse file,
memory-mapped like packed data: the question is what a data set costs besides its images.

For each point the local exponent is printed, log(time ratio) / log(size ratio) to the point before. 1 means
proportional; below 1, some work is shared; above 1, something no longer fits (a cache, say). ``--record`` also draws
docs/images/scale.png. docs/results/scale.md explains the curves.

Gate: a data set of a million images takes at most 32 bytes of memory an image, besides the images that were used.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from _report import arguments, finish, show, spread

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "scale.png"
MIDDLE = {"batch": 64, "size": 64, "width": 0.5, "images": 10_000}
AXES: dict[str, Sequence[float]] = {
    "batch": (8, 16, 32, 64, 128, 256),
    "size": (16, 32, 64, 128),
    "width": (0.125, 0.25, 0.5, 1.0),
    "images": (1_000, 10_000, 100_000, 1_000_000),
}
QUICK_MIDDLE = {"batch": 4, "size": 16, "width": 0.125, "images": 1_000}
QUICK_AXES: dict[str, Sequence[float]] = {
    "batch": (4, 8), "size": (16, 32), "width": (0.125, 0.25), "images": (1_000, 1_000_000),
}  # fmt: skip
WARM_UP = 2
BYTES_AN_IMAGE = 32


def measured(point: Mapping[str, float], repeats: int) -> dict[str, Any]:
    """Seconds of each of so many rounds, and memory in bytes: before the networks are built, and at its peak."""
    import torch

    from frugan import build, kernels, memory, recipes
    from frugan.engine.loop import play_round

    memory.keep()
    size = int(point["size"])
    changes = {"data.size": size, "generator.width": point["width"], "discriminator.width": point["width"]}
    recipe = replace(recipes.find("dcgan-64-faithful").with_changes(changes), batch_size=int(point["batch"]))
    device = torch.device("cpu")
    mode = kernels.resolve(recipe.kernels, device, recipe.whole_rounds)
    with tempfile.TemporaryDirectory() as folder:
        before = peak_memory()
        images = zeros(Path(folder), int(point["images"]), size)
        parts = build.parts(build.assemble(recipe, device), {"train": images}, kernels=mode)
        for network in parts.game.networks.values():
            network.train()
        seconds = []
        for number in range(WARM_UP + repeats):
            began = time.perf_counter()
            play_round(parts)
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - began)
    return {**point, "seconds": seconds, "memory_before": before, "memory": peak_memory(), "kernels": mode}


def zeros(folder: Path, count: int, size: int) -> Any:
    """A data set of black images that take no room on the disk, mapped into memory."""
    import numpy as np

    from frugan.batch import ImageShape
    from frugan.data import Dataset
    from frugan.data.pack import mapped

    path = folder / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, size, size))
    return Dataset("zeros", "train", ImageShape(3, size, size), mapped(path), None, (), "0" * 16)


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux may be the parent's
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def along(axis: str, middle: Mapping[str, float], values: Sequence[float], repeats: int) -> list[dict[str, Any]]:
    """All points of an axis, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        return [pool.submit(measured, {**middle, axis: value}, repeats).result() for value in values]


def rows_of(axis: str, points: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    """The table's rows: median and quartiles of the time, the local exponent, images a second, memory."""
    rows: list[list[object]] = []
    for number, point in enumerate(points):
        middle, lower, upper = spread(point["seconds"])
        exponent: object = ""
        if number:
            before = points[number - 1]
            grown = middle / spread(before["seconds"]).median
            exponent = math.log(grown) / math.log(point[axis] / before[axis])
        rows.append([f"{axis} {point[axis]:g}", 1000 * middle, f"{1000 * lower:.4g}-{1000 * upper:.4g}", exponent,
                     point["batch"] / middle, point["memory"] / 1e6])  # fmt: skip
    return rows


def draw(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Time above, memory below, a column for each axis; both scales logarithmic, so that a power is a line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(3 * len(found), 5), layout="constrained")
    panels = figure.subplots(2, len(found), sharey="row", squeeze=False)
    for column, (axis, points) in enumerate(found.items()):
        at = [point[axis] for point in points]
        times = [spread(point["seconds"]) for point in points]
        above, below = panels[0][column], panels[1][column]
        above.fill_between(at, [1000 * one.lower for one in times], [1000 * one.upper for one in times], alpha=0.3)
        above.plot(at, [1000 * one.median for one in times], marker="o")
        below.plot(at, [point["memory"] / 1e6 for point in points], marker="o", color="C1")
        below.set_xlabel({"images": "images in the data set", "size": "pixels along a side"}.get(axis, axis))
        for panel in (above, below):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xticks(at, [f"{value:,}" for value in at])
            for ticks in (panel.xaxis.set_minor_formatter, panel.yaxis.set_minor_formatter):
                ticks(NullFormatter())
            panel.grid(alpha=0.3)
    for row, marks in ((0, (10, 20, 50, 100, 200, 500)), (1, (300, 400, 500, 600, 800))):
        panels[row][0].set_yticks(marks, [str(mark) for mark in marks])
    panels[0][0].set_ylabel("a round, ms")
    panels[1][0].set_ylabel("peak of memory, MB")
    figure.savefig(path, dpi=120)


def main() -> None:
    options = arguments(__doc__ or "")
    middle, axes, repeats = (QUICK_MIDDLE, QUICK_AXES, 3) if options.quick else (MIDDLE, AXES, 7)
    found = {axis: along(axis, middle, values, repeats) for axis, values in axes.items()}
    rows = [row for axis, points in found.items() for row in rows_of(axis, points)]
    show(["dcgan-64-faithful", "ms", "quartiles", "exponent", "images/s", "peak MB"], rows)
    few, many = found["images"][0], found["images"][-1]
    each = (many["memory"] - few["memory"]) / (many["images"] - few["images"])
    print(f"A data set costs {each:.1f} bytes an image beside the images themselves, which stay in their file.")
    if options.record:
        draw(found, PICTURE)
    result = {"recipe": "dcgan-64-faithful", "middle": middle, "axes": found, "bytes_an_image": each}
    finish(options, result, met=each <= BYTES_AN_IMAGE, gate=f"at most {BYTES_AN_IMAGE} bytes an image of a data set")


if __name__ == "__main__":
    main()
