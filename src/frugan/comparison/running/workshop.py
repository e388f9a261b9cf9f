"""How the runs of one comparison are trained and evaluated: in the same way for all arms, pilots and trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation
from frugan.comparison import launchers
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job, make_job
from frugan.comparison.running.tasks import Task
from frugan.owncode import CodeFile

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """What all runs of a comparison share: how they are started and how they are evaluated.

    Args:
        folder: the comparison's folder.
        evaluation: arguments of `frugan.evaluate` for every run.
        say: called with lines for people. It prints a repeated line only once.
        options: options of ``frugan train`` for every run.
        own: the user's own code files.
        at_once: how many runs are trained at the same time.
        quiet: show no progress.
        runtime: in which the exported networks are measured too, if in any; see `frugan.exporting`.
        launcher: what trains the runs, and where; see `frugan.comparison.launchers`.
        launcher_options: its options.
    """

    folder: Path
    evaluation: Mapping[str, Any]
    say: Say
    options: Sequence[str] = ()
    own: Sequence[CodeFile] = ()
    at_once: int = 1
    quiet: bool = False
    runtime: str | None = None
    launcher: str = "local"
    launcher_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """How many threads each run gets: the runs that train at the same time share the cores."""
        return max(1, count_cores() // self.at_once)

    def make_job(
        self, arm: Arm, place: str, seed: int, *, title: str | None = None, options: Sequence[str] = (),
        recipe: str | None = None,
    ) -> Job:  # fmt: skip
        """Make the job that trains an arm with one seed in the comparison's folder `place`. Nothing is trained yet.

        The job reads the arm's recipe from ``arms/``, or from the comparison's file `recipe`.
        """
        file = self.folder / (recipe or f"arms/{arm.folder}.json")
        return make_job(
            file, self.folder / place, title or arm.name, arm.recipe, seed, [*self.options, *options]
        )

    def train(
        self, planned: Sequence[Job], *, shares: Sequence[float] = (), values: Sequence[Mapping[str, Any]] = (),
        together: bool = False,
    ) -> None:  # fmt: skip
        """Train the jobs that are neither finished nor failed; see `Task`. Raises what `jobs.run_jobs` raises."""
        launchers.find(self.launcher).train(Task(planned, shares, values, together), self, **self.launcher_options)

    def evaluate(self, run: Path | RunFolder, **changed: Any) -> list[evaluation.Value]:
        """The values of a run's newest checkpoint; `changed` are arguments of `frugan.evaluate` that differ here."""
        how: dict[str, Any] = {**self.evaluation, "progress": self.say, **changed}
        return evaluation.evaluate(run, **how)

    def find_noise(self, run: Path, metric: str) -> evaluation.Noise:
        """How much the value of a metric varies when the same checkpoint is evaluated with other latents."""
        how: dict[str, Any] = {**self.evaluation, "metrics": [metric], "progress": self.say}
        return evaluation.noise(run, **how)[metric]


def say_once(say: Say) -> Say:
    """Wrap `say` so that it prints each line only once; otherwise every evaluation would repeat the same remarks."""
    said: set[str] = set()

    def say_new(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_new


def count_cores() -> int:
    """How many threads the runs can share: OMP_NUM_THREADS if it is set, else the cores that this process may use."""
    from frugan import costs

    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit():
        return max(1, int(allowed))
    return costs.cores()
