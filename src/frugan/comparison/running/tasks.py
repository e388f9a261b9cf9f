"""Tasks: which runs to train, and what will be measured of them. A launcher carries out a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frugan.comparison.running.job import Job


@dataclass(frozen=True)
class Task:
    """Runs to train, in the order in which they are begun.

    Attributes:
        jobs: the runs.
        shares: the shares of its budget at which each run stops, to be measured in the first metric.
        values: what will be measured of each trained run: arguments of `frugan.evaluate`, where they differ from those
            of the comparison.
        together: whether the runs are timed, so that one machine must train all of them, one after the other.
    """

    jobs: Sequence[Job]
    shares: Sequence[float] = ()
    values: Sequence[Mapping[str, Any]] = ()
    together: bool = False
