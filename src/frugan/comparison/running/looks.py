"""Looks: runs stop at certain shares of their budget, are measured, and continue as if they had not stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frugan import evaluation
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job

if TYPE_CHECKING:
    from frugan.comparison.running.workshop import Workshop
    from frugan.recipe import Recipe

ON_THE_WAY = (0.75, 0.875)
"""The shares of the budget at which runs are measured before their end, for the slope over the last quarter."""


def may_stop(arms: Sequence[Arm]) -> bool:
    """Whether these runs can be stopped and continued without any change: no schedule depends on a run's end, and
    budgets are in images."""
    from frugan import schedules

    chosen = [player.schedule for arm in arms for player in arm.recipe.players.values()]
    bound = any(schedules.find(one.name, **one.options).follows_the_end for one in chosen)
    return not bound and all(arm.recipe.rounds is None for arm in arms)


def may_be_part(recipe: Recipe, images: int) -> bool:
    """Whether the run of a recipe, stopped after so many images, is what a run of so many images would be."""
    shorter = replace(recipe.with_images(images), images=recipe.images)
    return may_stop([Arm(recipe.name, recipe)]) and shorter == recipe


def find_stops(images: int, shares: Sequence[float] = ON_THE_WAY) -> list[int]:
    """The numbers of images at which a run of `images` is measured on its way, and its end."""
    return [*(int(share * images) for share in shares), images]


def measure_between(job: Job, images: int, before: int, workshop: Workshop) -> None:
    """Measure a run in the primary metric if it has been shown at least `images` and fewer than `before` images."""
    from frugan.engine import checkpoint
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    newest = checkpoint.newest(run.checkpoints) if run.exists() else None
    if newest is not None and images <= checkpoint.images_of(newest) < before and job.why_failed() is None:
        named = workshop.evaluation["metrics"]
        workshop.evaluate(run, metrics=named and named[:1])


def find_value(job: Job, images: int, before: int, like: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first value that was measured between `images` and `before` with the protocol of `like`.

    Returns ``{"images", "number"}``, or None if the run was not measured there in this way.
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
