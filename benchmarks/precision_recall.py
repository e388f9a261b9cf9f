"""Precision and recall of 10,000 x 10,000 features in 2,048 dimensions, in a process of its own. Gate: 2 GB of memory.

The memory is the peak of that process, with Python, torch and the features themselves. Features are normal, and half of
them are near copies of each other, for which distances cost most. The short form takes 2,000 x 2,000 in 512 dimensions
and has half of the gate.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from _report import arguments, finish, show, spread

from frugan.metrics import density_coverage, precision_recall

LIMIT, QUICK_LIMIT = 2000.0, 1000.0  # millions of bytes
COUNT, WIDTH, QUICK_COUNT, QUICK_WIDTH = 10_000, 2048, 2_000, 512
INSIDE = "--inside"  # what the measured process is started with


def draw(count: int, width: int, seed: int) -> torch.Tensor:
    """Normal features, the second half the first one's again but for a millionth."""
    numbers = torch.Generator().manual_seed(seed)
    half = torch.randn(count // 2, width, generator=numbers)
    return torch.cat([half, half * (1 + 1e-6 * torch.randn(count // 2, 1, generator=numbers))])


def measure(metric: str, count: int, width: int) -> None:
    """Print what one metric gave, took and held; the largest memory of a process never falls, so each has its own."""
    real, fake = draw(count, width, 0), draw(count, width, 1)
    compute = {"precision_recall": precision_recall.compute, "density_coverage": density_coverage.compute}[metric]
    start = time.perf_counter()
    values = compute(real=real, fake=fake)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(json.dumps({"seconds": seconds, "megabytes": held, "values": values}))


def main() -> None:
    options = arguments(__doc__ or "")
    count, width = (QUICK_COUNT, QUICK_WIDTH) if options.quick else (COUNT, WIDTH)
    repeats, limit = (2, QUICK_LIMIT) if options.quick else (3, LIMIT)
    found: dict[str, list[dict]] = {}
    for metric in ("precision_recall", "density_coverage"):
        command = [sys.executable, __file__, INSIDE, metric, str(count), str(width)]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repeats)]
        found[metric] = [json.loads(run.stdout) for run in runs]
    rows, largest = [], 0.0
    for metric, runs in found.items():
        taken = spread([run["seconds"] for run in runs])
        held = max(run["megabytes"] for run in runs)
        largest = max(largest, held)
        rows.append([metric, taken.median, f"{taken.lower:.3g}-{taken.upper:.3g}", f"{held:.0f}"])
    show([f"{count:,} x {count:,} x {width:,}", "median s", "quartiles", "largest MB"], rows)
    gate = f"{count:,} x {count:,} features in {width:,} dimensions within {limit / 1000:g} GB of memory"
    result = {"count": count, "width": width, "runs": found, "largest_megabytes": largest}
    finish(options, result, met=largest <= limit, gate=gate)


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
