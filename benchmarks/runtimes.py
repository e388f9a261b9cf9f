"""Runtimes: does the ranking of families change where a generator is shipped? PyTorch against ONNX Runtime, batch 1.

The generator (or translator) of each recipe in its standard form and as its frugal twins, with first weights, in
float32: PyTorch as it is, the exported program compiled by `torch.compile`, and the file that ``frugan export --to
onnx`` writes, in ONNX Runtime; and that file in int8. All sides of one recipe take turns. With one thread, the median
of the processor's time counts, which a machine with other work changes little; with two, the least time of the clock.
Both are recorded for all. The table says how many times faster each twin is than the standard form *in the same
runtime*: where that changes from below to above 1, the ranking does.

Every float32 file is compared with its artefact on 64 inputs first, as the export does.

Gate: every file agrees with its artefact to 1e-4.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from _report import arguments, finish, show, spread

from frugan import artefact, build, cost, memory, recipes
from frugan.artefact import _onnx
from frugan.exporting import TOLERANCE, Parcel, _precision, onnx
from frugan.recipe import Recipe

# Standard form, and its twins: another family of the same recipe, or another recipe.
SETS: dict[str, dict[str, tuple[str, str | None]]] = {
    "mnist": {name: ("mnist", name) for name in ("factorised", "depthwise")},
    "dcgan-64": {name: ("dcgan-64", name) for name in ("factorised", "depthwise")},
    "stargan": {"depthwise-g": ("depthwise-g", None)},
    "cyclegan-6": {"depthwise": ("cyclegan-6", "depthwise")},
}
QUICK = ("mnist",)
THREADS = {"onnxruntime": 1, "onnxruntime, 2 threads": 2}
SECONDS = 25.0
"""About how long the sides of one recipe take turns."""


Times = dict[str, list[float]]


def sides_of(recipe: Recipe, folder: Path) -> tuple[dict[str, Callable[[], object]], dict[str, Any]]:
    """What is timed of one network, by runtime; and what is known of its files."""
    network = artefact.untrained(build.assemble(recipe))
    parcel = Parcel.of(network)
    written = onnx.write(parcel, folder)
    file = folder / onnx.FILE
    inputs = parcel.examples(1)
    arrays = [one.numpy() for one in inputs]
    with mock.patch.object(_precision, "CALIBRATION", 16):  # latency does not depend on how well it is calibrated
        small = _precision.to_int8(onnx.model_of(parcel, [onnx.ALL]), parcel).SerializeToString()
    compiled = torch.compile(torch.export.export(parcel.prepared(), tuple(inputs)).module())
    sides: dict[str, Callable[[], object]] = {
        "PyTorch": lambda: network.module(*inputs), "PyTorch, compiled": lambda: compiled(*inputs),
    }

    def running(session: Any) -> Callable[[], object]:
        return lambda: _onnx.run(session, arrays)

    for name, threads in THREADS.items():
        sides[name] = running(_onnx.session(file.read_bytes(), threads))
    sides["onnxruntime, int8"] = running(_onnx.session(small, 1))
    about = {
        "macs": cost(network.module, *network.inputs()).macs, "bytes": file.stat().st_size, "bytes_int8": len(small),
        "largest_difference": written.parity.largest, "rewritten": written.description["rewritten"],
        "notes": list(written.notes),
    }
    return sides, about


def in_turn(sides: Mapping[str, Callable[[], object]], seconds: float) -> tuple[Times, Times]:
    """Milliseconds of every side in each turn, by the clock and by the processor. The first two turns do not count."""
    clock: Times = {name: [] for name in sides}
    processor: Times = {name: [] for name in sides}
    began, turn = time.perf_counter(), 0
    while turn < 7 or (time.perf_counter() - began < seconds and turn < 300):
        if turn == 2:
            began = time.perf_counter()
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            before, used = time.perf_counter(), time.process_time()
            sides[name]()
            if turn >= 2:
                processor[name].append(1000 * (time.process_time() - used))
                clock[name].append(1000 * (time.perf_counter() - before))
        turn += 1
    return clock, processor


def measured(standard: str, seconds: float) -> tuple[dict[str, Any], list[list[object]]]:
    """All runtimes of one standard form and its twins: the record, and rows of the table."""
    arms = {"standard": recipes.find(standard)}
    for name, (recipe, family) in SETS[standard].items():
        found = recipes.find(recipe)
        arms[name] = found if family is None else found.with_family(family)
    sides: dict[str, Callable[[], object]] = {}
    abouts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in arms.items():
            place = Path(folder) / name
            place.mkdir()
            timed, abouts[name] = sides_of(recipe, place)
            sides |= {f"{name}: {runtime}": side for runtime, side in timed.items()}
        clock, processor = in_turn(sides, seconds)
    rows: list[list[object]] = []
    record: dict[str, Any] = {}
    for name, about in abouts.items():
        record[name] = {**about, "milliseconds": {}, "faster_than_standard": {}}
        for runtime in [side.partition(": ")[2] for side in sides if side.startswith(f"{name}: ")]:
            side, alone = f"{name}: {runtime}", "threads" not in runtime
            counted = {one: statistics.median(processor[one]) if alone else min(clock[one]) for one in clock}
            faster = counted[f"standard: {runtime}"] / counted[side]
            record[name]["milliseconds"][runtime] = {
                "counted": counted[side], "turns": len(clock[side]), "least": min(clock[side]),
                "clock": spread(clock[side])._asdict(), "processor": spread(processor[side])._asdict(),
            }
            record[name]["faster_than_standard"][runtime] = faster
            size = about["bytes_int8" if "int8" in runtime else "bytes"] if "onnx" in runtime else ""
            rows.append([
                f"{standard} {name}", runtime, counted[side], min(clock[side]), len(clock[side]), faster, size,
            ])
    return record, rows


def main() -> None:
    options = arguments(__doc__ or "")
    memory.keep()
    torch.set_num_threads(1)
    record, rows = {}, []
    with torch.inference_mode():
        for standard in QUICK if options.quick else SETS:
            record[standard], more = measured(standard, 2.0 if options.quick else SECONDS)
            rows += more
            show(["generator", "runtime", "ms", "least ms", "turns", "times faster", "bytes"], more)
    worst = max(about["largest_difference"] for of in record.values() for about in of.values())
    met = worst <= TOLERANCE
    finish(options, {"runtimes": record}, met=met, gate=f"every file agrees with its artefact to {TOLERANCE}")


if __name__ == "__main__":
    main()
