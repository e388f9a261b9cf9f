"""Whether several processes train faster than one would: measured in the first rounds of a run, which then begins anew.

With several processes, a batch is still the recipe's: each takes an equal share of it, and rates stay as they are. So
more processes change nothing but the time, and they only help if a share is so much faster than the whole batch that
it pays for adding up the gradients. Small networks are often slower in two processes than in one.

`torchrun` gives each process one thread unless told otherwise, but a run without it would have all cores. So on a CPU
one process is measured with as many threads as all processes of its machine have together.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from frugan import costs
from frugan.arithmetic import wait
from frugan.engine import checkpoint
from frugan.engine.loop import Parts, play_round
from frugan.engine.processes import Processes
from frugan.engine.update import NonFinite

WARMING, TIMED = 3, 8
"""Rounds that are played before the clock runs, and rounds that are timed."""


@dataclass(frozen=True)
class Scaling:
    """Seconds of a round of the whole batch, in all processes together and in one alone, with so many threads."""

    processes: int
    together: float
    alone: float
    threads: int

    @property
    def words(self) -> str:
        """What it means, for people."""
        faster = self.alone / self.together
        measured = (
            f"A round takes {1000 * self.together:.1f} ms in {self.processes} processes, and "
            f"{1000 * self.alone:.1f} ms in one with the whole batch and {self.threads} "
            f"thread{'s' * (self.threads != 1)}"
        )
        if faster < 1.05:
            return f"{measured}. More processes are not faster here: leave torchrun out; batch and rates stay the same."
        return f"{measured}: {faster:.1f} times as fast."


def measure(parts: Parts) -> Scaling | None:
    """Time rounds in all processes, and in the first one alone; afterwards everything is as it was.

    Every process must call this. None in the others, with one process, and where one alone could not train (a batch
    that does not fit its memory, a value that is not finite).
    """
    import torch

    if parts.processes.world == 1:
        return None
    state = checkpoint.capture(parts.stateful())
    try:
        together = _seconds(parts)
        checkpoint.restore(parts.stateful(), *state)
        parts.processes.wait()
        alone, threads = None, _threads_alone(parts)
        if parts.processes.leads:
            with contextlib.suppress(torch.OutOfMemoryError, NonFinite), _alone(parts, threads):
                alone = _seconds(parts)
    except NonFinite:  # in all processes, since all see the same sum
        return None
    finally:
        checkpoint.restore(parts.stateful(), *state)
        parts.update.broken = None
        parts.processes.wait()
    return None if alone is None else Scaling(parts.processes.world, together, alone, threads)


def _seconds(parts: Parts) -> float:
    """Seconds of a round."""
    began = 0.0
    for number in range(WARMING + TIMED):
        if number == WARMING:
            wait(parts.device)
            began = time.perf_counter()
        play_round(parts)
    wait(parts.device)
    return (time.perf_counter() - began) / TIMED


def _threads_alone(parts: Parts) -> int:
    """How many threads one process would have: those of all processes of this machine, at most one for each core."""
    import torch

    own = torch.get_num_threads()
    if parts.device.type != "cpu":
        return own
    return max(own, min(own * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), costs.cores()))


@contextlib.contextmanager
def _alone(parts: Parts, threads: int) -> Iterator[None]:
    """Inside, this process is the only one, takes whole batches, and has so many threads."""
    before = parts.processes, parts.batches.rank, parts.batches.world
    parts.processes = parts.update.processes = Processes()
    parts.batches.rank, parts.batches.world = 0, 1
    try:
        with costs.threads(threads):
            yield
    finally:
        parts.processes, parts.batches.rank, parts.batches.world = before
        parts.update.processes = parts.processes
