"""The content of a comparison's page, read from its folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frugan.reporting import _charts as charts
from frugan.reporting import _words as words
from frugan.reporting._neighbours import panel
from frugan.reporting._tables import (
    all_numbers,
    main_table,
    never_trained,
    protocol_line,
    read_comparison,
    remarks,
    runtime_of,
    trained,
    untrained,
)
from frugan.reporting._tuning import tuning_of, tuning_section, untuned_section

GRID = 36
SAMPLE_SEED = 0
TONES = {
    "better": "good", "not worse": "good", "worse within margin": "bad", "worse beyond margin": "bad",
    "beats its control": "good", "saves nothing": "bad",
}  # fmt: skip
PLACES = {"front": "on the front", "dominated": "surely dominated", "undecided": "undecided"}


def comparison_page(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name of the template of a comparison's page, and the values to fill in."""
    from frugan.engine.health import UNTRAINED

    data = read_comparison(folder)
    head, *rows = main_table(data)
    differences = data["differences"][data["primary"]]
    tones = [
        "bad" if never_trained(arm) else TONES.get(differences.get(arm["name"], {}).get("kind", ""), "")
        for arm in data["arms"]
    ]
    recipes = sorted({arm["recipe"] for arm in data["arms"]})
    runs = [(arm, seed, run) for arm in data["arms"] for seed, run in arm["runs"].items()]
    return "comparison.html.jinja", {
        "title": data["title"],
        "lead": f"{'Recipe' if len(recipes) == 1 else 'Recipes'} {', '.join(recipes)} on {data['data']}. "
        f"{_budgets(data)}, seeds {words.seeds(data['seeds'])}.",
        "arms": [{**arm, "recipe_text": _recipe_text(folder, arm)} for arm in data["arms"]],
        "seeds": data["seeds"],
        "head": head,
        "words": head.index("what may be said"),
        "rows": [{"cells": row, "tone": tone} for row, tone in zip(rows, tones, strict=True)],
        "protocol": protocol_line(data),
        "failures": [
            f"{arm['name']}, seed {seed} failed: {run['failed']}"
            for arm, seed, run in runs if run["failed"] and not words.is_untrained(run)
        ] + untrained(data),
        "findings": [
            f"{arm['name']}, seed {seed}, since {finding['images']:,} images: {finding['text']}"
            for arm, seed, run in runs for finding in run["findings"] if finding["kind"] != UNTRAINED
        ],
        "remarks": remarks(data),
        "differences": _differences(data),
        "band": bool(data["margin"]),
        "controls": _controls(data),
        "tuning": tuning_section(data),
        "untuned": untuned_section(data),
        "fronts": _fronts(data),
        "slopes": _slopes(data),
        "neighbours": _neighbours(folder, data),
        "classes": _classes(folder, data),
        "plots": _plots(data),
        "better": data["metrics"][data["primary"]]["better"],
        "grids": _grids(folder, data),
        "charts": _curves(folder, data),
        "values": [_values(data, name) for name in data["metrics"]],
        "facts": _facts(data),
        "margin": f"{data['margin']:.3g}, {data['margin_rule']}" if data["margin"] else "none was set",
        "command": _command(folder, data),
    }  # fmt: skip


def _failed(run: Mapping[str, Any]) -> str:
    return "did not train" if words.is_untrained(run) else "failed"


def _budgets(data: Mapping[str, Any]) -> str:
    """How many images the runs were to see, or rounds they were to play, arms damaged on purpose apart."""
    rounds = sorted({arm["rounds"] for arm in data["arms"] if not arm["damaged"] and arm.get("rounds")})
    if rounds:
        return f"{rounds[0]:,} rounds in each run" if len(rounds) == 1 else f"{rounds[0]:,} to {rounds[-1]:,} rounds"
    budgets = sorted({arm["images"] for arm in data["arms"] if not arm["damaged"]})
    if len(budgets) == 1:
        return f"{budgets[0]:,} images seen by each run"
    return f"{budgets[0]:,} to {budgets[-1]:,} images seen by a run, as many in all runs of an arm"


def _differences(data: Mapping[str, Any]) -> str:
    """A chart of each arm minus the baseline, and minus its control; nothing where a single seed leaves no interval."""
    colours = {arm["name"]: colour for colour, arm in enumerate(data["arms"])}
    primary = data["primary"]

    def drawn(name: str, arm: str, one: Mapping[str, Any] | None) -> list[charts.Difference]:
        if one is None or one["interval_95"] is None:
            return []
        return [charts.Difference(name, one["mean"], one["interval_95"], one["differences"], colours[arm])]

    groups = {
        "baseline": [one for arm, row in data["differences"][primary].items() for one in drawn(arm, arm, row)],
        "controls": [
            one for row in data["controls"]
            for one in drawn(f"{row['arm']} minus its control", row["arm"], row["difference"])
        ],
    }  # fmt: skip
    if not groups["baseline"]:
        return ""
    about = data["metrics"][primary]
    across = f"{words.metric(primary, about['protocol']['view'])} minus that of {data['baseline']}"
    return charts.differences(groups, across, across, margin=data["margin"], better=about["better"])


def _controls(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each frugal arm: its control, what both cost, the difference and what may be said."""
    rows = []
    for row in data["controls"]:
        one = row["difference"] or {"mean": None, "interval_95": None}
        interval = one["interval_95"]
        within = f"95 %: {words.signed(interval[0])} to {words.signed(interval[1])}" if interval else ""
        cells = [
            row["control"], f"{row['match']}, width {row['width']:.3g}",
            f"{words.number(row['wanted'], 4)} and {words.number(row['reached'], 4)}",
            "–" if one["mean"] is None else f"{words.signed(one['mean'])}\n{within}",
        ]  # fmt: skip
        rows.append({"arm": row["arm"], "cells": cells, "text": row["text"], "tone": TONES.get(row["kind"], "")})
    return rows


def _fronts(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where each arm stands against each cost."""
    if not data["fronts"]:
        return None
    rows = []
    for arm in data["arms"]:
        cells = []
        for front in data["fronts"]:
            price = front["costs"].get(arm["name"])
            doubted = front["cost"] == "macs" and arm["generator"] and words.doubts(arm["generator"])
            if price is not None:
                cells.append(f"{words.number(price, 4)}\n{PLACES[front['places'][arm['name']]]}")
            else:
                cells.append("in doubt" if doubted else "–")
        rows.append({"arm": arm["name"], "cells": cells})
    areas = [
        f"{front['words']}: {front['hypervolume']:.4g} to ({front['reference'][0]:.4g}, {front['reference'][1]:.4g})"
        for front in data["fronts"]
    ]
    return {"head": [front["words"] for front in data["fronts"]], "rows": rows, "areas": areas}


def _slopes(data: Mapping[str, Any]) -> list[str]:
    """How each arm moved over its last quarter, a line each."""
    lines = []
    for name, one in data["slopes"].items():
        interval = one["interval_95"]
        within = f", 95 % {words.signed(interval[0])} to {words.signed(interval[1])}" if interval else ""
        means = " → ".join(words.number(mean, 4) for mean in one["means"])
        state = "still improving, so the budget is unfinished" if one["improving"] else "no sure improvement"
        lines.append(f"{name}: {means}, {words.signed(one['change'])} over its last quarter{within}; {state}")
    return lines


def _neighbours(folder: Path, data: Mapping[str, Any]) -> list[dict[str, str]]:
    """Fakes of each arm's first run over the training images that are nearest to them."""
    panels = []
    for arm in data["arms"]:
        run = next((run for run in arm["runs"].values() if run["failed"] is None), None)
        made = None if run is None else panel(folder / run["folder"])
        if made is not None:
            panels.append({**made, "name": arm["name"]})
    return panels


def _classes(folder: Path, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each number that a metric has of every class or target: means over an arm's runs."""
    tables: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for arm in data["arms"]:
        for run in arm["runs"].values():
            if run["failed"] is not None:
                continue
            for value in run["values"].values():
                for of, title, numbers in words.tables(value, words.classes_of(folder / run["folder"])):
                    table = tables.setdefault((of, title), {})
                    for name, number in numbers.items():
                        table.setdefault(name, {}).setdefault(arm["name"], []).append(number)
    names = [arm["name"] for arm in data["arms"]]

    def mean(numbers: list[float] | None) -> str:
        return words.number(sum(numbers) / len(numbers)) if numbers else "–"

    return [
        {
            "of": of, "title": title,
            "rows": [[one, *(mean(by_arm.get(name)) for name in names)] for one, by_arm in table.items()],
        }
        for (of, title), table in tables.items()
    ]


def _plots(data: Mapping[str, Any]) -> list[dict[str, str]]:
    primary = data["primary"]
    about = data["metrics"][primary]
    up = words.metric(primary, about["protocol"]["view"])
    plots = []
    for across, read in (
        ("parameters of the generator", lambda arm: arm["generator"]["parameters"]),
        ("MACs an image", lambda arm: None if words.doubts(arm["generator"]) else words.all_macs(arm["generator"])),
        ("ms an image, batch 64", lambda arm: arm["latency"]["64"]["median_ms"] / 64),
        ("bytes of the file that ships", lambda arm: arm["file_bytes"]),
        *([(f"ms an image in {runtime_of(data)}, batch 1",
            lambda arm: arm["runtime"]["latency"][0]["median_ms"] if "runtime" in arm else None)]
          if runtime_of(data) else []),
        *([("seconds of tuning and one run", lambda arm: _seconds_in_all(data, arm))] if tuning_of(data) else []),
    ):
        points = [
            charts.Point(price, arm["summary"][primary]["mean"], arm["summary"][primary]["sd"], colour, arm["name"])
            for colour, arm in enumerate(data["arms"])
            if arm["summary"][primary] is not None and arm["generator"] is not None and not arm["apart"]
            and (price := read(arm)) is not None
        ]
        if points:
            title = f"{up} against {across}"
            plots.append({"svg": charts.quality(points, across, up, title, better=about["better"])})
    return plots


def _seconds_in_all(data: Mapping[str, Any], arm: Mapping[str, Any]) -> float | None:
    """What an arm's tuning and one of its runs took; None if that is not known."""
    seconds = [run["seconds"] for run in arm["runs"].values() if run["seconds"]]
    tuned = data["fixed"]["tuning"]["arms"][arm["name"]]["seconds"]
    return sum(seconds) / len(seconds) + tuned if seconds and tuned is not None else None


def _grids(folder: Path, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each training seed, the same latents, or images to be translated, through every arm's generator."""
    from frugan import artefact
    from frugan.reporting import _pictures as pictures
    from frugan.reporting._sheets import sheet, translates

    grids = []
    for seed in data["seeds"]:
        row, said = [], ""
        for arm in data["arms"]:
            run = arm["runs"][str(seed)]
            if run["failed"] is not None and not words.is_untrained(run):
                continue
            path = folder / run["folder"]
            if translates(path):
                made = sheet(path)
                if made is None:
                    continue
                address, alt, said = made["address"], f"{made['alt']}, {arm['name']}, seed {seed}", made["caption"]
            else:
                images = artefact.open_shipped(path).sample(GRID, seed=SAMPLE_SEED)
                address, alt = pictures.of_images(images, 6), f"{GRID} images made by {arm['name']}, seed {seed}"
                said = (
                    f"the same {GRID} latents (sampling seed {SAMPLE_SEED}, the first ones drawn, none picked) through "
                    "every generator."
                )
            value = run["values"].get(data["primary"])
            aside = _failed(run) if run["failed"] else "" if value is None else (
                f"{words.metric(data['primary'], value['protocol']['view'])} "
                f"{words.number(value['values'][value['headline']])}"
            )
            row.append({"address": address, "name": arm["name"], "aside": aside, "alt": alt})
        if row:
            grids.append({"caption": f"Training seed {seed}: {said}", "pictures": row})
    return grids


def _curves(folder: Path, data: Mapping[str, Any]) -> list[dict[str, str]]:
    from frugan.engine.health import COLLAPSED_NEAREST, COLLAPSED_SPREAD
    from frugan.engine.run import RunFolder

    logs = []
    for arm in data["arms"]:
        runs = [RunFolder(folder / run["folder"]) for run in arm["runs"].values()]
        logs.append([run.lines(run.log) for run in runs])
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("generator.loss", "Loss of the generator", {}),
        ("discriminator.loss", "Loss of the discriminator", {}),
        ("health.spread", "Health: spread of fakes over spread of real images",
         {"rules": [(COLLAPSED_SPREAD, "collapse below")]}),
        ("health.nearest", "Health: nearest neighbour of fakes over that of real images",
         {"rules": [(COLLAPSED_NEAREST, "collapse below")]}),
        ("health.distance", "Health: how far fakes lie from real images", {"from_zero": True}),
    ]  # fmt: skip
    wanted = [*_on_the_way(logs), *wanted]
    made = []
    for key, title, options in wanted:
        lines = []
        for colour, arm_logs in enumerate(logs):
            curves = [curve for curve in (charts.series(log, key) for log in arm_logs) if curve[0]]
            lines += [charts.Line(*curve, colour, faint=len(curves) > 1) for curve in curves]
            lines += [charts.Line(*charts.mean_curve(curves), colour)] if len(curves) > 1 else []
        if lines:
            made.append({"title": title, "svg": charts.curves(lines, title, **options)})
    return made


def _on_the_way(logs: Sequence[Sequence[Sequence[Mapping[str, Any]]]]) -> list[tuple[str, str, dict[str, Any]]]:
    """What runs measured while they trained (`--evaluate-every`): a chart each, with what real images reach."""
    charts_of: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for value in (value for runs in logs for log in runs for line in log for value in line.get("evaluations", ())):
        protocol, floor = value["protocol"], value.get("floor")
        name = words.metric(value["metric"], protocol["view"])
        rules = [] if floor is None else [(floor["value"], words.floor_of(value))]
        title = f"{name} while training, {protocol['approximate']}"
        charts_of.setdefault(value["metric"], (value["metric"], title, {"rules": rules, "from_zero": True}))
    return list(charts_of.values())


def _values(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    about = data["metrics"][name]
    rows = []
    for seed in data["seeds"]:
        row = [str(seed)]
        for arm in data["arms"]:
            run = arm["runs"][str(seed)]
            value = run["values"].get(name)
            row.append(_failed(run) if run["failed"] else "–" if value is None else all_numbers(value))
        rows.append(row)
    for label, key in (("mean ± sd", None), ("median", "median"), ("lowest", "low"), ("highest", "high")):
        cells = []
        for arm in data["arms"]:
            summary = arm["summary"][name]
            if summary is None:
                cells.append("–")
            else:
                cells.append(words.measured(summary, 4) if key is None else words.number(summary[key], 4))
        rows.append([label, *cells])
    notes = []
    for arm, difference in data["differences"][name].items():
        interval = difference["interval_95"]
        within = f", 95 % {words.signed(interval[0])} to {words.signed(interval[1])}" if interval else ""
        # Of two pairs it is 1 or -1, whatever they are.
        related = difference["correlation"] if difference["n"] > 2 else None
        paired = "" if related is None else f", correlation over seeds {words.number(related, 2)}"
        pairs = f"{difference['n']} pair{'s' if difference['n'] != 1 else ''}{paired}"
        said = "no verdict, since no margin was set" if difference["kind"] == "no margin" else difference["text"]
        notes.append(f"{arm} minus {data['baseline']}: {words.signed(difference['mean'])}{within} ({pairs}); {said}")
        if difference["n"] > 1:
            notes.append(_beside(difference, name == data["primary"]))
    headline = "" if about["headline"] == name else f": {about['headline'].replace('_', ' ')}"
    title = f"{words.metric(name, about['protocol']['view'])}{headline}, {about['better']} is better"
    return {"title": title, "rows": rows, "notes": notes}


def _beside(difference: Mapping[str, Any], primary: bool) -> str:
    """What is printed beside a difference: it does not decide, but it should not say otherwise either."""
    low, high = difference["unpaired_95"]
    parts = [
        f"median {words.signed(difference['median'])}", f"unpaired 95 % {words.signed(low)} to {words.signed(high)}",
    ]  # fmt: skip
    low, high = difference["bootstrap_95"]
    parts.append(f"bootstrap 95 % {words.signed(low)} to {words.signed(high)} (too narrow if seeds are few)")
    if difference["sign_flip_p"] is not None:
        parts.append(f"sign-flip p {difference['sign_flip_p']:.3g}")
    after_holm = difference.get("p_adjusted")
    adjusted = "" if after_holm is None else f", {after_holm:.3g} after Holm's adjustment"
    parts.append(f"t p {difference['p']:.3g}{adjusted}")
    shares = 100 * difference["win_rate"], 100 * difference["chance_better"]
    parts.append(f"better in {shares[0]:.0f} % of pairs, {shares[1]:.0f} % of crossings")
    if difference["equivalent"] is not None:
        parts.append(f"{'equivalent' if difference['equivalent'] else 'not shown equivalent'} within the margin "
                     f"(p {difference['equivalence_p']:.3g})")  # fmt: skip
    if difference["skewed"]:
        parts.append("skewed values: look at the medians")
    if difference["ratio_95"] is not None:
        low, high = difference["ratio_95"]
        parts.append(f"ratio of geometric means {difference['ratio']:.4g}, 95 % {low:.4g} to {high:.4g}")
    return ("beside it: " if primary else "descriptive: ") + ", ".join(parts)


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    failing = [
        f"{name} {_counted(one)} (p {one['failed_p']:.2g}), {one['collapsed']} collapsed "
        f"(p {one['collapsed_p']:.2g}) of {one['runs']}"
        for name, one in data["failures"].items() if one["failed_p"] is not None
    ]  # fmt: skip
    base = data["failures"][data["baseline"]]
    facts = [("trained on", data["data"]), ("seeds", words.seeds(data["seeds"]))]
    protocols: dict[str, list[str]] = {}
    for name, about in data["metrics"].items():
        spoken = words.metric(name, about["protocol"]["view"])
        protocols.setdefault(words.protocol(about["protocol"]), []).append(spoken)
    facts += [(", ".join(names), protocol) for protocol, names in protocols.items()]
    timed = [one for arm in data["arms"] for one in arm["latency"].values()]
    if timed:
        latency, repeats = timed[0], sorted({one["repeats"] for one in timed})
        passes = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
        facts.append(
            ("latency", f"median of {passes} forward passes, all arms in turn in one process, "
             f"{latency['precision']}, {words.threads(latency['threads'])}, {latency['machine']}")
        )  # fmt: skip
    if runtime_of(data):
        runtime = next(arm["runtime"] for arm in data["arms"] if "runtime" in arm)
        first = runtime["latency"][0]
        facts.append(
            (runtime["runtime"], f"the exported files, median of {first['repeats']} passes, all arms in turn, "
             f"{words.threads(first['threads'])}, {first['machine']}; memory is the peak beyond the runtime's own")
        )  # fmt: skip
    facts += [
        ("counting", "parameters with running means and variances; MACs of all products with weights and of attention, "
         "plain form"),
        ("checkpoint", "the last one of each run, as decided before"),
        ("machine", f"{machine['machine']}, {machine['device']}, {machine['precision']}; {versions}"),
        ("runs", trained(data)),
        ("margin", f"{data['margin']:.4g} ({data['margin_rule']})" if data["margin"] else "none"),
        ("plan", _plan(data)),
        *words.own_code(data),
    ]
    if any(one["failed"] or one["collapsed"] for one in data["failures"].values()):
        baseline = f"{data['baseline']} {_counted(base)}, {base['collapsed']} collapsed of {base['runs']}"
        facts.append(("failures, compared exactly", "; ".join([baseline, *failing])))
    discriminators = {
        arm["name"]: arm["parameters"]["discriminator"] for arm in data["arms"] if "discriminator" in arm["parameters"]
    }
    if discriminators:
        same = len(set(discriminators.values())) == 1
        text = f"{next(iter(discriminators.values())):,} parameters in every arm" if same else ", ".join(
            f"{name} {count:,}" for name, count in discriminators.items()
        )
        facts.append(("discriminator", text))
    return facts


def _counted(one: Mapping[str, Any]) -> str:
    untrained = one.get("untrained")
    return f"{one['failed']} failed{f' ({untrained} of these did not train)' if untrained else ''}"


def _plan(data: Mapping[str, Any]) -> str:
    if data["trained_before"]:
        return "plan.json: arms and seeds; written after some runs were already there"
    margin = " and margin" if data["fixed"]["margin_rule"] else ""
    tuned = ", the trials of every arm and what was chosen," if tuning_of(data) else ""
    changed = "; the evaluation was changed later, see the notes above" if data.get("plan_changes") else ""
    return f"plan.json: arms, seeds, settings{tuned}{margin} as they were before the first run of the test{changed}"


def _recipe_text(folder: Path, arm: Mapping[str, Any]) -> str:
    return (folder / _recipe_path(arm)).read_text().strip()


def _recipe_path(arm: Mapping[str, Any]) -> Path:
    """Where the comparison keeps an arm's recipe: its runs' folder and the recipe bear the same name."""
    run = next(iter(arm["runs"].values()))
    return Path("arms") / f"{Path(run['folder']).parent.name}.json"


def _typed(name: str) -> str:
    """An arm's name without the signs that would end it where it is typed."""
    return re.sub(r"[=:]+", " ", name)


def _command(folder: Path, data: Mapping[str, Any]) -> str:
    """What trains and measures the same again: the margin that was fixed goes with it, so no pilots are needed."""
    # Controls are found again, unless they were fitted to seconds or tuned: then they are arms like others.
    refound = data["match"] and not data["equal"] and not tuning_of(data)
    listed = [arm for arm in data["arms"] if not (refound and arm["control_of"])]
    arms = [shlex.quote(f"{_typed(arm['name'])}: {shlex.quote(str(folder / _recipe_path(arm)))}") for arm in listed]
    options = [f"--seeds {words.seeds(data['seeds'])}", f"--metrics {','.join(data['metrics'])}"]
    options += [f"--{name} {data[name]}" for name in ("count", "view", "reference") if data[name]]
    if data.get("allow_few"):
        options.append(f"--allow-few {','.join(data['allow_few'])}")
    fixed = data["margin"] and data["fixed"]["margin_rule"]
    options.append(f"--margin {data['margin']:g}" if fixed else "--pilot-seeds none")
    options += [f"--match {data['match']}"] if refound else []
    options += [] if any(arm["damaged"] for arm in data["arms"]) else ["--no-damaged"]
    return " \\\n  ".join(["frugan compare", *arms, " ".join([*options, "--out again"])])
