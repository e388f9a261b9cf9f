"""What is measured before the first run of the test: controls, budgets in equal seconds, and the margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from frugan.comparison.planning.arms import Arm

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop


def prepare(design: Design, plan: PlanFile, workshop: Workshop) -> list[Arm]:
    """All arms with their final recipes. What is measured for them joins the plan, and is read from it the next time.

    Raises UserError if trials or all pilots failed.
    """
    from frugan.comparison.preparing import controls, equal_seconds, margin

    if plan.fixed is not None:
        return plan.fixed_arms()
    settings, arms = design.settings, plan.resolve_kernels(design.arms)
    given = settings["margin"]
    fixed: dict[str, Any] = {"margin": given, "margin_rule": None if given is None else "given beforehand"}
    if settings["match"] is not None:
        if plan.controls is None:
            plan.add_controls(*controls.find_controls(arms, settings["match"], workshop.say))
        arms, fixed["matched"] = [*arms, *plan.control_arms()], plan.content["controls"]["matched"]
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
