"""Comparison: twins trained with the same seeds on the same data, and what may be said about their differences.

A comparison's folder holds

    plan.json          arms, seeds, budget, metrics, margin: written before the first run, and kept to
    arms/ARM.json      each arm's recipe
    runs/ARM/seed-S/   each run, a folder of its own (`seed-S.txt` beside it is what it printed)
    comparison.json    every raw value, cost and difference
    report.html        the same for people

An arm whose name begins with "damaged" is a control, made worse on purpose: as long as no control has been found worse,
the comparison has not shown that it would notice, and no arm is called "not worse".
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation, intervals, reporting
from frugan.comparison._arms import CONTROL, Arm, gather, plan_differences, plan_of
from frugan.comparison._jobs import Job, play
from frugan.recipe import Recipe, differences, parse_count, to_dict
from frugan.registry import UserError, load_code

if TYPE_CHECKING:
    from rich.table import Table

    from frugan.engine.run import RunFolder

__all__ = ["Arm", "Comparison", "compare"]

LATENCY_BATCHES = (1, 64)


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
    changes: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
    device: str | None = None,
    code: str | Path | None = None,
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
        metrics, view, count, reference: see `frugan.evaluate`. The first metric is the primary one.
        baseline: the name of the arm that the others are compared with; the first if left out.
        margin: how much worse (in the primary metric) still counts as not worse. Left out, for a Fréchet distance 5 %
            of the baseline's mean, and at least 1 with the view "inception"; none for other metrics.
        changes: dotted keys for all arms; also `rounds`, `batch_size`, `precision`, see `frugan.train`.
        device: where to train and evaluate; the best there is if left out.
        code: a file of one's own that adds variants.
        retry_failed: train every failed run of every arm once more, after the cause has been mended.
        quiet: print nothing.

    Raises:
        UserError: unknown names, arms that cannot be compared, another comparison in `out`, unequal protocols.
    """
    if code is not None:
        load_code(code)
    common = {
        "data": data, "images": images, "rounds": rounds, "batch_size": batch_size, "precision": precision,
    }  # fmt: skip
    listed = [arms] if isinstance(arms, (str, Recipe)) else list(arms)
    found = gather(listed, families, common, changes or {})
    chosen_seeds, first = _seeds(seeds), _baseline(found, baseline)
    found.sort(key=lambda arm: arm.name != first)
    settings = {
        "baseline": first, "seeds": chosen_seeds, "metrics": None if metrics is None else list(metrics), "view": view,
        "count": None if count is None else parse_count(count), "reference": reference, "margin": margin,
    }  # fmt: skip
    say = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    from frugan.engine.precision import choose_device
    from frugan.engine.run import RunFolder

    choose_device(device)
    _check(found, settings, say)

    folder = RunFolder(out or Path("runs") / "-".join(["compare", *(arm.folder for arm in found)]))
    with folder.locked():
        _keep_plan(folder, found, settings)
        planned = _plan_jobs(folder.path, found, chosen_seeds, device, code)
        if retry_failed:
            for job in planned.values():
                job.mark.unlink(missing_ok=True)
        threads = max(1, _cores() // max(1, jobs))
        play(list(planned.values()), max(1, jobs), threads, quiet)
        measured = _measure(found, planned, settings, device, code, say)
        result = _result(found, measured, settings, planned, jobs, threads, say)
        folder.write_json(folder.path / "comparison.json", result)
        comparison = Comparison(folder.path, result)
        reporting.report(folder.path, code=code)
    if not quiet:
        from rich.console import Console

        console = Console()
        console.print(comparison.table())
        for line in [*comparison.words(), f"Report: {comparison.report}"]:
            console.print(line, markup=False, highlight=False, soft_wrap=line.startswith("Report"))
    return comparison


def _seeds(seeds: Iterable[int]) -> list[int]:
    listed = list(seeds)
    if not listed or len(set(listed)) < len(listed) or any(not isinstance(seed, int) or seed < 0 for seed in listed):
        raise UserError(f"seeds are {listed}; give different whole numbers from 0, e.g. --seeds 0-4.")
    return listed


def _baseline(arms: Sequence[Arm], baseline: str | None) -> str:
    names = [arm.name for arm in arms]
    if baseline is not None and baseline not in names:
        raise UserError(f"There is no arm '{baseline}' to be the baseline. Accepted: {', '.join(names)}.")
    return baseline or names[0]


def _check(arms: Sequence[Arm], settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Whatever can be found wrong is found before hours of training: names, options, data, a view's weights."""
    from frugan import build, views
    from frugan import metrics as known

    for name in settings["metrics"] or ():
        metric = known.find(name)
        if settings["count"] is not None and settings["count"] < metric.least:
            raise UserError(f"{name} takes at least {metric.least} images; the count is {settings['count']}.")
    for arm in arms:
        for warning in build.check(arm.recipe):
            say(f"{arm.name}: {warning}")
    sets = build.datasets(arms[0].recipe)
    if settings["view"] is not None and "weights" in views.find(settings["view"]).needs:
        views.build(settings["view"], dataset=next(iter(sets.values())))


def _keep_plan(folder: RunFolder, arms: Sequence[Arm], settings: Mapping[str, Any]) -> None:
    """Write the plan and the arms' recipes, or refuse another plan than the one that is there."""
    from frugan.engine.run import LOCK

    path = folder.path / "plan.json"
    plan = json.loads(json.dumps(plan_of(arms, settings)))
    if path.is_file():
        apart = plan_differences(folder.read_json(path), plan)
        if apart:
            raise UserError(
                f"{folder.path} holds a comparison with another plan ({'; '.join(apart)}). A plan is kept to, so that "
                "nothing is decided by the results: give another --out, or the settings it was begun with."
            )
    else:
        if any(item.name != LOCK for item in folder.path.iterdir()):
            raise UserError(f"{folder.path} holds something that is no comparison; give another --out.")
        folder.write_json(path, plan)
    for arm in arms:
        recipe = folder.path / "arms" / f"{arm.folder}.json"
        if not recipe.is_file():
            folder.write_json(recipe, to_dict(arm.recipe))


Jobs = dict[tuple[str, int], Job]


def _plan_jobs(
    out: Path, arms: Sequence[Arm], seeds: Sequence[int], device: str | None, code: str | Path | None
) -> Jobs:
    """Every run, seed by seed, so that what there is at any time is paired."""
    extra = [*(["--device", device] if device else []), *(["--code", str(code)] if code else [])]
    planned = {}
    for seed in seeds:
        for arm in arms:
            folder = out / "runs" / arm.folder / f"seed-{seed}"
            recipe = arm.recipe
            train = [sys.executable, "-m", "frugan", "train", str(out / "arms" / f"{arm.folder}.json")]
            command = (*train, "--seed", str(seed), "--out", str(folder), *extra)
            planned[arm.name, seed] = Job(
                f"{arm.name} seed {seed}", folder, command, recipe.budget, whole=recipe.rounds is None
            )
    return planned


def _cores() -> int:
    """How many threads there are to divide: what OMP_NUM_THREADS allows, else the cores this process may use."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit():
        return int(allowed)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measure(
    arms: Sequence[Arm], planned: Jobs, settings: Mapping[str, Any], device: str | None,
    code: str | Path | None, say: Callable[[str], None],
) -> dict[str, dict[int, dict[str, Any]]]:
    """What is to be known of each run, by arm and seed."""
    from frugan.engine.health import findings
    from frugan.engine.run import RunFolder

    told: set[str] = set()

    def say_once(line: str) -> None:
        """Every evaluation says the same but the first, which may have a view to train or a metric to leave out."""
        if line not in told:
            told.add(line)
            say(line)

    measured: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in arms}
    for (name, seed), job in planned.items():
        folder = RunFolder(job.folder)
        lines = folder.lines(folder.log)
        timed = [line for line in lines if "seconds" in line]
        run: dict[str, Any] = {
            "folder": str(job.folder.relative_to(job.folder.parents[2])),
            "failed": job.failure(),
            "images": lines[-1]["images"] if lines else 0,
            "seconds": timed[-1]["seconds"] if timed else None,
            "images_per_second": timed[-1]["images"] / timed[-1]["seconds"] if timed else None,
            "findings": [{"kind": f.kind, "images": f.images, "text": f.text} for f in findings(lines)],
            "values": {},
        }
        if run["failed"] is None:
            say(f"Evaluating {job.title}.")
            values = evaluation.evaluate(
                folder, metrics=settings["metrics"], view=settings["view"], count=settings["count"],
                reference=settings["reference"], device=device, code=code, progress=say_once,
            )  # fmt: skip
            run["values"] = {value["metric"]: value for value in values}
        measured[name][seed] = run
    return measured


def _result(
    arms: Sequence[Arm], measured: Mapping[str, Mapping[int, dict[str, Any]]], settings: Mapping[str, Any],
    planned: Jobs, jobs: int, threads: int, say: Callable[[str], None],
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
        metrics[name] = {"headline": value["headline"], "better": value["better"], "protocol": shared}
    facts = _facts(planned)
    costs = _costs(arms, measured, planned, say)
    result: dict[str, Any] = {
        "title": " against ".join(arm.name for arm in arms),
        "data": next(iter(facts["data"].values()))["title"],
        "machine": {key: facts[key] for key in ("machine", "device", "precision", "versions")},
        "jobs": jobs,
        "threads": threads,
        **settings,
        "primary": next(iter(metrics)),
        "metrics": metrics,
        "arms": [
            {
                "name": arm.name, "recipe": arm.recipe.name, "control": arm.is_control, "images": arm.recipe.images,
                "differences": differences(arms[0].recipe, arm.recipe), **costs[arm.name],
                "runs": {str(seed): run for seed, run in measured[arm.name].items()},
                "summary": {name: _summary(measured[arm.name], name) for name in metrics},
            }
            for arm in arms
        ],
    }  # fmt: skip
    result["margin"], result["margin_rule"] = _margin(result, settings["margin"])
    result["differences"] = {name: _differences(result, name) for name in metrics}
    return json.loads(json.dumps(result))


def _facts(planned: Jobs) -> dict[str, Any]:
    """Where the first run that began was trained, and on what."""
    from frugan.engine.run import RunFolder

    folders = [RunFolder(job.folder) for job in planned.values()]
    return next(folder.read_json(folder.facts) for folder in folders if folder.facts.is_file())


def _costs(
    arms: Sequence[Arm], measured: Mapping[str, Mapping[int, dict[str, Any]]], planned: Jobs, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Counts and times of each arm's trained generator, the times taken in turn (A B A B ...)."""
    import torch

    from frugan import artefact, build, costs

    calls: dict[str, tuple[Any, ...]] = {}
    found: dict[str, dict[str, Any]] = {arm.name: {"generator": None, "latency": {}} for arm in arms}
    for arm in arms:
        nets = build.networks(arm.recipe)
        found[arm.name]["parameters"] = {name: costs.parameters(net) for name, (net, _) in nets.items()}
        seed = next((seed for seed, run in measured[arm.name].items() if run["failed"] is None), None)
        if seed is None:
            continue
        generator = artefact.load(planned[arm.name, seed].folder)
        labels = [torch.zeros(1, dtype=torch.int64)] if getattr(generator.module, "classes", 0) else []
        calls[arm.name] = (generator.module, (1, generator.latents.size), *labels)
        found[arm.name]["generator"] = costs.cost(*calls[arm.name]).as_dict()
    say("Measuring how long each generator takes.")
    for name, times in costs.latencies(calls, batches=LATENCY_BATCHES).items():
        found[name]["latency"] = {str(time.batch): time.as_dict() for time in times}
    return found


def _values(runs: Mapping[Any, dict[str, Any]], metric: str) -> dict[int, float]:
    """Seed -> headline number; NaN for a failed run."""
    values = {}
    for seed, run in runs.items():
        value = run["values"].get(metric)
        if value is not None:
            values[int(seed)] = float(value["values"][value["headline"]])
        elif run["failed"] is not None:
            values[int(seed)] = math.nan
    return values


def _summary(runs: Mapping[int, dict[str, Any]], metric: str) -> dict[str, Any] | None:
    values = list(_values(runs, metric).values())
    return intervals.summary(values)._asdict() if any(map(math.isfinite, values)) else None


def _margin(result: Mapping[str, Any], given: float | None) -> tuple[float | None, str]:
    """The margin of the primary metric, and the rule that it follows, which was fixed before the first run."""
    if given is not None:
        return given, "given beforehand"
    from frugan import metrics

    summary = result["arms"][0]["summary"][result["primary"]]
    rule = metrics.find(result["primary"]).margin
    if rule is None or summary is None:
        return None, "none"
    least = rule(summary["mean"], result["metrics"][result["primary"]]["protocol"]["view"])
    return _rounded(least) or None, f"the convention of {result['primary']} for the baseline's mean"


def _rounded(value: float) -> float:
    """To three figures, so that the margin that is printed is the one that was used."""
    return float(f"{value:.3g}")


def _differences(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Each arm's paired difference from the baseline in one metric, and what may be said of it."""
    better = result["metrics"][metric]["better"]
    by_arm = {arm["name"]: _values(arm["runs"], metric) for arm in result["arms"]}
    margin = result["margin"] if metric == result["primary"] else None
    filled = dict(zip(by_arm, intervals.failed_as_worst(*by_arm.values(), better=better), strict=True))
    base = filled[result["baseline"]]
    found: dict[str, Any] = {}
    for name, values in filled.items():
        if name == result["baseline"] or not values.keys() & base.keys():
            continue
        difference = intervals.paired(values, base)
        kind, text = intervals.verdict(difference, margin, better=better)
        found[name] = {
            "mean": difference.mean, "sd": difference.sd, "n": difference.n, "p": difference.p,
            "interval_95": difference.interval_95, "interval_90": difference.interval_90,
            "correlation": difference.correlation, "missing": difference.missing, "kind": kind, "text": text,
            "seeds": difference.seeds, "differences": difference.differences,
        }  # fmt: skip
    controls = [arm["name"] for arm in result["arms"] if arm["control"]]
    worse = [name for name, one in found.items() if one["kind"].startswith("worse")]
    proven = any(name in worse for name in controls)
    for one in found.values():
        if one["kind"] == "not worse" and not proven:
            one["kind"] = "unproven"
            one["text"] = (
                f"not seen to be worse, but no {CONTROL} arm shows that this comparison would see it "
                f"({re.sub(r'^[^(]*[(]|[)]$', '', one['text'])})"
            )
    return found
