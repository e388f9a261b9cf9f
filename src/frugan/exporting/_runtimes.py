"""What networks cost in the runtime that will compute them: time, memory, and the file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from frugan import artefact, costs
from frugan.artefact import _onnx
from frugan.costs import Latency
from frugan.exporting._parcel import Parcel
from frugan.registry import UserError, suggest

RUNTIMES = ("onnxruntime",)
BATCHES = (1, 16)

_PEAK = """
import resource, sys
import numpy, onnxruntime
file, threads, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def peak():
    try:  # what getrusage says begins, on Linux, with the memory of whoever started this program
        return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = threads, 3
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
types = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
given = {one.name: numpy.zeros([batch, *one.shape[1:]], types[one.type]) for one in session.get_inputs()}
for _ in range(3):
    session.run(None, given)
print(peak() - before)
"""
"""A program of its own: the most memory that a process ever took does not go down again."""


@dataclass(frozen=True)
class RuntimeCost:
    """What a network costs in a runtime.

    Attributes:
        runtime: its name and version.
        file_bytes: the size of the file.
        peak_bytes: batch -> the memory that a process takes for the network beyond what the runtime itself takes: the
            weights, and the largest that is in memory at once while it computes.
        latency: for each batch, as `frugan.cost` measures it; `machine` names the runtime.
    """

    runtime: str
    file_bytes: int
    peak_bytes: Mapping[int, int]
    latency: tuple[Latency, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self), "latency": [one.as_dict() for one in self.latency],
            "peak_bytes": {str(batch): size for batch, size in self.peak_bytes.items()},
        }

    def __str__(self) -> str:
        peaks = ", ".join(f"{size / 1e6:.1f} MB at batch {batch}" for batch, size in self.peak_bytes.items())
        lines = [f"in {self.runtime}: file {self.file_bytes:,} bytes, peak memory {peaks}"]
        return "\n".join([*lines, *(f"in {self.runtime}, {one}" for one in self.latency)])


def in_runtime(
    write: Callable[[Parcel, Path], object], networks: Mapping[str, Any], runtime: str, *,
    threads: int | None = None, batches: Sequence[int] = BATCHES, peaks: bool = True,
    skipped: Callable[[str], object] | None = None,
) -> dict[str, RuntimeCost]:
    """What networks, as `frugan.load` gives them, cost in a runtime: they are exported, and timed in turn (A B A ...).

    Args:
        write: exports one into a folder.
        threads: how many threads the runtime has; if left out, as many as torch.
        peaks: also measure the memory, each in a process of its own.
        skipped: called with a line about each network that cannot be exported, which is then left out.

    Raises UserError for an unknown runtime, fewer threads than 1, and, without `skipped`, what cannot be exported.
    """
    check_runtime(runtime)
    if threads is not None and threads < 1:
        raise UserError(f"--threads {threads}: give how many threads the runtime has, 1 or more.")
    count = threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place, costs.threads(count):
        files, arms = {}, {}
        for number, (name, network) in enumerate(networks.items()):
            folder = Path(place) / str(number)
            folder.mkdir()
            try:
                write(Parcel.of(network), folder)
            except UserError as error:
                if skipped is None:
                    raise
                skipped(f"{name} is not measured in {runtime}: {error}")
                continue
            (files[name],) = folder.glob("*.onnx")
            arms[name] = (artefact.load(files[name]).module, *network.inputs())
        if not arms:
            return {}
        times = costs.latencies(arms, batches=batches)
        version = _onnx.runtime_version()
        return {
            name: RuntimeCost(
                version, file.stat().st_size,
                {batch: _peak(file, count, batch) for batch in batches} if peaks else {},
                tuple(_of(one, version) for one in times[name]),
            ) for name, file in files.items()
        }  # fmt: skip


def check_runtime(runtime: str) -> None:
    """Raise UserError if there is no such runtime, or if it is not installed."""
    if runtime not in RUNTIMES:
        raise UserError(f"There is no runtime '{runtime}'. {suggest(runtime, RUNTIMES)}")
    _onnx.runtime()


def _of(latency: Latency, version: str) -> Latency:
    """The same, of the runtime: an exported module has bytes for weights, and torch does not compute it."""
    return replace(latency, precision="float32", machine=f"{costs.processor()}, {version}")


def _peak(file: Path, threads: int, batch: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(file), str(threads), str(batch)], capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"The memory of {file.name} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return int(json.loads(done.stdout))
