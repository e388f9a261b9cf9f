"""How far a comparison is: read from its folder, from any machine, while runs are trained anywhere. Locks nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugan import claims, terminal
from frugan.comparison.planning import plan_file
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job
from frugan.engine.run import RunFolder
from frugan.recipe import from_dict
from frugan.registry import UserError

NAMED = 20
"""How many runs that are being trained are named."""

STATES = ("measured", "trained", "training", "failed", "waiting")


@dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        arm: the arm's name.
        seed: its seed.
        state: one of `STATES`.
        images: how many images it has been shown.
        budget: how many it will be shown.
        host: the machine that trains it, or did last before it was ended.
        why: why it failed.
    """

    arm: str
    seed: int
    state: str
    images: int
    budget: int
    host: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Status:
    """How far a comparison is.

    Attributes:
        folder: its folder.
        runs: the runs of the test.
        before: of each kind of run before the test, how many have ended and how many have begun.
        is_finished: whether there is a table.
    """

    folder: Path
    runs: tuple[RunStatus, ...]
    before: Mapping[str, tuple[int, int]]
    is_finished: bool

    def words(self) -> list[str]:
        """Lines for people, below the table."""
        counts = Counter(run.state for run in self.runs)
        lines = [f"{kind}: {ended} of {begun} are done." for kind, (ended, begun) in self.before.items()]
        lines.append(
            f"The test: {counts['measured'] + counts['trained']} of {len(self.runs)} runs are trained, "
            f"{counts['measured']} of them measured; {counts['failed']} failed."
        )
        training = [run for run in self.runs if run.state == "training"]
        lines += [
            f"  {run.arm} seed {run.seed}: {run.images:,} of {run.budget:,} images{f', {run.host}' if run.host else ''}"
            for run in training[:NAMED]
        ]
        lines += [f"  and {len(training) - NAMED} more"] if len(training) > NAMED else []
        lines += [f"  {run.arm} seed {run.seed} failed: {run.why}" for run in self.runs if run.why][:NAMED]
        if self.is_finished:
            lines.append(f"It is finished: {self.folder / 'report.html'}")
        return lines

    def show(self) -> None:
        """Print the table and the lines."""
        from rich import box
        from rich.table import Table

        table = Table(title=f"{self.folder}", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        for number, column in enumerate(["arm", *STATES, "images"]):
            table.add_column(column, justify="right" if number else "left")
        for arm in dict.fromkeys(run.arm for run in self.runs):
            runs = [run for run in self.runs if run.arm == arm]
            counts = Counter(run.state for run in runs)
            share = sum(run.images for run in runs) / max(1, sum(run.budget for run in runs))
            table.add_row(arm, *(str(counts[state] or "") for state in STATES), f"{share:.0%}")
        console = terminal.console()
        console.print(table)
        for line in self.words():
            console.print(line, soft_wrap=True)


def status(folder: str | Path) -> Status:
    """How far the comparison in a folder is. Raises UserError if there is none."""
    path = Path(folder)
    if not plan_file.is_planned(path):
        raise UserError(f"{path} holds no comparison that was begun: it has no plan.json. Give the folder of --out.")
    plan = plan_file.read_plan(path)
    arms = list(_arms(plan))
    runs = [_status(arm, seed, path / f"runs/{arm.folder}/seed-{seed}") for seed in plan["seeds"] for arm in arms]
    kinds = {"Trials": "tuning/*/*", "Trials of speed": "trials/*", "Pilots": "pilots/*"}
    before = {name: _count(path, pattern) for name, pattern in kinds.items()}
    tuned = plan.get("tuning", {}).get("arms", {}).values()
    if any("chosen" not in of for of in tuned):
        before["Trials (the better ones go on)"] = before.pop("Trials")
    return Status(path, tuple(runs), {name: counts for name, counts in before.items() if counts[1]}, (
        path / "comparison.json"
    ).is_file())  # fmt: skip


def _arms(plan: Mapping[str, Any]) -> Iterator[Arm]:
    """The arms of a plan, as far as they are known."""
    if "fixed" in plan:
        listed = [(one["name"], one["recipe"]) for one in plan["fixed"]["arms"]]
    else:
        listed = list(plan["arms"].items())
        listed += [(one["name"], one["recipe"]) for one in plan.get("controls", {}).get("arms", ())]
    for name, recipe in listed:
        yield Arm(name, from_dict(recipe, where=f"the plan's arm '{name}'"))


def _status(arm: Arm, seed: int, folder: Path) -> RunStatus:
    run, budget = RunFolder(folder), arm.recipe.budget
    job = Job(arm.name, folder, (), budget, arm.recipe.rounds)
    if not folder.is_dir():
        why = job.why_failed()
        return RunStatus(arm.name, seed, "waiting" if why is None else "failed", 0, budget, why=why)
    why, saved = job.why_failed(), (run.images_saved() or 0) if arm.recipe.rounds is None else job.images_shown()
    shown = max(job.images_shown(), saved)
    if why is not None:
        return RunStatus(arm.name, seed, "failed", shown, budget, why=why)
    if saved >= budget:
        measured = any(line["images"] >= budget for line in run.lines(run.metrics))  # not only on its way
        state = "measured" if measured else "trained"
        return RunStatus(arm.name, seed, state, budget, budget)
    return RunStatus(arm.name, seed, "training", min(shown, budget), budget, claims.holder(folder))


def _count(folder: Path, pattern: str) -> tuple[int, int]:
    """How many runs of a kind have ended, well or not, and how many have begun."""
    begun = [path for path in folder.glob(pattern) if path.is_dir()]
    ended = 0
    for path in begun:
        run = RunFolder(path)
        failed = Job(path.name, path, (), 0).why_failed() is not None
        ended += failed or (run.exists() and _has_ended(run))
    return ended, len(begun)


def _has_ended(run: RunFolder) -> bool:
    """Whether a run came to the end of its budget."""
    recipe = run.read_json(run.recipe)
    rounds = recipe.get("rounds")
    if rounds is None:
        return (run.images_saved() or 0) >= recipe["images"]
    lines = run.lines(run.log)
    return bool(lines) and lines[-1]["rounds"] >= rounds
