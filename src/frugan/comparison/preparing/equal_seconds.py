"""Budgets of equal seconds: each arm's images follow from the speed that a short trial run of it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.jobs import Job
from frugan.engine.observers import LOG_ROUNDS
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.workshop import Workshop

TRIAL_ROUNDS = 200
"""Rounds of a trial run."""


def parse_seconds(equal: str, arms: Sequence[Arm]) -> float | None:
    """The seconds that ``equal`` gives, None for those of the baseline. Raises UserError if it is none of this."""
    if equal == "seconds":
        seconds = None
    else:
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s(?:econds)?", equal)
        if matched is None or not float(matched[1]):
            raise UserError(f"--equal {equal}: accepted are images, seconds (those of the baseline), or e.g. 600s.")
        seconds = float(matched[1])
    counted = next((arm.name for arm in arms if arm.recipe.rounds is not None), None)
    if counted is not None:
        raise UserError(f"--equal {equal} sets the images of each arm, and '{counted}' counts rounds; give --images.")
    return seconds


def check_trials(arms: Sequence[Arm]) -> None:
    """Raise UserError for a budget that is too short for a trial to show a speed."""
    for arm in arms:
        rounds = min(arm.recipe.images // arm.recipe.batch_size, TRIAL_ROUNDS)
        if rounds < 2 * LOG_ROUNDS:
            raise UserError(
                f"--equal seconds measures the speed of '{arm.name}' over {2 * LOG_ROUNDS} rounds or more, and its "
                f"{arm.recipe.images:,} images are {rounds}: give --images {2 * LOG_ROUNDS * arm.recipe.batch_size} or "
                "more, which is only for that trial."
            )


def fit_budgets(
    arms: Sequence[Arm], seconds: float | None, workshop: Workshop, tag: str = ""
) -> tuple[list[Arm], dict[str, Any]]:
    """The arms with budgets in images that take equally long, by short trial runs of each at once or in turn.

    A budget in images keeps a run resumable and its end exact; what the runs really took is told with the results.
    `tag` joins the names of the trials' folders, so that arms can be timed again with other settings.
    Raises UserError if a trial failed.
    """
    trials = {}
    for arm in arms:
        images = min(arm.recipe.images, TRIAL_ROUNDS * arm.recipe.batch_size)
        short = replace(arm, recipe=replace(arm.recipe, images=images))
        trials[arm.name] = workshop.job(short, f"trials/{arm.folder}{tag}", 0)
    workshop.train([job.until(job.images) for job in trials.values()])
    speeds = {name: _read_speed(job) for name, job in trials.items()}
    baseline = arms[0]
    budget = seconds or baseline.recipe.images / speeds[baseline.name]
    fitted = []
    for arm in arms:
        # An arm damaged by less training keeps its damage; all others have the same seconds, whatever was asked.
        share = arm.recipe.images / baseline.recipe.images if arm.is_damaged else 1.0
        images = max(arm.recipe.batch_size, round(budget * share * speeds[arm.name]))
        fitted.append(replace(arm, recipe=replace(arm.recipe, images=images)))
    images = {arm.name: arm.recipe.images for arm in fitted}
    return fitted, {"seconds": budget, "images_per_second": speeds, "images": images}


def _read_speed(job: Job) -> float:
    """Images a second of a trial, its first log point left out: the first rounds are slow."""
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    points = [(line["images"], line["seconds"]) for line in run.lines(run.log) if "seconds" in line]
    why = job.failure()
    if why is not None or len(points) < 2:
        raise UserError(
            f"The trial of '{job.title}', which measures its speed, "
            f"{f'failed: {why}. Mend that and add --retry-failed.' if why else 'was too short: give more --images.'}"
        )
    (first, begun), (last, ended) = points[0], points[-1]
    return (last - first) / max(ended - begun, 1e-9)
