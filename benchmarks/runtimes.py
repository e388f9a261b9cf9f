"""Runtimes: does the ranking of families change where a generator is shipped? PyTorch against ONNX Runtime, batch 1.

The generator (or translator) of each recipe in its standard form and as its frugal twins, with first weights, in
float32: PyTorch as it is, the exported program compiled by `torch.compile`, and the file that ``frugan export --to
onnx`` writes, in ONNX Runtime; and that file in int8. All sides of one recipe take turns. The least time of all turns
counts, beside the quartiles: on a machine with other work everything else tells mostly of that work. The table says how
many times faster each twin is than the standard form *in the same runtime*: where that changes from below to above 1,
the ranking does.

Every float32 file is compared with its artefact on 64 inputs first, as the export does.

Gate: every file agrees with its artefact to 1e-4.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from _report import arguments, finish, in_turn, show, spread

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
SECONDS = 40.0
"""About how long the sides of one recipe take turns."""


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
        once = sum(min(times[1:]) for times in in_turn(sides, 2).values())  # warms up, too
        times = in_turn(sides, max(5, min(200, round(seconds / max(once, 1e-9)))))
    rows: list[list[object]] = []
    record: dict[str, Any] = {}
    for name, about in abouts.items():
        record[name] = {**about, "milliseconds": {}, "faster_than_standard": {}}
        for runtime in [side.partition(": ")[2] for side in sides if side.startswith(f"{name}: ")]:
            taken = [1000 * one for one in times[f"{name}: {runtime}"]]
            faster = 1000 * min(times[f"standard: {runtime}"]) / min(taken)
            milliseconds = spread(taken)
            least = {"least": min(taken), "turns": len(taken)}
            record[name]["milliseconds"][runtime] = {**least, **milliseconds._asdict()}
            record[name]["faster_than_standard"][runtime] = faster
            size = about["bytes_int8" if "int8" in runtime else "bytes"] if "onnx" in runtime else ""
            rows.append([
                f"{standard} {name}", runtime, min(taken), milliseconds.lower, milliseconds.median, faster,
                size,
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
            show(["generator", "runtime", "least ms", "lower quartile", "median", "times faster", "bytes"], more)
    worst = max(about["largest_difference"] for of in record.values() for about in of.values())
    met = worst <= TOLERANCE
    finish(options, {"runtimes": record}, met=met, gate=f"every file agrees with its artefact to {TOLERANCE}")


if __name__ == "__main__":
    main()
