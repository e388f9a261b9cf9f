"""What the page and the terminal say of a comparison, from its ``comparison.json``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frugan.reporting import _charts as charts
from frugan.reporting import _words as words

GRID = 36
SAMPLE_SEED = 0
TONES = {
    "better": "good", "not worse": "good", "worse within margin": "bad", "worse beyond margin": "bad",
}  # fmt: skip


def main_table(data: Mapping[str, Any]) -> list[list[str]]:
    """The head and a row for each arm; a cell's second line, if it has one, says less important things."""
    primary, base = data["primary"], data["arms"][0]
    about = data["metrics"][primary]
    name = words.metric(primary, about["protocol"]["view"])
    direction = "↓" if about["better"] == "lower" else "↑"
    single = len(data["arms"]) == 1
    head = [
        "arm", "parameters of G", "MACs", "ms an image, batch 1", "ms an image, batch 64", "trained at",
        f"{name} {direction}",
        *([] if single else [f"difference from {base['name']}", "what may be said"]),
        "collapsed",
    ]  # fmt: skip
    rows = []
    for arm in data["arms"]:
        own, other = arm["generator"] or {}, base["generator"] or {}
        cells = [arm["name"]]
        for key, show in (("parameters", words.large), ("macs", words.macs)):
            cells.append(_two(show(own.get(key)), words.against(own.get(key), other.get(key))))
        for batch in ("1", "64"):
            times = [_each(side["latency"].get(batch), int(batch)) for side in (arm, base)]
            cells.append(_two(words.number(times[0]), words.against(*times)))
        speeds = [run["images_per_second"] for run in arm["runs"].values() if run["images_per_second"]]
        seconds = [run["seconds"] for run in arm["runs"].values() if run["seconds"]]
        cells.append(
            _two(f"{sum(speeds) / len(speeds):,.0f} images/s", words.duration(sum(seconds) / len(seconds)))
            if speeds else "–"
        )  # fmt: skip
        failed = sum(run["failed"] is not None for run in arm["runs"].values())
        summary = arm["summary"][primary]
        runs = summary["n"] if summary else 0
        cells.append(
            _two(words.measured(summary), f"sd of {runs} runs" if runs > 1 else f"{runs} run"
                 + (f", {failed} failed" if failed else ""))
        )  # fmt: skip
        if not single:
            cells += _difference(data, arm["name"])
        cells.append(f"{_collapsed(arm)} of {len(arm['runs'])}")
        rows.append(cells)
    return [head, *rows]


def short_table(data: Mapping[str, Any]) -> list[list[str]]:
    """The part of the main table that fits into a terminal of 80 columns."""
    head, *rows = main_table(data)
    base = data["arms"][0]["name"]
    quality, arrow = head[6].rsplit(" ", 1)
    quality = quality.replace(" (", f" {arrow}\n(") if " (" in quality else head[6]
    names = ["arm", "parameters", "MACs", "ms/image\nbatch 1", "ms/image\nbatch 64", quality, f"minus {base}\n[95 %]"]
    columns = [0, 1, 2, 3, 4, 6, *([7] if len(rows) > 1 else [])]
    shorter = [[cell.replace("95 %: ", "").replace("sd of ", "") for cell in row] for row in rows]
    return [names[: len(columns)], *([row[column] for column in columns] for row in shorter)]


def sayings(data: Mapping[str, Any]) -> list[str]:
    """What may be said of each arm, and what went wrong in its runs, a line each."""
    lines = []
    for arm in data["arms"]:
        _, text = _difference(data, arm["name"])
        said = [text.replace("\n(", " (").replace("\n", ", ")] if text else []
        failed = sum(run["failed"] is not None for run in arm["runs"].values())
        collapsed = _collapsed(arm)
        said += [f"{count} of {len(arm['runs'])} runs {what}" for count, what in
                 ((failed, "failed"), (collapsed, "collapsed")) if count]  # fmt: skip
        if said:
            lines.append(f"{arm['name']}: {'; '.join(said)}")
    return lines


def _collapsed(arm: Mapping[str, Any]) -> int:
    return sum(any(finding["kind"] == "collapse" for finding in run["findings"]) for run in arm["runs"].values())


def protocol_line(data: Mapping[str, Any]) -> str:
    """How the numbers of the main table were made, in one line."""
    machine = data["machine"]
    return (
        f"{words.metric(data['primary'], data['metrics'][data['primary']]['protocol']['view'])}: "
        f"{words.protocol(data['metrics'][data['primary']]['protocol'])}. Seeds {words.seeds(data['seeds'])}. Times: "
        f"{machine['machine']}, {machine['device']}, {_threads(data)}; training with "
        f"{words.threads(data['threads'])} a run, {data['jobs']} at a time."
    )


def _difference(data: Mapping[str, Any], name: str) -> list[str]:
    if name == data["baseline"]:
        return ["baseline", ""]
    found = data["differences"][data["primary"]].get(name)
    if found is None:
        return ["–", "no pair of runs"]
    places = words.decimals(found["mean"], found["sd"] or 0)
    mean = f"{found['mean']:+,.{places}f}"
    interval = ""
    if found["interval_95"]:
        low, high = found["interval_95"]
        interval = f"95 %: {low:+,.{places}f} to {high:+,.{places}f}"
    text = found["text"].replace(" (", "\n(", 1)
    if found["kind"] == "direction":
        text = f"{_sided(data, found)}\ndirection only, no verdict"
    return [_two(mean.replace("-", "−"), interval.replace("-", "−")), text]


def _sided(data: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """``lower in 3 of 3 seeds (worse)``: what lower means depends on the metric."""
    text, better = found["text"], data["metrics"][data["primary"]]["better"]
    first = text.split()[0]
    meaning = {("lower", "lower"): "better", ("higher", "higher"): "better"}.get((first, better), "worse")
    return text if first not in ("lower", "higher") else f"{meaning} {text.removeprefix(first + ' ')}"


def _two(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first


def _each(latency: Mapping[str, Any] | None, batch: int) -> float | None:
    """Milliseconds for one image of the batch."""
    return None if latency is None else latency["median_ms"] / batch


def _threads(data: Mapping[str, Any]) -> str:
    found = next((arm["latency"]["1"]["threads"] for arm in data["arms"] if "1" in arm["latency"]), None)
    return "" if found is None else f"latency with {words.threads(found)}"


def comparison_page(folder: Path, code: str | Path | None) -> tuple[str, dict[str, Any]]:
    """The template's name and everything in it."""
    from frugan.engine.run import RunFolder

    data = RunFolder(folder).read_json(folder / "comparison.json")
    head, *rows = main_table(data)
    found = data["differences"][data["primary"]]
    tones = [TONES.get(found.get(arm["name"], {}).get("kind", ""), "") for arm in data["arms"]]
    recipes = sorted({arm["recipe"] for arm in data["arms"]})
    runs = [(arm, seed, run) for arm in data["arms"] for seed, run in arm["runs"].items()]
    return "comparison.html.jinja", {
        "title": data["title"],
        "lead": f"{'Recipe' if len(recipes) == 1 else 'Recipes'} {', '.join(recipes)} on {data['data']}. "
        f"{words.large(data['arms'][0]['images'])} images seen by each run, seeds {words.seeds(data['seeds'])}.",
        "arms": [{**arm, "recipe_text": _recipe_text(folder, arm)} for arm in data["arms"]],
        "seeds": data["seeds"],
        "head": head,
        "words": head.index("what may be said") if "what may be said" in head else -1,
        "rows": [{"cells": row, "tone": tone} for row, tone in zip(rows, tones, strict=True)],
        "protocol": protocol_line(data),
        "failures": [f"{arm['name']}, seed {seed} failed: {run['failed']}" for arm, seed, run in runs if run["failed"]],
        "findings": [
            f"{arm['name']}, seed {seed}, since {finding['images']:,} images: {finding['text']}"
            for arm, seed, run in runs for finding in run["findings"]
        ],
        "plots": _plots(data),
        "better": data["metrics"][data["primary"]]["better"],
        "grids": _grids(folder, data, code),
        "charts": _curves(folder, data),
        "values": [_values(data, name) for name in data["metrics"]],
        "facts": _facts(data),
        "margin": f"{data['margin']:.3g}, {data['margin_rule']}" if data["margin"] else "none was set",
        "command": _command(folder, data),
    }  # fmt: skip


def _plots(data: Mapping[str, Any]) -> list[dict[str, str]]:
    primary = data["primary"]
    about = data["metrics"][primary]
    up = words.metric(primary, about["protocol"]["view"])
    plots = []
    for across, read in (
        ("parameters of the generator", lambda arm: arm["generator"]["parameters"]),
        ("MACs an image", lambda arm: arm["generator"]["macs"]),
        ("ms an image, batch 64", lambda arm: arm["latency"]["64"]["median_ms"] / 64),
    ):
        points = [
            charts.Point(read(arm), arm["summary"][primary]["mean"], arm["summary"][primary]["sd"], colour, arm["name"])
            for colour, arm in enumerate(data["arms"])
            if arm["summary"][primary] is not None and arm["generator"] is not None
        ]
        if points:
            plots.append({"svg": charts.quality(points, across, up, f"{up} against {across}")})
    return plots


def _grids(folder: Path, data: Mapping[str, Any], code: str | Path | None) -> list[dict[str, Any]]:
    """For each training seed, the same latents through every arm's generator."""
    from frugan import artefact
    from frugan.reporting import _pictures as pictures

    found = []
    for seed in data["seeds"]:
        row = []
        for arm in data["arms"]:
            run = arm["runs"][str(seed)]
            if run["failed"] is not None:
                continue
            images = artefact.load(folder / run["folder"], code=code).sample(GRID, seed=SAMPLE_SEED)
            value = run["values"].get(data["primary"])
            aside = "" if value is None else (
                f"{words.metric(data['primary'], value['protocol']['view'])} "
                f"{words.number(value['values'][value['headline']])}"
            )
            row.append(
                {
                    "address": pictures.of_images(images, 6), "name": arm["name"], "aside": aside,
                    "alt": f"{GRID} images made by {arm['name']}, seed {seed}",
                }
            )  # fmt: skip
        caption = (
            f"Training seed {seed}: the same {GRID} latents (sampling seed {SAMPLE_SEED}, the first ones drawn, none "
            "picked) through every generator."
        )
        if row:
            found.append({"caption": caption, "pictures": row})
    return found


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
    ]  # fmt: skip
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


def _values(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    about = data["metrics"][name]
    rows = []
    for seed in data["seeds"]:
        row = [str(seed)]
        for arm in data["arms"]:
            run = arm["runs"][str(seed)]
            value = run["values"].get(name)
            row.append("failed" if run["failed"] else "–" if value is None else _all(value))
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
    for arm, found in data["differences"][name].items():
        interval = found["interval_95"]
        within = f", 95 % {words.signed(interval[0])} to {words.signed(interval[1])}" if interval else ""
        related = found["correlation"] if found["n"] > 2 else None  # of two pairs it is 1 or -1 whatever they are
        paired = "" if related is None else f", correlation over seeds {words.number(related, 2)}"
        pairs = f"{found['n']} pair{'s' if found['n'] != 1 else ''}{paired}"
        said = "no margin was set, so there is no verdict" if found["kind"] == "no margin" else found["text"]
        notes.append(f"{arm} minus {data['baseline']}: {words.signed(found['mean'])}{within} ({pairs}); {said}")
    headline = "" if about["headline"] == name else f": {about['headline'].replace('_', ' ')}"
    title = f"{words.metric(name, about['protocol']['view'])}{headline}, {about['better']} is better"
    return {"title": title, "rows": rows, "notes": notes}


def _all(value: Mapping[str, Any]) -> str:
    """The headline, and what else the metric says beside it."""
    numbers, headline = value["values"], value["headline"]
    others = [
        f"{key.replace('_', ' ')} {words.number(number)}" for key, number in numbers.items()
        if key != headline and not key.endswith("_std")
    ]  # fmt: skip
    return _two(words.number(numbers[headline], 4), ", ".join(others))


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = [("trained on", data["data"]), ("seeds", words.seeds(data["seeds"]))]
    protocols: dict[str, list[str]] = {}
    for name, about in data["metrics"].items():
        spoken = words.metric(name, about["protocol"]["view"])
        protocols.setdefault(words.protocol(about["protocol"]), []).append(spoken)
    facts += [(", ".join(names), protocol) for protocol, names in protocols.items()]
    latency = next((arm["latency"]["1"] for arm in data["arms"] if "1" in arm["latency"]), None)
    if latency is not None:
        facts.append(
            ("latency", f"median of {latency['repeats']} forwards, all arms in turn in one process, "
             f"{latency['precision']}, {words.threads(latency['threads'])}, {latency['machine']}")
        )  # fmt: skip
    facts += [
        ("counting", "parameters with running means and variances; MACs of convolutions and dense layers, plain form"),
        ("checkpoint", "the last one of each run, decided beforehand"),
        ("machine", f"{machine['machine']}, {machine['device']}, {machine['precision']}; {versions}"),
        ("runs", f"{data['jobs']} at a time with {words.threads(data['threads'])} each, alike for all arms"),
        ("margin", f"{data['margin']:.4g} ({data['margin_rule']})" if data["margin"] else "none"),
    ]
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


def _recipe_text(folder: Path, arm: Mapping[str, Any]) -> str:
    return (folder / _recipe_path(arm)).read_text().strip()


def _recipe_path(arm: Mapping[str, Any]) -> Path:
    """Where the comparison keeps an arm's recipe: its runs' folder and the recipe bear the same name."""
    run = next(iter(arm["runs"].values()))
    return Path("arms") / f"{Path(run['folder']).parent.name}.json"


def _command(folder: Path, data: Mapping[str, Any]) -> str:
    arms = [shlex.quote(f"{arm['name']}: {folder / _recipe_path(arm)}") for arm in data["arms"]]
    options = [f"--seeds {words.seeds(data['seeds'])}", "--out again"]
    options += [f"--{name} {data[name]}" for name in ("count", "view") if data[name]]
    return " \\\n  ".join(["frugan compare", *arms, " ".join(options)])
