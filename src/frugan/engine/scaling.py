"""Whether several processes train faster than one would: measured in the first rounds of a run, which then begins anew.

With several processes, a batch is still the recipe's: each takes an equal share of it, and rates stay as they are. So
more processes change nothing but the time, and they only help if a share is so much faster than the whole batch that
it pays for adding up the gradients. Small networks are often slower in two processes than in one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from frugan.engine import checkpoint
from frugan.engine.loop import Parts, play_round
from frugan.engine.processes import Processes
from frugan.engine.update import NonFinite

WARMING, TIMED = 3, 8
"""Rounds that are played before the clock runs, and rounds that are timed."""


@dataclass(frozen=True)
class Scaling:
    """Seconds of a round of the whole batch, in all processes together and in one alone."""

    processes: int
    together: float
    alone: float

    @property
    def words(self) -> str:
        """What it means, for people."""
        faster = self.alone / self.together
        measured = (
            f"A round takes {1000 * self.together:.1f} ms in {self.processes} processes, and "
            f"{1000 * self.alone:.1f} ms in one with the whole batch"
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
        alone = None
        if parts.processes.leads:
            with contextlib.suppress(torch.OutOfMemoryError, NonFinite), _alone(parts):
                alone = _seconds(parts)
    except NonFinite:  # in all processes, since all see the same sum
        return None
    finally:
        checkpoint.restore(parts.stateful(), *state)
        parts.update.broken = None
        parts.processes.wait()
    return None if alone is None else Scaling(parts.processes.world, together, alone)


def _seconds(parts: Parts) -> float:
    """Seconds of a round."""
    import torch

    began = 0.0
    for number in range(WARMING + TIMED):
        if number == WARMING:
            began = time.perf_counter()
        play_round(parts)
    if parts.device.type == "cuda":
        torch.cuda.synchronize(parts.device)
    return (time.perf_counter() - began) / TIMED


@contextlib.contextmanager
def _alone(parts: Parts) -> Iterator[None]:
    """Inside, this process is the only one, and takes whole batches."""
    before = parts.processes, parts.batches.rank, parts.batches.world
    parts.processes = parts.update.processes = Processes()
    parts.batches.rank, parts.batches.world = 0, 1
    try:
        yield
    finally:
        parts.processes, parts.batches.rank, parts.batches.world = before
        parts.update.processes = parts.processes
