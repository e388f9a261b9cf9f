"""Running: train the runs of the test, each in a process of its own, and measure each once it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.comparison.planning.arms import Arm
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.measured import Measured, Planned
    from frugan.comparison.running.workshop import Workshop


def plan_runs(design: Design, arms: Sequence[Arm], workshop: Workshop, evaluate_every: int | None) -> Planned:
    """Make the job of every arm and seed, all arms of the first seed first. Nothing is trained yet."""
    options = [] if evaluate_every is None else ["--evaluate-every", str(evaluate_every)]
    return {
        (arm.name, seed): workshop.make_job(arm, f"runs/{arm.folder}/seed-{seed}", seed, options=options)
        for seed in design.settings["seeds"] for arm in arms
    }  # fmt: skip


def train_runs(design: Design, plan: PlanFile, arms: Sequence[Arm], planned: Planned, workshop: Workshop) -> None:
    """Train every run; where verdicts will be given, measure runs on the way too. Raises UserError for alien runs."""
    from frugan.comparison.planning.plan_file import check_runs
    from frugan.comparison.running.looks import ON_THE_WAY, may_stop
    from frugan.comparison.running.measured import find_judges
    from frugan.comparison.running.order import sort_runs

    seeds = design.settings["seeds"]
    check_runs(workshop.folder, arms, seeds, plan.content)
    shares = ON_THE_WAY if design.gives_verdicts and may_stop(arms) else ()
    judges = find_judges(design.settings["primary"], workshop.evaluation) if design.gives_verdicts else []
    workshop.train(sort_runs(planned, arms), shares=shares, values=[{}, *judges])
    check_runs(workshop.folder, arms, seeds, plan.content)  # a job may have read a file that just changed


def measure_runs(
    design: Design, plan: PlanFile, arms: Sequence[Arm], planned: Planned, workshop: Workshop
) -> Measured:
    """Measure every run; add the values on the way and, where verdicts will be given, those of other judges."""
    from frugan.comparison.preparing.margin import check_margin
    from frugan.comparison.running import measured

    fixed = plan.fixed or {}

    def accept(values: Mapping[str, Any]) -> None:  # at the first run, not after an hour of judging all
        if fixed.get("pilots", {}).get("metric") in values:
            check_margin(fixed, values)

    known = measured.measure_runs(arms, planned, workshop, accept)
    measured.add_looks(known, planned)
    if design.gives_verdicts:
        measured.add_judges(known, planned, workshop)
    return known
