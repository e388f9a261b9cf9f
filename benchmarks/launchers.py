"""What launchers cost: a thousand planned runs, and each launcher against `local` with two workers.

    python benchmarks/launchers.py many OUT [LAUNCHER]         30 arms x 34 seeds are planned, submitted and asked for
    python benchmarks/launchers.py overhead OUT LAUNCHER...    one small comparison by each: local, files, ray, slurm
    python benchmarks/launchers.py --quick                     80 runs by `files`

`many` trains nothing, and ends with an error above 30 s of a core or 500 MB. slurm needs a SLURM
(tests/slurm_cluster.py starts one), ray its extra.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS, MEGABYTES = 30.0, 500.0
KEYS = ["data.size=12", "data.limit=1200", "discriminator.hidden=[16]"]
JUDGED = ["--data", "glyphs:digits", "--metrics", "fid", "--view", "pixels", "--count", "1000", "--device", "cpu"]
FRUGAN = [sys.executable, "-m", "frugan", "compare"]


def many(out: Path, launcher: str, arms: int = 30, seeds: int = 34) -> None:
    """Plan and hand over `arms` x `seeds` runs, and ask how far they are."""
    named = [f"a{number}: vanilla generator.hidden=[{number + 1}]" for number in range(arms)]
    asked = ["--images", "96", "--seeds", f"0-{seeds - 1}", "--margin", "1", "--out", str(out)]
    command = [*FRUGAN, *named, *KEYS, *JUDGED, *asked]
    seconds = {}
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--launcher", launcher], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as planning:  # fmt: skip
        assert planning.stderr is not None
        for line in planning.stderr:
            if "were handed to" in line:  # by slurm and ray; files ends by itself
                seconds["plan and submit"] = time.perf_counter() - began
                planning.send_signal(signal.SIGINT)
        planning.wait()
    seconds.setdefault("plan and submit", time.perf_counter() - began)
    began = time.perf_counter()
    subprocess.run([*FRUGAN, "--status", str(out)], check=True, stdout=subprocess.DEVNULL)
    seconds["status"] = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    megabytes, computed = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
    for what, took in seconds.items():
        print(f"{what}: {took:.1f} s by the clock")
    print(f"both: {computed:.1f} s of a core; most memory: {megabytes:.0f} MB; {(arms + 1) * seeds} runs by {launcher}")
    if computed > SECONDS or megabytes > MEGABYTES:
        sys.exit(f"More than {SECONDS:g} s or {MEGABYTES:g} MB.")


def overhead(out: Path, chosen: list[str]) -> None:
    """Seconds that a comparison of two arms and two seeds takes by each launcher, with two workers."""
    named = ["vanilla generator.hidden=[16]", "thin: vanilla generator.hidden=[4]"]
    command = [*FRUGAN, *named, *KEYS, *JUDGED, "--images", "20k", "--seeds", "0,1"]
    for launcher in chosen:
        place = out / launcher
        shutil.rmtree(place, ignore_errors=True)
        asked = [*command, "--out", str(place), "--launcher", launcher, "--jobs", "2"]
        began = time.perf_counter()
        subprocess.run(asked, check=launcher != "files", capture_output=True)
        if launcher == "files":
            xargs = ["xargs", "-a", str(place / "jobs.txt"), "-d", "\n", "-n", "1", "-P", "2", "sh", "-c"]
            subprocess.run(xargs, check=True)
            subprocess.run(asked, check=True, capture_output=True)
        print(f"| {launcher} | {time.perf_counter() - began:.0f} |", flush=True)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    verb, *given = sys.argv[1:]
    if verb == "--quick":
        with tempfile.TemporaryDirectory() as folder:
            many(Path(folder) / "out", "files", arms=3, seeds=20)
    elif verb == "many":
        many(Path(given[0]), given[1] if len(given) > 1 else "files")
    else:
        overhead(Path(given[0]), given[1:])


if __name__ == "__main__":
    main()
