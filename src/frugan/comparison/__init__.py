"""Comparison: twins trained with the same seeds on the same data, and what may be said about their differences.

A comparison's folder holds

    plan.json          arms, seeds, budget, metrics, kernels, margin: written before the first run of the test, and
                       kept to
    arms/ARM.json      each arm's recipe
    pilots/seed-S/     runs of the baseline with seeds outside the test, from which the margin follows
    runs/ARM/seed-S/   each run, a folder of its own (`seed-S.txt` beside it is what it printed)
    comparison.json    every raw value, cost and difference
    report.html        the same for people

An arm whose name begins with "damaged" was made worse on purpose, and there is always one where there are seeds enough
for a verdict: as long as none has been found worse, the comparison has not shown that it would notice, and no arm is
called "not worse". With fewer than five seeds there is a direction and no verdict, so no pilots and no damaged arm;
runs that ``frugan train --out OUT/runs/ARM/seed-S`` made beforehand may then lie there, and are only evaluated.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation, intervals, owncode, reporting
from frugan.comparison.planning import plan_file as plans
from frugan.comparison.planning.arms import DAMAGED, Arm, damaged, gather
from frugan.comparison.preparing import controls as _controls
from frugan.comparison.preparing import margin as beforehand
from frugan.comparison.running import measured as _measure
from frugan.comparison.running.jobs import job_of, play
from frugan.comparison.seeds_needed import Needed, plan
from frugan.comparison.verdicts import differences as _verdicts
from frugan.owncode import Code
from frugan.recipe import Recipe, differences, parse_count, to_dict
from frugan.registry import UserError
from frugan.training import inits_of, run_code

if TYPE_CHECKING:
    from rich.table import Table

    from frugan.comparison.running.measured import Jobs, Measured, Say
    from frugan.engine.run import RunFolder

__all__ = ["Arm", "Comparison", "Needed", "compare", "plan"]

PILOTS = (1000, 1001, 1002)


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
        """The main table, to be printed by rich; what may be said of each arm is in `words`."""
        from rich import box
        from rich.table import Table

        head, *rows = reporting.short_table(self.data)
        table = Table(title=self.data["title"], box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        for number, column in enumerate(head):
            table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
        for row in rows:
            table.add_row(*row)
        return table

    def words(self) -> list[str]:
        """What may be said of each arm, and how it was measured, a line each."""
        return [*reporting.sayings(self.data), reporting.protocol_line(self.data)]


def compare(
    arms: str | Sequence[str | Recipe | Arm],
    *,
    families: Sequence[str] = (),
    seeds: Iterable[int] = range(5),
    images: int | str | None = None,
    out: str | Path | None = None,
    data: str | None = None,
    jobs: int = 1,
    metrics: Sequence[str] | None = None,
    view: str | None = None,
    count: int | str | None = None,
    reference: str | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    pilot_seeds: Iterable[int] | None = None,
    match: str | None = None,
    equal: str = "images",
    no_damaged: bool = False,
    changes: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
    device: str | None = None,
    code: Code | None = None,
    trust_code: bool = False,
    allow_changed_code: bool = False,
    evaluate_every: int | str | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> Comparison:
    """Train every arm with every seed, or continue what is in `out`; evaluate, write the table and the report.

    Args:
        arms: each ``"[name:] RECIPE [--family F] [key=value ...]"``, or a `Recipe`.
        families: with one recipe as the only arm, its generator in each of these families.
        seeds: shared by all arms, which are compared seed by seed. Fewer than five give a direction, no verdict.
        images: real images that each run is shown, e.g. "60k"; the recipes' own if left out.
        out: the comparison's folder; ``runs/compare-ARM-ARM`` if left out.
        data: a source for all arms.
        jobs: how many runs are trained at a time; the machine's threads are divided between them, alike for all.
        metrics, view, count, reference: see `frugan.evaluate`. The first metric is the primary one, on which the
            verdict rests; the others describe.
        baseline: the name of the arm that the others are compared with; the first if left out.
        margin: how much worse (in the primary metric) still counts as not worse. Left out, it follows from runs of the
            baseline with `pilot_seeds`: what a tenth less training costs, and no less than the metric's convention.
        pilot_seeds: seeds outside the test; 1000 to 1002 if left out, an empty sequence for no pilots.
        match: also train for each frugal arm its control, the baseline made thinner until it has the same
            "parameters", "macs" or "latency".
        equal: what the arms have the same of: "images", "seconds" (those that the baseline takes), or e.g. "600s".
        no_damaged: add no damaged arm where there is none; then nothing can be called "not worse".
        changes: dotted keys for all arms; also `rounds`, `batch_size`, `precision`, see `frugan.train`.
        device: where to train and evaluate; the best there is if left out.
        code: files of one's own that add variants. Their hashes stand in the plan, which knows them from then on.
        trust_code: run the code that the plan names even if you have not run it on this machine.
        allow_changed_code: continue though the code has changed since; it is written down in the plan and in the runs.
        evaluate_every: also measure each run whenever so many images were seen, see `frugan.train`; the report draws
            the curves of all arms in one plot. No weight is changed by it, so it may be left out of a continued one.
        retry_failed: train every failed run of every arm once more, after the cause has been mended.
        quiet: print nothing.

    Raises:
        UserError: unknown names, arms that cannot be compared, another comparison in `out`, unequal protocols.
    """
    run_code(out, (), code, trust_code=trust_code)
    common = {
        "data": data, "images": images, "rounds": rounds, "batch_size": batch_size, "precision": precision,
    }  # fmt: skip
    listed = [arms] if isinstance(arms, (str, Recipe)) else list(arms)
    found = gather(listed, families, common, changes or {})
    chosen_seeds, first = _seeds(seeds), _baseline(found, baseline)
    found.sort(key=lambda arm: arm.name != first)
    say: Say = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    notes: list[str] = []  # said once nothing was found wrong
    verdicts = len(chosen_seeds) >= intervals.SEEDS_FOR_A_VERDICT
    if verdicts and not any(arm.is_damaged for arm in found):
        if no_damaged:
            notes.append(f"There is no {DAMAGED} arm, so no arm can be called not worse.")
        else:
            found.append(damaged(found[0]))
            notes.append(f"Added the arm '{found[-1].name}': a comparison that does not find it worse proves nothing.")
    pilots = _pilots(pilot_seeds, chosen_seeds, margin, verdicts, notes.append)
    settings: dict[str, Any] = {
        "baseline": first, "seeds": chosen_seeds, "metrics": None if metrics is None else list(metrics),
        "primary": metrics[0] if metrics else evaluation.PRIMARY, "view": view,
        "count": None if count is None else parse_count(count), "reference": reference, "margin": margin,
        "pilot_seeds": pilots, "match": match, "equal": None if equal == "images" else equal,
    }  # fmt: skip
    from frugan import kernels
    from frugan.engine.precision import choose_device
    from frugan.engine.run import RunFolder

    folder = RunFolder(out or Path("runs") / "-".join(["compare", *(arm.folder for arm in found)]))
    own = run_code(folder.path, inits_of(arm.recipe for arm in found), code, trust_code=trust_code)
    usual = found[0].recipe
    mode = kernels.resolve("auto", choose_device(device), usual.whole_rounds)
    _check(found, settings, say)
    for note in notes:
        say(note)

    looking = [] if evaluate_every is None else ["--evaluate-every", str(parse_count(evaluate_every))]
    evaluating = {key: settings[key] for key in ("metrics", "view", "count", "reference")}
    evaluating |= {"device": device}
    threads = max(1, _cores() // max(1, jobs))
    say_once = _measure.once(say)

    def train(planned: Sequence[Any]) -> None:
        play(list(planned), max(1, jobs), threads, quiet, own)

    with folder.locked(), owncode.as_it_was_run():
        written = plans.keep(folder, found, settings, mode, own, allow_changed_code)
        extra = [*(["--device", device] if device else []), *plans.code_options(written)]
        found = plans.settled(found, written)
        if written.get("trained_before"):
            say(f"{len(written['trained_before'])} runs were trained before; they are evaluated as they are.")
        if "fixed" not in written:
            if retry_failed:
                for mark in (*folder.path.glob("pilots/*.failed.json"), *folder.path.glob("trials/*.failed.json")):
                    mark.unlink()  # a margin and a speed take runs that did not fail
            found, fixed = _fix(folder, written, found, settings, extra, train, evaluating, say_once)
            _write_recipes(folder, found)
            plans.complete(folder, written, found, fixed)
        else:
            fixed = written["fixed"]
            found = plans.arms_of(fixed)
        planned: Jobs = {
            (arm.name, seed): job_of(
                folder.path, folder.path / "runs" / arm.folder / f"seed-{seed}", arm.name, arm.recipe, arm.folder,
                seed, [*extra, *looking],
            )
            for seed in chosen_seeds for arm in found
        }  # fmt: skip
        plans.check_runs(folder.path, found, chosen_seeds, written)
        if retry_failed:
            for job in planned.values():
                job.retry()
        if verdicts and beforehand.stageable(found):
            for stop in range(len(_measure.ON_THE_WAY)):
                train([job.until(_measure.stops(job.images)[stop]) for job in planned.values()])
                _measure.look_on_the_way(planned, stop, evaluating, say_once)
        train(list(planned.values()))
        plans.check_runs(folder.path, found, chosen_seeds, written)  # a job may have read a file that just changed

        def accept(values: Mapping[str, Any]) -> None:  # at the first run, not after an hour of judging all
            if fixed.get("pilots", {}).get("metric") in values:
                _check_margin(fixed, values)

        measured = _measure.runs(found, planned, evaluating, say_once, accept)
        _measure.add_way(measured, planned)
        if verdicts:
            _measure.add_judges(measured, planned, evaluating, say_once)
        sd = _evaluation_sd(fixed, measured, planned, first, evaluating, say_once) if verdicts else None
        settings |= {"evaluation_sd": sd, "trained_before": written.get("trained_before", [])}
        settings |= {key: written[key] for key in ("code", "code_changes") if written.get(key)}
        result = _result(found, measured, settings, fixed, planned, (jobs, threads), device, say)
        folder.write_json(folder.path / "comparison.json", result)
        comparison = Comparison(folder.path, result)
        reporting.report(folder.path)
    if not quiet:
        from rich.console import Console

        console = Console()
        console.print(comparison.table())
        for line in [*comparison.words(), f"Report: {comparison.report}"]:
            console.print(line, markup=False, highlight=False, soft_wrap=line.startswith("Report"))
    return comparison


def _seeds(seeds: Iterable[int], what: str = "seeds", such_as: str = "--seeds 0-4") -> list[int]:
    listed = list(seeds)
    if not listed or len(set(listed)) < len(listed) or any(not isinstance(seed, int) or seed < 0 for seed in listed):
        raise UserError(f"{what} are {listed}; give different whole numbers from 0, e.g. {such_as}.")
    return listed


def _pilots(
    asked: Iterable[int] | None, seeds: Sequence[int], margin: float | None, verdicts: bool, say: Say
) -> list[int]:
    """The seeds of the pilots; none where the margin is given or no verdict is possible."""
    if margin is not None and not (margin > 0 and math.isfinite(margin)):
        raise UserError(f"The margin is {margin:g}; it must be above 0, in the unit of the first metric.")
    asked = None if asked is None else list(asked)
    if margin is not None and asked:
        raise UserError(f"The margin is given ({margin:g}) and needs no pilots; leave out --pilot-seeds or --margin.")
    if margin is not None or not verdicts:
        return []
    pilots = list(PILOTS) if asked is None else asked
    if pilots:
        _seeds(pilots, "pilot seeds", "--pilot-seeds 1000-1002")
    inside = sorted(set(pilots) & set(seeds))
    if inside:
        raise UserError(f"The pilot seed {inside[0]} is one of the test's; pilots must lie outside, e.g. 1000-1002.")
    if not pilots:
        say("No pilots: the margin is the metric's convention, its number from the baseline's runs of the test itself.")
    return pilots


def _baseline(arms: Sequence[Arm], baseline: str | None) -> str:
    names = [arm.name for arm in arms]
    if baseline is not None and baseline not in names:
        raise UserError(f"There is no arm '{baseline}' to be the baseline. Accepted: {', '.join(names)}.")
    return baseline or names[0]


def _check(arms: Sequence[Arm], settings: Mapping[str, Any], say: Say) -> None:
    """Whatever can be found wrong is found before hours of training: names, options, data, a view's weights."""
    from frugan import build

    _controls.check(settings["match"], arms)
    if settings["equal"] is not None:
        beforehand.seconds_asked(settings["equal"], arms)
    assemblies = {arm.name: build.assemble(arm.recipe) for arm in arms}
    for arm in arms:
        for warning in assemblies[arm.name].notes:
            say(f"{arm.name}: {warning}")
        unlike = arm.recipe.budget != arms[0].recipe.budget and settings["equal"] is None
        if unlike and not arm.is_damaged:
            say(
                f"'{arm.name}' sees {arm.recipe.budget:,} images and the baseline {arms[0].recipe.budget:,}: not an "
                "equal comparison, and said so in its verdict. Give --images for all."
            )
    kinds = {arm.name: assemblies[arm.name].blueprints[arm.recipe.makers()[0]].part for arm in arms}
    for name, kind in kinds.items():
        if kind != kinds[arms[0].name]:
            raise UserError(
                f"'{arms[0].name}' has a {kinds[arms[0].name]} and '{name}' a {kind}: images made of latents and "
                "translated ones do not compare."
            )
    asked = {key: settings[key] for key in ("view", "count", "reference")} | {"progress": _measure.once(say)}
    for arm in arms:
        # The metric that decides is needed, whether it was named or not; others that were not named may be left out.
        for names in ([settings["primary"]], settings["metrics"]):
            evaluation.check_recipe(assemblies[arm.name], f"'{arm.name}'", metrics=names, **asked)


def _write_recipes(folder: RunFolder, arms: Sequence[Arm]) -> None:
    for arm in arms:
        folder.write_json(folder.path / "arms" / f"{arm.folder}.json", to_dict(arm.recipe))


def _fix(
    folder: RunFolder, plan: dict[str, Any], arms: list[Arm], settings: Mapping[str, Any], extra: Sequence[str],
    train: beforehand.Play, evaluating: Mapping[str, Any], say: Say,
) -> tuple[list[Arm], dict[str, Any]]:
    """All arms with their final recipes, and what else is measured before the test begins."""
    fixed: dict[str, Any] = {"margin": settings["margin"], "margin_rule": None}
    if settings["margin"] is not None:
        fixed["margin_rule"] = "given beforehand"
    if settings["match"] is not None:
        if "controls" not in plan:
            plans.add_controls(folder, plan, *_controls.controls(arms, settings["match"], say))
        fixed["matched"] = plan["controls"]["matched"]
        arms = [*arms, *plans.arms_of(plan["controls"])]
    _write_recipes(folder, arms)
    if settings["equal"] is not None:
        seconds = beforehand.seconds_asked(settings["equal"], arms)
        arms, fixed["equal_seconds"] = beforehand.equal_seconds(folder.path, arms, seconds, extra, train)
        _write_recipes(folder, arms)
    if settings["pilot_seeds"]:
        say(f"Training the baseline with the seeds {settings['pilot_seeds']}, outside the test, for the margin.")
        fixed |= beforehand.margin_of_pilots(
            folder.path, arms[0], settings["pilot_seeds"], extra, train, evaluating, say
        )
        say(f"The margin is {fixed['margin']}, {fixed['margin_rule']}.")
    return arms, fixed


def _cores() -> int:
    """How many threads there are to divide: what OMP_NUM_THREADS allows, else the cores this process may use."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit():
        return int(allowed)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _evaluation_sd(
    fixed: Mapping[str, Any], measured: Measured, planned: Jobs, baseline: str, evaluating: Mapping[str, Any], say: Say
) -> float | None:
    """The deviation of repeated evaluations of one checkpoint, from a pilot or else from a run of the baseline."""
    if "pilots" in fixed:
        return float(fixed["pilots"]["evaluation_sd"])
    for seed, run in measured[baseline].items():
        if run["values"]:
            primary = next(iter(run["values"]))
            say("Measuring the noise of evaluation.")
            own = {**evaluating, "metrics": [primary]}
            return evaluation.noise(planned[baseline, seed].folder, **own, progress=say)[primary].sd
    return None


def _result(
    arms: Sequence[Arm], measured: Measured, settings: Mapping[str, Any], fixed: Mapping[str, Any], planned: Jobs,
    how: tuple[int, int], device: str | None, say: Say,
) -> dict[str, Any]:
    """Everything that ``comparison.json`` holds. Raises UserError for values that may not stand in one table."""
    values = [run["values"] for runs in measured.values() for run in runs.values() if run["failed"] is None]
    if not values:
        first = next(run for runs in measured.values() for run in runs.values())
        raise UserError(f"Every run failed; the first because: {first['failed']}. Mend that and add --retry-failed.")
    metrics = {}
    for name, value in values[0].items():
        protocols = [other[name]["protocol"] for other in values if name in other]
        apart = evaluation.unequal(protocols)
        if apart:
            raise UserError(f"The values of {name} have unequal protocols and share no table: {'; '.join(apart)}.")
        shared = evaluation.shared(protocols[0])
        floor = (value.get("floor") or {}).get("value")
        metrics[name] = {
            "headline": value["headline"], "better": value["better"], "protocol": shared, "floor": floor,
        }  # fmt: skip
    if next(iter(metrics)) != settings["primary"]:
        raise UserError(f"The plan lets {settings['primary']} decide, and it could not be computed; see above why.")
    _check_margin(fixed, metrics)
    facts = _facts(planned)
    costs = _measure.costs(arms, measured, planned, device, say)
    result: dict[str, Any] = {
        "version": reporting.VERSION,
        "title": " against ".join(arm.name for arm in arms if arm.control_of is None),
        "data": next(iter(facts["data"].values()))["title"],
        "machine": {key: facts[key] for key in ("machine", "device", "precision", "versions")},
        "jobs": how[0],
        "threads": how[1],
        **settings,
        "fixed": {key: value for key, value in fixed.items() if key != "arms"},
        "metrics": metrics,
        "arms": [
            {
                "name": arm.name, "recipe": arm.recipe.name, "damaged": arm.is_damaged, "control_of": arm.control_of,
                "images": arm.recipe.budget,
                "differences": differences(arms[0].recipe, arm.recipe), **costs[arm.name],
                "runs": {str(seed): run for seed, run in measured[arm.name].items()},
                "summary": {name: _summary(measured[arm.name], name) for name in metrics},
            }
            for arm in arms
        ],
    }  # fmt: skip
    for arm in result["arms"]:
        arm["apart"] = _measure.apart(arm, result["primary"])
    result["margin"], result["margin_rule"] = _margin(result, fixed)
    result["differences"] = {name: _verdicts.differences(result, name) for name in metrics}
    _verdicts.adjust_secondary(result)
    result["failures"], result["slopes"] = _verdicts.failures(result), _verdicts.slopes(result)
    result["controls"] = _verdicts.against_controls(result, fixed.get("matched", ()))
    result["fronts"] = _verdicts.fronts(result)
    return json.loads(json.dumps(result))


def _check_margin(fixed: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Refuse a margin that the pilots showed in other units than those of the test. Raises UserError."""
    pilots, primary = fixed.get("pilots", {}), next(iter(metrics))
    if "protocol" not in pilots:
        return
    apart = evaluation.unequal([pilots["protocol"], metrics[primary]["protocol"]])
    if pilots["metric"] != primary:
        apart = [f"metric: {pilots['metric']} | {primary}", *apart]
    if apart:
        raise UserError(
            f"The pilots, from which the margin follows, were measured otherwise than the test: {'; '.join(apart)}. "
            "Begin a new comparison with another --out."
        )


def _facts(planned: Jobs) -> dict[str, Any]:
    """Where the first run that began was trained, and on what."""
    from frugan.engine.run import RunFolder

    folders = [RunFolder(job.folder) for job in planned.values()]
    return next(folder.read_json(folder.facts) for folder in folders if folder.facts.is_file())


def _summary(runs: Mapping[int, dict[str, Any]], metric: str) -> dict[str, Any] | None:
    values = list(_verdicts.values(runs, metric).values())
    return intervals.summary(values)._asdict() if any(map(math.isfinite, values)) else None


def _margin(result: Mapping[str, Any], fixed: Mapping[str, Any]) -> tuple[float | None, str]:
    """The margin that was fixed; without pilots the convention, whose number is that of the test's own baseline."""
    from frugan import metrics

    if fixed["margin_rule"] is not None:
        return fixed["margin"], fixed["margin_rule"]
    summary = result["arms"][0]["summary"][result["primary"]]
    rule = metrics.find(result["primary"]).margin
    if rule is None or summary is None:
        return None, "none"
    least = rule(summary["mean"], result["metrics"][result["primary"]]["protocol"]["view"])
    least = max(least, 2 * (result["evaluation_sd"] or 0.0))
    # To three figures, so that the margin that is printed is the one that was used.
    return float(f"{least:.3g}") or None, f"the convention of {result['primary']} for the baseline's mean, no pilots"
