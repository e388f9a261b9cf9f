"""Looks at runs on their way: they stop at shares of their budget, are measured, and go on as if they had not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frugan import evaluation
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.jobs import Job
from frugan.comparison.running.workshop import Workshop

ON_THE_WAY = (0.75, 0.875)
"""Where runs are looked at before their end, so that the slope over the last quarter is known."""


def may_stop(arms: Sequence[Arm]) -> bool:
    """Whether stopping changes nothing in these runs: no schedule knows their end, and their budget is in images."""
    from frugan import schedules

    chosen = [player.schedule for arm in arms for player in arm.recipe.players.values()]
    bound = any(schedules.find(one.name, **one.options).follows_the_end for one in chosen)
    return not bound and all(arm.recipe.rounds is None for arm in arms)


def stops(images: int) -> list[int]:
    """The images at which a run of so many is looked at on its way, and its end."""
    return [*(int(share * images) for share in ON_THE_WAY), images]


def train_with_looks(planned: Sequence[Job], workshop: Workshop) -> None:
    """Train all to each stop in turn and measure them there; they are not trained to their end."""
    for number in range(len(ON_THE_WAY)):
        workshop.train([job.until(stops(job.images)[number]) for job in planned])
        for job in planned:
            measure_between(job, stops(job.images)[number], stops(job.images)[number + 1], workshop)


def measure_between(job: Job, images: int, before: int, workshop: Workshop) -> None:
    """Measure a run in the primary metric if it stands between `images` and `before`; see `find_value`."""
    from frugan.engine import checkpoint
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    newest = checkpoint.newest(run.checkpoints) if run.exists() else None
    if newest is not None and images <= checkpoint.images_of(newest) < before and job.failure() is None:
        named = workshop.evaluation["metrics"]
        workshop.evaluate(run, metrics=named and named[:1])


def find_value(job: Job, images: int, before: int, like: Mapping[str, Any]) -> dict[str, Any] | None:
    """``{"images", "number"}``: what a run had first between `images` and `before`, measured as the value `like` was.

    None if it failed, or went further without being looked at. Other people may have measured it otherwise.
    """
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    for line in run.lines(run.metrics):
        if (
            line["metric"] == like["metric"] and images <= line["images"] < before
            and not evaluation.unequal([line["protocol"], like["protocol"]])
        ):  # fmt: skip
            return {"images": line["images"], "number": float(line["values"][line["headline"]])}
    return None
