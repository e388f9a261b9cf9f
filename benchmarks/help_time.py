"""How long a person waits for ``frugan --help``: wall time of the whole process, median of nine. Gate: 0.4 s."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from _report import arguments, finish, show, spread

LIMIT = 0.4
REPEATS = 9


def main() -> None:
    options = arguments(__doc__ or "")
    command = Path(sys.executable).with_name("frugan")
    if not command.exists():
        sys.exit(f"{command} is not there; install frugan into this environment: pip install -e .")
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    taken = spread(seconds[1:])  # the first one reads the files from disk, and writes bytecode after an installation
    show(["", "median s", "quartiles"], [["frugan --help", taken.median, f"{taken.lower:.3f}-{taken.upper:.3f}"]])
    gate = f"frugan --help in at most {LIMIT} s"
    finish(options, {"seconds": seconds[1:], "median": taken.median}, met=taken.median <= LIMIT, gate=gate)


if __name__ == "__main__":
    main()
