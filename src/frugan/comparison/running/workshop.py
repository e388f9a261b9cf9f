"""How the runs of one comparison are trained and evaluated: alike for all arms, pilots and trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running import jobs
from frugan.comparison.running.jobs import Job
from frugan.owncode import CodeFile

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """Where the runs lie, what each is started with, and how it is looked at.

    Args:
        folder: of the comparison.
        evaluation: arguments of `frugan.evaluate` for every run.
        options: of every ``frugan train``.
        own: the user's own code.
        at_once: how many runs are trained at a time.
        say: called with a line for people, which is said once.
    """

    folder: Path
    evaluation: Mapping[str, Any]
    say: Say
    options: Sequence[str] = ()
    own: Sequence[CodeFile] = ()
    at_once: int = 1
    quiet: bool = False

    @property
    def threads(self) -> int:
        """The threads of each run: the cores are shared out among those that train at a time."""
        return max(1, count_cores() // self.at_once)

    def job(
        self, arm: Arm, place: str, seed: int, *, title: str | None = None, options: Sequence[str] = (),
        recipe: str | None = None,
    ) -> Job:  # fmt: skip
        """The job that trains an arm with one seed, in the folder `place` of the comparison; it is not begun.

        It reads the arm's recipe in ``arms/``, or in the file `recipe` of the comparison.
        """
        file = self.folder / (recipe or f"arms/{arm.folder}.json")
        return jobs.job_of(
            file, self.folder / place, title or arm.name, arm.recipe, seed, [*self.options, *options]
        )

    def train(self, planned: Sequence[Job]) -> None:
        """Train those that are neither finished nor failed. Raises UserError and SystemExit as `jobs.run_jobs` does."""
        jobs.run_jobs(list(planned), self.at_once, self.threads, self.quiet, self.own)

    def evaluate(self, run: Path | RunFolder, **changed: Any) -> list[evaluation.Value]:
        """The values of a run's newest checkpoint; `changed` are arguments of `frugan.evaluate` that differ here."""
        how: dict[str, Any] = {**self.evaluation, "progress": self.say, **changed}
        return evaluation.evaluate(run, **how)

    def find_noise(self, run: Path, metric: str) -> evaluation.Noise:
        """How far the value of one metric moves when one checkpoint is evaluated with other latents."""
        how: dict[str, Any] = {**self.evaluation, "metrics": [metric], "progress": self.say}
        return evaluation.noise(run, **how)[metric]


def say_once(say: Say) -> Say:
    """The same, but a line is said the first time only: every evaluation says what the first one said."""
    said: set[str] = set()

    def say_new(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_new


def count_cores() -> int:
    """How many threads there are to divide: what OMP_NUM_THREADS allows, else the cores this process may use."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit():
        return max(1, int(allowed))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
