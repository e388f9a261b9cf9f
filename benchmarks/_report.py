"""What every benchmark shares: two sides timed in turn, the spread beside the median, the machine named.

Each program here prints a table. If it misses its gate (the number that it must reach), it ends with exit code 1.
`--quick` is a short form (``make bench-quick`` runs it), and `--record` writes the result to
``benchmarks/results/<program>.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"


class Spread(NamedTuple):
    """Median and quartiles of repeated measurements, in the unit of what was measured."""

    median: float
    lower: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least two values."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


def in_turn(sides: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, list[float]]:
    """Seconds that each side took in each of `repeats` rounds, after one round that does not count.

    In a round every side runs once; every second round runs them in reverse order, so that neither a machine that grows
    warm nor a neighbour that wakes up falls on one side alone. A side on a GPU has to wait for its own work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for number in range(repeats):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def times_faster(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster one side was than the other, round by round: neighbours in time are compared."""
    return spread([one / other for one, other in zip(slow, fast, strict=True)])


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor, threads, instruction sets that decide about speed, versions."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "bf16"}),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def arguments(description: str, *, device: bool = False) -> argparse.Namespace:
    """The command line that all benchmarks have: `quick`, `record`, and `device` for those that can use a GPU."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form that still checks the gate")
    parser.add_argument("--record", action="store_true", help=f"write the result to {RESULTS.name}/ beside this file")
    if device:
        parser.add_argument("--device", default="cpu", help="cpu (what the gate is about) or cuda")
    return parser.parse_args()


def show(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, the others, numbers most often, to the right."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *padded[1:]]))


def finish(options: argparse.Namespace, result: Mapping[str, Any], *, met: bool, gate: str) -> None:
    """Name the machine, write the result if asked to, say whether the gate was met, and end the program with that."""
    described = machine()
    print("  ".join(f"{key} {value}" for key, value in described.items() if value))
    if options.record:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{Path(sys.argv[0]).stem}.json"
        when = datetime.date.today().isoformat()
        told = {"date": when, "quick": options.quick, "machine": described, "gate": gate, "met": met, **result}
        path.write_text(json.dumps(told, indent=2) + "\n")
        print(f"written: {path}")
    print(f"{'met' if met else 'MISSED'}: {gate}")
    sys.exit(0 if met else 1)
