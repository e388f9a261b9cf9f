"""What is measured before the first run of the test: settings, controls, budgets in equal seconds, and the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from frugan.comparison.planning.arms import Arm

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop


def prepare(design: Design, plan: PlanFile, workshop: Workshop) -> list[Arm]:
    """All arms with their final recipes. What is measured for them joins the plan, and is read from it the next time.

    A control is the baseline as it was typed, made as cheap as its arm came out of tuning; then it is tuned too. Raises
    UserError if trials of speed or all pilots failed.
    """
    from frugan.comparison.preparing import controls, equal_seconds, margin

    if plan.fixed is not None:
        return plan.fixed_arms()
    settings, arms = design.settings, plan.resolve_kernels(design.arms)
    given = settings["margin"]
    fixed: dict[str, Any] = {"margin": given, "margin_rule": None if given is None else "given beforehand"}
    baseline, tuned = arms[0], settings["tune"] is not None
    if tuned:
        arms = _tune(arms, baseline, design, plan, workshop)
    if settings["match"] is not None:
        if plan.controls is None:
            plan.add_controls(*controls.find_controls([baseline, *arms[1:]], settings["match"], workshop.say))
        made, fixed["matched"] = plan.control_arms(), plan.content["controls"]["matched"]
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
        workshop.say(f"Training the baseline with the seeds {seeds}, outside the test, for the margin.")
        fixed |= margin.find_margin(arms[0], seeds, workshop)
        workshop.say(f"The margin is {fixed['margin']}, {fixed['margin_rule']}.")
    plan.complete(arms, fixed)
    return arms


def _tune(arms: Sequence[Arm], baseline: Arm, design: Design, plan: PlanFile, workshop: Workshop) -> list[Arm]:
    """The arms with the settings of their best trials, which take equally long where budgets shall."""
    from frugan.comparison.preparing import equal_seconds, tuning

    settings = design.settings
    fitted = [baseline, *(arm for arm in arms if arm.name != baseline.name)]
    plan.write_arms(fitted)
    if settings["equal"] is not None and arms:
        seconds = equal_seconds.parse_seconds(settings["equal"], fitted)
        fitted, _ = equal_seconds.fit_budgets(fitted, seconds, workshop, tag="-as-it-stands")
    lengths = {arm.name: tuning.length_of(arm.recipe, fitted[0].recipe, settings["tune_images"]) for arm in fitted}
    return tuning.tune(arms, lengths, settings, plan, workshop)
