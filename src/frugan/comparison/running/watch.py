"""Progress of runs for people, read from their logs: it does not matter on which machine they are trained."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from frugan import terminal
from frugan.comparison.running.job import Job

EVERY_SECONDS = 10.0
NAMED = 4
"""How many of the runs that are trained at the moment are named; of the others there is a number."""


class Watch:
    """Progress for people: one bar over all runs on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, jobs: Sequence[Job], quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.jobs, self.quiet = jobs, quiet
        self.whole = {job: job.whole or job.images for job in jobs}
        self.total = sum(self.whole.values())
        self.warned: set[Job] = set()
        self.ended: dict[Job, int] = {}  # how far each got
        self.start = sum(self._at(job, ended=bool(job.why_failed()) or job.finished()) for job in jobs)
        self.began = time.monotonic()
        self.last, self.looked = self.began, self.began
        self.console = terminal.console(stderr=True)
        self.bar: Any = None
        if self.console.is_terminal and not quiet:
            text, numbers = (TextColumn(one, markup=False) for one in ("{task.description}", "{task.fields[numbers]}"))
            self.bar = Progress(text, BarColumn(), TimeRemainingColumn(), numbers, console=self.console)
            self.task = self.bar.add_task("comparison", total=self.total, completed=self.start, numbers="")
            self.bar.start()

    def begin(self, job: Job) -> None:
        """Say that a run begins or continues."""
        self.say(f"Training {job.title}: {job.folder}")
        if job.why_untrained() is not None:  # it was said before it was stopped
            self.warned.add(job)

    def warn(self, jobs: Iterable[Job]) -> None:
        """Say of each job, once, that it does not train."""
        for job in jobs:
            why = None if job in self.warned else job.why_untrained()
            if why is not None:
                self.warned.add(job)
                self.say(f"{job.title} does not train so far. If it ends like this, it counts as failed: {why}")

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.quiet:
            self.console.print(terminal.one_line(text), soft_wrap=True)

    def show(self, running: Collection[Job], waiting: Sequence[Job]) -> None:
        """Show how far all are, if it is time for it."""
        now = time.monotonic()
        if self.quiet or now - self.last < (0.5 if self.bar else EVERY_SECONDS):
            return
        self.last = now
        if now - self.looked >= EVERY_SECONDS:
            self.looked = now
            self.warn(running)
        busy = {*running, *waiting}
        shown = {job: self._at(job, ended=job not in busy) for job in self.jobs}
        at = sum(shown.values())
        ready = sum(shown[job] == self.whole[job] for job in self.jobs if job not in busy)
        parts = [f"{job.title} {shown[job]:,} of {self.whole[job]:,}" for job in list(running)[:NAMED]]
        parts += [f"{len(running) - NAMED} more"] if len(running) > NAMED else []
        numbers = "; ".join([f"{ready} of {len(self.jobs)} runs done", *parts])
        if self.bar:
            self.bar.update(self.task, completed=at, numbers=terminal.plain(numbers))
            return
        speed = (at - self.start) / (now - self.began)
        left = f", about {(self.total - at) / speed / 60:.1f} min left" if speed > 0 else ""
        self.say(f"{numbers}{' images' * bool(parts)}{left}")

    def close(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()

    def _at(self, job: Job, *, ended: bool) -> int:
        """How many of its whole images a job has been shown so far; one that failed will be shown no more."""
        if not ended:
            self.ended.pop(job, None)
            return min(job.images_shown(), self.whole[job])
        if job not in self.ended:  # there may be hundreds, and this is asked for twice a second
            shown = min(job.images_shown(), self.whole[job])
            self.ended[job] = self.whole[job] if job.why_failed() else max(shown, job.images)
        return self.ended[job]
