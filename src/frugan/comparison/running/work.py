"""Work: what a worker does of one run, on any machine that shares the comparison's disk.

A work is a file beside its run, ``seed-S.work.json``. It lists commands, which train the run to each stop and measure
it there. The worker carries them out one after the other::

    python -m frugan.comparison.running.work runs/twins/runs/thin/seed-0.work.json

It may be ended at any moment and begun again, here or on another machine: commands that were carried out do nothing the
second time. At the end it writes ``seed-S.worked.json``. Exit code: 0 done; 1 the run failed, which its comparison will
count; 130 it was ended from outside; 2 the file cannot be used here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import cache, files, terminal
from frugan.claims import HeldError
from frugan.comparison.running.job import Job
from frugan.comparison.running.jobs import environment_of_run, was_killed
from frugan.comparison.running.looks import find_stops
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.workshop import Workshop

AGAIN = 5.0
"""Seconds until a run that another process holds is tried again."""


@dataclass(frozen=True)
class Step:
    """One command, without the interpreter.

    Attributes:
        folder: the run's.
        command: from ``-m`` on.
        before: it is left out once the run has been shown this many images; None if it never is.
        measures: whether it measures a run, rather than train it.
    """

    folder: str
    command: tuple[str, ...]
    before: int | None = None
    measures: bool = False


@dataclass(frozen=True, eq=False)
class Work:
    """The steps of one run, or of several that are timed on one machine. Its file is beside the first of them.

    Attributes:
        jobs: the runs.
        steps: what is done, in this order.
        directory: where the comparison was begun: the commands' paths start there.
        environment: what is set for the commands.
    """

    jobs: tuple[Job, ...]
    steps: tuple[Step, ...]
    directory: str
    environment: Mapping[str, str]

    @property
    def title(self) -> str:
        """Its title for people."""
        return self.jobs[0].title if len(self.jobs) == 1 else f"{self.jobs[0].title} and {len(self.jobs) - 1} more"

    @property
    def file(self) -> Path:
        """The file that tells the worker what to do."""
        return self.jobs[0].folder.with_name(self.jobs[0].folder.name + ".work.json").absolute()

    def command(self, python: str = sys.executable) -> list[str]:
        """The command that does this work, on any machine where the same Python has frugan."""
        return [python, "-m", "frugan.comparison.running.work", str(self.file)]

    def write(self) -> None:
        """Write the file."""
        files.write(self.file, json.dumps(self.as_dict(), indent=1) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "format": 1, "directory": self.directory, "environment": dict(self.environment),
            "steps": [asdict(step) for step in self.steps],
        }  # fmt: skip

    def is_done(self) -> bool:
        """Whether a worker came to its end, or the run failed."""
        if any(job.why_failed() for job in self.jobs):
            return True
        try:
            known = files.read_json(_done(self.file))
        except (OSError, UserError):
            return False
        steps = json.loads(json.dumps(self.as_dict()["steps"]))
        return known == steps and all(job.folder.is_dir() for job in self.jobs)


def make_works(task: Task, workshop: Workshop, threads: int) -> list[Work]:
    """The works of a task: one for each run, or one for all if they are timed. Each run gets so many threads."""
    groups = [task.jobs] if task.together else [[job] for job in task.jobs]
    about = {**environment_of_run(threads), "FRUGAN_CACHE": str(cache.cache_root().absolute())}
    return [
        Work(tuple(group), tuple(step for job in group for step in _steps(job, task, workshop)), os.getcwd(), about)
        for group in groups if group
    ]  # fmt: skip


def _steps(job: Job, task: Task, workshop: Workshop) -> list[Step]:
    """Train to each stop and measure there; then to the end, and measure all that will be asked for."""
    folder, stops, steps = str(job.folder), find_stops(job.images, task.shares), []
    named = workshop.evaluation.get("metrics")
    for stop, following in itertools.pairwise(stops):
        looked = evaluate_command(job.folder, {**workshop.evaluation, "metrics": named and named[:1]}, workshop)
        steps += [
            Step(folder, job.until(stop).command[1:], stop), Step(folder, looked, following, measures=True)
        ]  # fmt: skip
    steps.append(Step(folder, job.command[1:], job.images if job.rounds is None else None))
    for value in task.values:
        how = {**workshop.evaluation, **value}
        steps.append(Step(folder, evaluate_command(job.folder, how, workshop), measures=True))
    return steps


def evaluate_command(run: Path, how: Mapping[str, Any], workshop: Workshop) -> tuple[str, ...]:
    """The command that measures a run, with arguments of `frugan.evaluate`."""
    words = ["-m", "frugan", "evaluate", str(run)]
    for name, value in how.items():
        if value is not None and value != () and value != []:
            listed = isinstance(value, Sequence) and not isinstance(value, str)
            words += [f"--{name.replace('_', '-')}", ",".join(map(str, value)) if listed else str(value)]
    return (*words, *(word for one in workshop.own for word in ("--code", str(one.path))))


# ----------------------------------------------------------------------------------------------------------- the worker


class Worker:
    """Carries out one work. `stop` may be called meanwhile, as by a signal."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self) -> int:
        """Do what is left of the work; returns the exit code. Raises UserError if the file cannot be used here."""
        about = self._read()
        os.chdir(about["directory"])
        steps = [Step(one["folder"], tuple(one["command"]), one["before"], one["measures"]) for one in about["steps"]]
        jobs = {step.folder: _job(step) for step in steps}
        environment = {**os.environ, **about["environment"]}
        for step in steps:
            job = jobs[step.folder]
            if job.why_failed() is not None or self._is_past(step):
                continue
            if step.measures and step.before is None and job.why_untrained() is not None:
                continue
            code = self._carry_out(step, job, environment)
            if self.stopped or was_killed(code):
                return 130
            # A value that cannot be measured stops the comparison, which will measure it once more and say why.
            if code and not step.measures:
                terminal.tell(f"{job.folder} failed: {job.fail(code)}")
        if any(job.why_failed() for job in jobs.values()):
            return 1
        files.write(_done(self.file), json.dumps(about["steps"]) + "\n")
        return 0

    def stop(self) -> None:
        """Ask the command to save and stop, and wait for it."""
        self.stopped = True
        process = self.process
        if process is not None:
            process.terminate()
            # Not `process.wait`: a signal comes in the middle of that one, which would then wait for itself.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    def _read(self) -> dict[str, Any]:
        """What the file holds. On a disk that shows files late it may need a moment to appear."""
        for _ in range(10):
            if self.file.is_file():
                about = files.read_json(self.file)
                if not Path(about["directory"]).is_dir():
                    raise UserError(
                        f"{about['directory']} is not there on {socket.gethostname()}. Begin the comparison in a "
                        "folder that all machines share."
                    )
                return about
            time.sleep(1.0)
        raise UserError(
            f"{self.file} is not there on {socket.gethostname()}. The comparison's folder must be on a disk that all "
            "machines share, under the same path: give another --out."
        )

    def _is_past(self, step: Step) -> bool:
        from frugan.engine.run import RunFolder

        saved = RunFolder(step.folder).images_saved()
        return step.before is not None and saved is not None and saved >= step.before

    def _carry_out(self, step: Step, job: Job, environment: Mapping[str, str]) -> int:
        """The exit code of the command. If another process holds the run, wait for it: its work is needed."""
        while not self.stopped:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            with job.output.open("ab") as output:
                self.process = subprocess.Popen(
                    [sys.executable, *step.command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                    env=environment,
                )  # fmt: skip
            code = self.process.wait()
            if code != HeldError.code:
                return code
            time.sleep(AGAIN)
        return 130


def _job(step: Step) -> Job:
    """A step's run, as far as a worker needs to know it."""
    return Job(step.folder, Path(step.folder), step.command, 0)


def _done(file: Path) -> Path:
    return file.with_name(file.name.replace(".work.json", ".worked.json"))


def main() -> None:
    """Do the work that the file on the command line describes."""
    worker = Worker(Path(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: worker.stop())
    try:
        code = worker.run()
    except UserError as error:
        terminal.tell(f"frugan: {error}")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
