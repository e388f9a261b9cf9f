"""Comparison: train several arms with the same seeds on the same data, and say what their differences prove.

A comparison's folder holds

    plan.json          arms, seeds, budget, metrics, kernels, margin: written before the first run of the test
    arms/ARM.json      each arm's recipe
    pilots/seed-S/     runs of the baseline with other seeds than the test; the margin follows from them
    runs/ARM/seed-S/   each run, a folder of its own (`seed-S.txt` beside it is what it printed)
    comparison.json    every raw value, cost and difference
    report.html        the same for people

An arm whose name begins with "damaged" was made worse on purpose. Every comparison with enough seeds for a verdict has
one. If the comparison does not find it worse, it might overlook damage elsewhere too, so no arm is called "not worse".

With fewer than five seeds there is a direction but no verdict, no pilots and no damaged arm. Such a comparison also
evaluates runs that ``frugan train --out OUT/runs/ARM/seed-S`` made before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import owncode, reporting, terminal
from frugan.arguments import taking
from frugan.comparison.planning import make_design, plan_file
from frugan.comparison.planning.arguments import ComparisonArguments
from frugan.comparison.planning.arms import Arm
from frugan.comparison.preparing import prepare
from frugan.comparison.progress import Status, status
from frugan.comparison.running import measure_runs, plan_runs, train_runs
from frugan.comparison.running.workshop import Workshop, say_once
from frugan.comparison.seeds_needed import SeedsNeeded, plan
from frugan.comparison.verdicts import conclude, untuned
from frugan.recipe import parse_count
from frugan.training import decide, inits_of, run_code

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Arm", "Comparison", "SeedsNeeded", "Status", "compare", "plan", "status"]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its folder and what ``comparison.json`` holds."""

    folder: Path
    data: dict[str, Any]

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def table(self) -> Table:
        """The main table, for rich to print. The conclusions are in `words`."""
        return _printed(self.data["title"], reporting.short_table(self.data))

    def metrics_table(self) -> Table:
        """Every metric of every arm, for rich to print; the first one decides."""
        return _printed("All metrics", reporting.metrics_table(self.data))

    def words(self) -> list[str]:
        """The conclusion about each arm, and how it was measured; one line each."""
        return [*reporting.sayings(self.data), reporting.protocol_line(self.data)]

    def show(self) -> None:
        """Print the table, the conclusions, and where the report is."""

        console = terminal.console()
        console.print(self.table())
        if len(self.data["metrics"]) > 1:
            console.print(self.metrics_table())
        for line in [*self.words(), f"Report: {self.report}"]:
            console.print(line, soft_wrap=line.startswith("Report"))


def _printed(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """A table for rich to print, of its head and rows."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    head, *others = rows
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    for row in others:
        table.add_row(*row)
    return table


@taking(ComparisonArguments)
def compare(asked: ComparisonArguments) -> Comparison:
    """Train every arm with every seed, evaluate all runs, and write the table and the report.

    If `out` holds a comparison that was begun, it is continued.

    Raises:
        UserError: before anything is trained: unknown names, arms that cannot be compared, metrics that cannot be
            computed for them, another comparison in `out`. Later: every run failed.
    """
    from frugan.comparison import launchers
    from frugan.comparison.planning import checks, unnamed
    from frugan.engine.precision import choose_device
    from frugan.engine.run import RunFolder

    say = say_once(lambda line: None if asked.quiet else terminal.tell(line))

    # What is compared, and whatever speaks against it.
    run_code(asked.out, (), asked.code, trust_code=asked.trust_code)
    asked = unnamed.with_arms(asked, say)
    design = make_design(asked)
    folder = RunFolder(asked.out or design.folder)
    own = run_code(folder.path, inits_of(arm.recipe for arm in design.arms), asked.code, trust_code=asked.trust_code)
    checks.check(asked, design, say, begun=plan_file.is_planned(folder.path))
    for note in design.notes:
        say(note)

    with folder.locked(), owncode.as_it_was_run():
        # The plan comes before the first run, and is kept to.
        decided = decide(design.arms[0].recipe.whole_rounds, choose_device(asked.device))
        kept = plan_file.keep_plan(folder, design, decided, own, asked.allow_changed_code, say)
        if kept.content.get("trained_before"):
            say(f"{len(kept.content['trained_before'])} runs were trained before; they are evaluated as they are.")
        device = ["--device", asked.device] if asked.device else []
        workshop = Workshop(
            folder.path, {**design.evaluation, "device": asked.device}, say, [*device, *kept.code_options], own,
            asked.jobs, asked.quiet, asked.runtime, asked.launcher,
            launchers.read_options(asked.launcher, asked.launcher_options),
        )

        # What is measured before the test: controls, budgets in equal seconds, the margin.
        if asked.retry_failed:
            kept.forget_failures()
        arms = prepare(design, kept, workshop)

        # The test.
        looks = None if asked.evaluate_every is None else parse_count(asked.evaluate_every)
        planned = plan_runs(design, arms, workshop, looks)
        if asked.retry_failed:
            for job in planned.values():
                job.retry()
        train_runs(design, kept, arms, planned, workshop)
        measured = measure_runs(design, kept, arms, planned, workshop)

        # What may be said.
        result = conclude(design, kept, arms, planned, measured, workshop)
        if asked.untuned is not None:
            result["untuned"] = untuned.read_beside(asked.untuned, result)
        folder.write_json(folder.path / "comparison.json", result)
        comparison = Comparison(folder.path, result)
        if not asked.quiet:
            comparison.show()  # first, so that a report that cannot be written takes nothing with it
        reporting.report(folder.path)
    return comparison
