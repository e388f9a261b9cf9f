"""Budgets in equal seconds: how many images each arm trains follows from its speed in a short trial run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job
from frugan.comparison.running.speed import LEAST_ROUNDS, check_steady, find_speed, make_trial
from frugan.recipe import Recipe
from frugan.registry import UserError

if TYPE_CHECKING:
    from torch import nn

    from frugan.comparison.running.workshop import Workshop

TRIAL_ROUNDS = 200
"""How many rounds a trial run has at most."""


def parse_seconds(equal: str, arms: Sequence[Arm]) -> float | None:
    """Read the seconds in `equal`; None for "seconds", as many as the baseline takes. Raises UserError otherwise."""
    if equal == "seconds":
        seconds = None
    else:
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s(?:econds)?", equal)
        if matched is None or not float(matched[1]):
            raise UserError(
                f"--equal {equal}: accepted are images, seconds (as many as the baseline takes), or a number of "
                "seconds, e.g. 600s."
            )
        seconds = float(matched[1])
    counted = next((arm.name for arm in arms if arm.recipe.rounds is not None), None)
    if counted is not None:
        raise UserError(
            f"--equal {equal} needs budgets in images, but that of '{counted}' is in rounds. Give --images instead of "
            "rounds."
        )
    return seconds


def check_trials(arms: Sequence[Arm]) -> None:
    """Check that budgets are long enough to measure a speed. Raises UserError."""
    for arm in arms:
        rounds = _trial_rounds(arm.recipe)
        if rounds < LEAST_ROUNDS:
            raise UserError(
                f"--equal seconds measures the speed of '{arm.name}' over {LEAST_ROUNDS} rounds or more, but its "
                f"{arm.recipe.images:,} images are only {rounds} rounds. Give --images "
                f"{LEAST_ROUNDS * arm.recipe.batch_size} or more; this only sets the length of the trial."
            )


def check_networks(name: str, networks: Mapping[str, nn.Module]) -> None:
    """Check that a short trial tells how fast the arm of this name trains. Raises UserError."""
    check_steady(networks, f"--equal seconds cannot measure the speed of '{name}'", "Give --equal images.")


def _trial_rounds(recipe: Recipe) -> int:
    """How many rounds the trial has; a recipe whose rounds show several batches may be shown more than its images."""
    return min(recipe.whole_rounds, TRIAL_ROUNDS)


def fit_budgets(
    arms: Sequence[Arm], seconds: float | None, workshop: Workshop, tag: str = ""
) -> tuple[list[Arm], dict[str, Any]]:
    """Measure the speed of each arm in a short trial, and give all arms budgets that take equally long.

    Budgets stay in images, so that a run can be continued and ends exactly. The results say how long the runs really
    took. `tag` is added to the names of the trials' folders, so that arms with other settings are timed anew.

    Raises UserError if a trial failed.
    """
    trials = {}
    for arm in arms:
        trials[arm.name] = make_trial(arm, _trial_rounds(arm.recipe), f"trials/{arm.folder}{tag}", 0, workshop)
    workshop.train(list(trials.values()), together=True)
    speeds = {name: _read_speed(job) for name, job in trials.items()}
    baseline = arms[0]
    budget = seconds or baseline.recipe.images / speeds[baseline.name]
    fitted = []
    for arm in arms:
        # An arm damaged by less training keeps its damage; all others have the same seconds, whatever was asked.
        share = arm.recipe.images / baseline.recipe.images if arm.is_damaged else 1.0
        images = max(arm.recipe.batch_size, round(budget * share * speeds[arm.name]))
        fitted.append(replace(arm, recipe=arm.recipe.with_images(images)))
    images = {arm.name: arm.recipe.images for arm in fitted}
    return fitted, {"seconds": budget, "images_per_second": speeds, "images": images}


def _read_speed(job: Job) -> float:
    """Images per second of a trial. Raises UserError if it failed."""
    why, speed = job.why_failed(), find_speed(job)
    if why is not None:
        raise UserError(
            f"The trial that measures the speed of '{job.title}' failed: {why}. Fix that and add --retry-failed."
        )
    if speed is None:
        raise UserError(
            f"The trial that measures the speed of '{job.title}' has no times in its log. Delete {job.folder} and run "
            "the same command again."
        )
    return speed
