"""A comparison of which no arm is named: every arm is what `frugan train` would choose for the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from frugan import build, evaluation
from frugan.comparison.planning import make_design
from frugan.comparison.planning.arguments import ComparisonArguments
from frugan.comparison.planning.plan_file import is_planned, read_plan
from frugan.recipe import Recipe, from_dict
from frugan.registry import UserError
from frugan.training import chosen, resolve


def with_arms(asked: ComparisonArguments, say: Callable[[str], None]) -> ComparisonArguments:
    """The arguments with the recipe that suits the data as their one arm; unchanged if they name arms.

    All arms get as many images as the baseline can be shown in the minutes. If no metric is named and there are too few
    images for the usual ones, KID decides. A comparison that was begun keeps its
    recipe, since a speed measured again would be another one.

    Raises UserError for minutes beside arms, and as `frugan.training.chosen` does.
    """
    if asked.arms:
        if asked.minutes is not None:
            raise UserError(
                f"--minutes {asked.minutes:g} is for comparisons without a recipe's name. Give --images, or "
                f"--equal {60 * asked.minutes:g}s."
            )
        return asked
    said = {key: getattr(asked, key) for key in ("data", "images", "rounds", "batch_size", "precision", "changes")}
    folder = asked.out or make_design(replace(asked, arms=(resolve(**said),))).folder
    if is_planned(Path(folder)):
        plan = read_plan(Path(folder))
        recipe = from_dict(next(iter(plan["arms"].values())), where=f"{folder}/plan.json")
        metrics = asked.metrics or plan["metrics"]
    else:
        recipe = chosen(**said, minutes=asked.minutes, device=asked.device, say=say)
        metrics = asked.metrics or _metrics_of_few(asked, recipe, say)
    return replace(asked, arms=(recipe,), metrics=metrics)


def _metrics_of_few(
    asked: ComparisonArguments, recipe: Recipe, say: Callable[[str], None]
) -> tuple[str, ...] | None:
    """The one metric that suits few images; None for the usual ones where there are enough, or too few for any."""
    how = {key: getattr(asked, key) for key in ("view", "count", "reference", "allow_few", "device")}
    try:
        metric = evaluation.find_primary(build.assemble(recipe), f"'{recipe.name}'", say, **how)
    except UserError:  # the checks will say what is wrong
        return None
    return None if metric == evaluation.PRIMARY else (metric,)
