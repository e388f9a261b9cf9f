"""Preparing: what is measured before the first run of the test: best settings, controls, budgets, and the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from frugan.comparison.planning.arms import Arm

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop


def prepare(design: Design, plan: PlanFile, workshop: Workshop) -> list[Arm]:
    """Measure what the plan cannot know yet, and return all arms with their final recipes.

    What was measured is saved in the plan, so it is measured only once. With tuning, the arms are tuned first. Then a
    control is made of the untuned baseline, as cheap as the tuned arm, and the control is tuned too.

    Raises UserError if a trial that measures speed failed, or all pilots did.
    """
    from frugan.comparison.preparing import controls, equal_seconds, margin

    if plan.fixed is not None:
        return plan.read_fixed_arms()
    settings, arms = design.settings, plan.settle(design.arms)
    given = settings["margin"]
    fixed: dict[str, Any] = {"margin": given, "margin_rule": None if given is None else "given beforehand"}
    baseline, tuned = arms[0], settings["tune"] is not None
    if tuned:
        arms = _tune(arms, baseline, design, plan, workshop)
    if settings["match"] is not None:
        if plan.controls is None:
            plan.add_controls(*controls.find_controls([baseline, *arms[1:]], settings["match"], workshop.say))
        made, fixed["matched"] = plan.read_controls(), plan.content["controls"]["matched"]
        arms = [*arms, *(_tune(made, baseline, design, plan, workshop) if tuned else made)]
    if tuned:
        fixed["tuning"] = plan.tuning
    plan.write_arms(arms)
    if settings["equal"] is not None:
        seconds = equal_seconds.parse_seconds(settings["equal"], arms)
        arms, fixed["equal_seconds"] = equal_seconds.fit_budgets(arms, seconds, workshop)
        plan.write_arms(arms)
    if settings["pilot_seeds"]:
        seeds = settings["pilot_seeds"]
        workshop.say(f"Training pilots, which measure the margin: the baseline with the seeds {seeds}.")
        fixed |= margin.find_margin(arms[0], seeds, workshop)
        workshop.say(f"The margin is {fixed['margin']}, {fixed['margin_rule']}.")
    plan.complete(arms, fixed)
    return arms


def _tune(arms: Sequence[Arm], baseline: Arm, design: Design, plan: PlanFile, workshop: Workshop) -> list[Arm]:
    """The arms with the settings of their best trials. With ``equal``, trials of all arms take equally long."""
    from frugan.comparison.preparing import equal_seconds, tuning

    settings = design.settings
    fitted = [baseline, *(arm for arm in arms if arm.name != baseline.name)]
    plan.write_arms(fitted)
    if settings["equal"] is not None and arms:
        seconds = equal_seconds.parse_seconds(settings["equal"], fitted)
        fitted, _ = equal_seconds.fit_budgets(fitted, seconds, workshop, tag="-as-it-stands")
    lengths = {arm.name: tuning.choose_length(arm.recipe, fitted[0].recipe, settings["tune_images"]) for arm in fitted}
    return tuning.tune(arms, lengths, settings, plan, workshop)
