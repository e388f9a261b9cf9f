"""On this machine: a process for each run, ``--jobs`` of them at a time. Values are measured in this process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from frugan.comparison.launchers import Launcher
from frugan.comparison.running import jobs
from frugan.comparison.running.job import Job
from frugan.comparison.running.looks import find_stops, measure_between

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.workshop import Workshop


def train(task: Task, workshop: Workshop) -> None:
    """Train all runs to each stop in turn and measure them there; then train them to their end."""
    # What is timed is trained alone: runs beside it would slow some and not others.
    at_once = 1 if task.together else workshop.at_once

    def run(planned: list[Job]) -> None:
        jobs.run_jobs(planned, at_once, workshop.threads, workshop.quiet, workshop.own)

    for number in range(len(task.shares)):
        stops = {job: find_stops(job.images, task.shares)[number : number + 2] for job in task.jobs}
        run([replace(job.until(stops[job][0]), whole=job.images) for job in task.jobs])
        for job, (images, before) in stops.items():
            measure_between(job, images, before, workshop)
    run(list(task.jobs))


def check() -> None:
    """Nothing is needed."""


variant = Launcher("local", train, check)
