"""What is measured of each trained run: its values, those on the way, and those by other judges."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from frugan import evaluation
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job
from frugan.comparison.running.looks import find_stops, find_value
from frugan.comparison.running.workshop import Workshop

JUDGES = 3
"""How many independently trained views (judges) must agree, where a view is trained on the data of the comparison."""

Planned = dict[tuple[str, int], Job]
"""Every run of the test, by arm and seed."""

Measured = dict[str, dict[int, dict[str, Any]]]
"""What was measured of every run, by arm and seed."""


def measure_runs(
    arms: Sequence[Arm], planned: Planned, workshop: Workshop, accept: Callable[[Mapping[str, Any]], None]
) -> Measured:
    """Read and evaluate every run; `accept` is called with the values of each run as soon as they are known.

    A run that did not train has no values and counts as failed. ``"untrained"`` tells it from a run that stopped with
    an error.
    """
    from frugan.engine.health import findings
    from frugan.engine.run import RunFolder

    measured: Measured = {arm.name: {} for arm in arms}
    for (name, seed), job in planned.items():
        folder = RunFolder(job.folder)
        lines = folder.lines(folder.log)
        timed = [line for line in lines if "seconds" in line]
        facts = folder.read_json(folder.facts) if folder.facts.is_file() else {}
        untrained = None if job.why_failed() else job.why_untrained()
        run: dict[str, Any] = {
            "folder": str(job.folder.relative_to(job.folder.parents[2])),
            "failed": job.why_failed() or untrained,
            "untrained": untrained is not None,
            "retried": job.why_retried(),
            "threads": facts.get("threads"),
            "trained_on": _hardware(facts) if facts else None,
            "torch": facts["versions"]["torch"] if facts else None,
            "continued": [
                {"trained_on": _hardware(one), "threads": one["threads"], "torch": one["versions"]["torch"]}
                for one in facts.get("continued", ())
            ],
            "images": lines[-1]["images"] if lines else 0,
            # A run that stopped early took fewer seconds than a run takes.
            "seconds": timed[-1]["seconds"] if timed and job.why_failed() is None else None,
            "given": facts.get("given", {}),
            "images_per_second": timed[-1]["images"] / timed[-1]["seconds"] if timed else None,
            "findings": [{"kind": f.kind, "images": f.images, "text": f.text} for f in findings(lines)],
            "values": {},
        }
        if run["failed"] is None:
            workshop.say(f"Evaluating {job.title}.")
            run["values"] = {value["metric"]: value for value in workshop.evaluate(folder)}
            accept(run["values"])
        elif untrained is not None:
            workshop.say(f"{job.title} did not train, so it counts as failed and is not evaluated.")
        measured[name][seed] = run
    return measured


def _hardware(facts: Mapping[str, Any]) -> str:
    """The processor and, if a run was trained on one, the card."""
    return f"{facts['machine']}, {facts.get('card') or facts['device']}"


def add_looks(measured: Measured, planned: Planned) -> None:
    """Add to each run its values on the way in the primary metric, measured as its last value was."""
    for (name, seed), job in planned.items():
        run = measured[name][seed]
        primary = next(iter(run["values"].values()), None)
        if primary is None:
            continue
        way = []
        for first, before in itertools.pairwise(find_stops(job.images)):
            value = find_value(job, first, before, primary)
            if value is not None:
                way.append(value)
        run["way"] = [*way, {"images": primary["images"], "number": primary["values"][primary["headline"]]}]


def find_judges(primary: str, how: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations by other judges, as arguments of `frugan.evaluate` that differ from `how`.

    None if `how` names a view that has no seed. If it names none, whoever evaluates finds out.
    """
    from frugan import views

    if how.get("view") is not None and "seed" not in inspect.signature(views.find(how["view"]).build).parameters:
        return []
    return [{"metrics": [primary], "view_seed": seed} for seed in range(1, JUDGES)]


def add_judges(measured: Measured, planned: Planned, workshop: Workshop) -> None:
    """Add to each run its primary value by other judges, if the view was trained on the data and takes a seed."""
    values = [run["values"] for of in measured.values() for run in of.values() if run["values"]]
    first = next(iter(values[0].values()), None) if values else None
    if first is None:
        return
    name = first["protocol"]["view"]
    if not find_judges(first["metric"], {"view": name}):
        return
    with evaluation.made_once():
        for (arm, run_seed), job in planned.items():
            run = measured[arm][run_seed]
            if run["failed"] is None:
                workshop.say(f"Evaluating {job.title} by {JUDGES - 1} other judges: the view {name} with other seeds.")
                judges = find_judges(first["metric"], {"view": name})
                others = [workshop.evaluate(job.folder, **{**judge, "view": name})[0] for judge in judges]
                run["judges"] = [float(value["values"][value["headline"]]) for value in others]
