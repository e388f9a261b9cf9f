"""Verdicts: the conclusions that the measured runs allow, and everything else that ``comparison.json`` holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frugan import evaluation, intervals, reporting
from frugan.comparison.planning.arms import Arm
from frugan.comparison.preparing.margin import check_margin
from frugan.comparison.verdicts import costs, fronts, verdicts
from frugan.comparison.verdicts.differences import read_values
from frugan.metrics import floor_is_of
from frugan.recipe import differences
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning import Design
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.measured import Measured, Planned
    from frugan.comparison.running.workshop import Workshop


def conclude(
    design: Design, plan: PlanFile, arms: Sequence[Arm], planned: Planned, measured: Measured, workshop: Workshop
) -> dict[str, Any]:
    """Compute everything that ``comparison.json`` holds.

    Raises UserError if every run failed, or if values have unequal protocols.
    """
    fixed = plan.fixed or {}
    metrics = _describe_metrics(measured, design.settings["primary"])
    check_margin(fixed, metrics)
    noise = _find_noise(fixed, planned, measured, design, workshop) if design.gives_verdicts else None
    facts = _read_facts(planned)
    paid = costs.measure_costs(arms, planned, measured, workshop)
    result: dict[str, Any] = {
        "version": reporting.VERSION,
        "title": " against ".join(arm.name for arm in arms if arm.control_of is None),
        "data": next(iter(facts["data"].values()))["title"],
        "machine": {key: facts[key] for key in ("machine", "device", "precision", "versions")},
        "jobs": workshop.at_once,
        "launcher": workshop.launcher,
        "threads": workshop.threads,
        **design.settings,
        "evaluation_sd": noise,
        "trained_before": plan.content.get("trained_before", []),
        **{key: plan.content[key] for key in ("code", "code_changes", "plan_changes") if plan.content.get(key)},
        "fixed": {key: value for key, value in fixed.items() if key != "arms"},
        "metrics": metrics,
        "arms": [
            {
                "name": arm.name, "recipe": arm.recipe.name, "damaged": arm.is_damaged, "control_of": arm.control_of,
                "images": arm.recipe.budget, "rounds": arm.recipe.rounds,
                "differences": differences(arms[0].recipe, arm.recipe), **paid[arm.name],
                "runs": {str(seed): run for seed, run in measured[arm.name].items()},
                "summary": {name: _summarise(measured[arm.name], name) for name in metrics},
            }
            for arm in arms
        ],
    }  # fmt: skip
    for arm in result["arms"]:
        arm["apart"] = costs.find_unlike(arm, result["primary"])
    result["margin"], result["margin_rule"] = _read_margin(result, fixed)
    result["differences"] = {name: verdicts.judge_arms(result, name) for name in metrics}
    verdicts.adjust_secondary(result)
    result["failures"], result["slopes"] = verdicts.count_failures(result), verdicts.find_slopes(result)
    result["controls"] = verdicts.judge_against_controls(result, fixed.get("matched", ()))
    verdicts.note_tuning(result)
    result["fronts"] = fronts.find_fronts(result)
    return json.loads(json.dumps(result))


def _describe_metrics(measured: Measured, primary: str) -> dict[str, Any]:
    """Describe each metric, the primary one first. Raises UserError if its values have unequal protocols."""
    values = [run["values"] for runs in measured.values() for run in runs.values() if run["failed"] is None]
    if not values:
        first = next(run for runs in measured.values() for run in runs.values())
        if first["untrained"]:
            raise UserError(
                f"All runs ended untrained, so there is nothing to compare. The first: {first['failed']} The plan of "
                "this comparison cannot change any more. Begin a new comparison with another --out."
            )
        raise UserError(f"Every run failed. Reason of the first: {first['failed']}. Fix it and add --retry-failed.")
    metrics = {}
    for name, value in values[0].items():
        protocols = [other[name]["protocol"] for other in values if name in other]
        apart = evaluation.unequal(protocols)
        if apart:
            raise UserError(
                f"The values of {name} were measured differently, so they cannot be compared: {'; '.join(apart)}. "
                "Begin a new comparison with another --out."
            )
        metrics[name] = {
            "headline": value["headline"], "better": value["better"], "protocol": evaluation.shared(protocols[0]),
            "floor": (value.get("floor") or {}).get("value"), "floor_is_of": floor_is_of(value),
        }  # fmt: skip
    if next(iter(metrics)) != primary:
        raise UserError(
            f"{primary} decides this comparison, but it could not be computed; the lines above say why. Fix that and "
            "run the same command again."
        )
    return metrics


def _find_noise(
    fixed: Mapping[str, Any], planned: Planned, measured: Measured, design: Design, workshop: Workshop
) -> float | None:
    """The standard deviation of repeated evaluations of one checkpoint: of a pilot, or else of a baseline's run."""
    if "pilots" in fixed:
        return float(fixed["pilots"]["evaluation_sd"])
    baseline = design.settings["baseline"]
    for seed, run in measured[baseline].items():
        if run["values"]:
            workshop.say("Measuring the noise of evaluation.")
            return workshop.find_noise(planned[baseline, seed].folder, next(iter(run["values"]))).sd
    return None


def _read_facts(planned: Planned) -> dict[str, Any]:
    """The facts of the first run that has any: machine, device, precision, versions, data."""
    from frugan.engine.run import RunFolder

    folders = [RunFolder(job.folder) for job in planned.values()]
    return next(folder.read_json(folder.facts) for folder in folders if folder.facts.is_file())


def _summarise(runs: Mapping[int, dict[str, Any]], metric: str) -> dict[str, Any] | None:
    values = list(read_values(runs, metric).values())
    return intervals.summary(values)._asdict() if any(map(math.isfinite, values)) else None


def _read_margin(result: Mapping[str, Any], fixed: Mapping[str, Any]) -> tuple[float | None, str]:
    """The margin and its rule: as fixed before the test; without pilots, the metric's convention for the baseline."""
    from frugan import metrics

    if fixed.get("margin_rule") is not None:
        return fixed["margin"], fixed["margin_rule"]
    summary = result["arms"][0]["summary"][result["primary"]]
    rule = metrics.find(result["primary"]).margin
    if rule is None or summary is None:
        return None, "none"
    least = rule(summary["mean"], result["metrics"][result["primary"]]["protocol"]["view"])
    least = max(least, 2 * (result["evaluation_sd"] or 0.0))
    # To three figures, so that the margin that is printed is the one that was used.
    return float(f"{least:.3g}") or None, f"the convention of {result['primary']} for the baseline's mean, no pilots"
