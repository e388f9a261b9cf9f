"""Runs a program in two processes that find each other as those of ``torchrun`` do; torch is imported once for both.

    python two_processes.py PROGRAM.py ARGUMENTS

Ends with the larger of the two exit codes.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
import traceback

# Imported before the processes part, which would otherwise each do so.
import torch._dynamo
import torch.distributed

import frugan.build
import frugan.training

READY = [torch._dynamo, torch.distributed, frugan.build, frugan.training]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(rank: int, port: int, program: str) -> int:
    """Run the program as process `rank` of two; its exit code."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _, program, *_ = sys.argv
    sys.argv = sys.argv[1:]
    port, children = free_port(), []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            code = run(rank, port, program)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
