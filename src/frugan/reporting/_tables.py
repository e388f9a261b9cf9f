"""Tables and sentences about a comparison for page and terminal, from its ``comparison.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from frugan import files
from frugan.registry import UserError
from frugan.reporting import _hardware
from frugan.reporting import _words as words
from frugan.reporting._tuning import tuning_cell, tuning_lines, tuning_of

VERSION = 3
"""Of ``comparison.json``; others are not read."""

WRONG = {
    "collapsed": "collapse", "had a saturated discriminator": "saturated",
    "had another brightness than the data": "brightness",
}  # fmt: skip
"""What is said of runs in which something was found, and the kind of that finding."""


class _Compared(TypedDict):
    """What every reader of a comparison.json takes for granted."""

    arms: list[dict[str, Any]]
    seeds: list[int]
    metrics: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, Any]]
    fixed: dict[str, Any]


def read_comparison(folder: Path) -> dict[str, Any]:
    """The values of a finished comparison. Raises UserError if there is none, or an earlier frugan wrote it."""
    from frugan.engine.run import RunFolder

    if not (folder / "comparison.json").is_file():
        raise UserError(f"{folder} has no finished comparison (comparison.json). Run the same frugan compare again.")
    data = RunFolder(folder).read_json(folder / "comparison.json")
    if data.get("version") != VERSION:
        raise UserError(
            f"{folder / 'comparison.json'} was written by another frugan (version {data.get('version', 1)}, this one "
            f"reads {VERSION}). Run the same frugan compare again: finished runs are not trained again."
        )
    files.check(data, _Compared, str(folder / "comparison.json"))
    return data


def main_table(data: Mapping[str, Any]) -> list[list[str]]:
    """The main table: its head, and a row for each arm. A cell may have a second line with less important things."""
    primary, base = data["primary"], data["arms"][0]
    about = data["metrics"][primary]
    name = words.metric(primary, about["protocol"]["view"])
    floor = words.floor(about.get("floor"), about.get("floor_is_of"))
    direction = "↓" if about["better"] == "lower" else "↑"
    head = [
        "arm", "parameters of G", "MACs", "ms an image, batch 1", "ms an image, batch 64",
        "trained at\none run after another",
        f"{name} {direction}" + f"\n{floor}" * bool(floor),
        f"difference from {base['name']}", "what may be said", "collapsed",
        *(["tuning"] if tuning_of(data) else []),
        *([f"ms in {runtime_of(data)}, batch 1"] if runtime_of(data) else []),
    ]  # fmt: skip
    rows = []
    for arm in data["arms"]:
        # Cost and quality share a row only if they are of one network, precision and kernels.
        own, other = ({} if side["apart"] else side["generator"] or {} for side in (arm, base))
        cells = [arm["name"]]
        held = own.get("parameters")
        cells.append(_two(words.large(held), words.against(held, other.get("parameters"))))
        cells.append(_macs(own, other))
        for batch in ("1", "64"):
            times = [None if side["apart"] else _each(side["latency"].get(batch), int(batch)) for side in (arm, base)]
            cells.append(_two(words.number(times[0]), words.against(*times)))
        timed = _hardware.timed(data, arm)
        speeds, seconds = ([run[key] for run in timed] for key in ("images_per_second", "seconds"))
        cells.append(
            _two(f"{sum(speeds) / len(speeds):,.0f} images/s", words.duration(sum(seconds) / len(seconds)))
            if speeds else "–"
        )  # fmt: skip
        cells.append(_quality(arm, primary))
        cells += _difference(data, arm["name"])
        cells.append(f"{_found(arm, 'collapse')} of {len(arm['runs'])}")
        cells += [tuning_cell(data, arm["name"])] if tuning_of(data) else []
        cells += [_in_runtime(arm, base)] if runtime_of(data) else []
        rows.append(cells)
    return [head, *rows]


def runtime_of(data: Mapping[str, Any]) -> str:
    """The runtime, with its version, in which the exported generators were measured too; empty if in none."""
    return next((arm["runtime"]["runtime"] for arm in data["arms"] if "runtime" in arm), "")


def _in_runtime(arm: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """The time of an image in the runtime against the baseline's, and the memory that it takes."""
    times = [
        None if side["apart"] or "runtime" not in side else side["runtime"]["latency"][0]["median_ms"]
        for side in (arm, base)
    ]
    if times[0] is None:
        return "–"
    memory = f"{arm['runtime']['peak_bytes']['1'] / 1e6:.0f} MB"
    return _two(words.number(times[0]), ", ".join(filter(None, (words.against(*times), memory))))


def short_table(data: Mapping[str, Any]) -> list[list[str]]:
    """The part of the main table that fits into a terminal with 80 columns."""
    head, *rows = main_table(data)
    base = data["arms"][0]["name"]
    title = head[6].partition("\n")[0]
    quality, arrow = title.rsplit(" ", 1)
    quality = quality.replace(" (", f" {arrow}\n(") if " (" in quality else title
    names = ["arm", "parameters", "MACs", "ms/image\nbatch 1", "ms/image\nbatch 64", quality, f"minus {base}\n[95 %]"]
    columns = [0, 1, 2, 3, 4, 6, 7]
    shorter = [[cell.replace("95 %: ", "").replace("sd of ", "") for cell in row] for row in rows]
    for row in shorter:
        row[6] = row[6].replace(", ", "\n")
    return [names, *([row[column] for column in columns] for row in shorter)]


def metrics_table(data: Mapping[str, Any]) -> list[list[str]]:
    """Every metric beside the others: the head, and a row for each arm with mean and deviation over its runs.

    Only the first metric decides, so there are no differences here and nothing is said of any.
    """
    head = ["arm"]
    for name, about in data["metrics"].items():
        arrow = "↓" if about["better"] == "lower" else "↑"
        head.append(f"{words.metric(name, about['protocol']['view']).replace(' (', chr(10) + '(')} {arrow}")
    rows = [
        [arm["name"], *("–" if arm["summary"][name] is None else words.measured(arm["summary"][name])
                        for name in data["metrics"])]
        for arm in data["arms"]
    ]  # fmt: skip
    return [head, *rows]


def sayings(data: Mapping[str, Any]) -> list[str]:
    """Lines about each arm: its verdict, what went wrong in its runs, and what the verdicts depend on."""
    lines = []
    controls = {row["arm"]: row["text"] for row in data["controls"]}
    for arm in data["arms"]:
        _, text = _difference(data, arm["name"])
        said = [text.replace("\n(", " (").replace("\n", ", ")] if text else []
        said += [controls[arm["name"]]] if arm["name"] in controls else []
        runs = list(arm["runs"].values())
        went_wrong = [] if never_trained(arm) and text else words.failures(runs)  # then the text says it
        went_wrong += [f"{count} {what}" for what, kind in WRONG.items() if (count := _found(arm, kind))]
        said += [f"{count} of {len(runs)} runs {what}" for count, _, what in (one.partition(" ") for one in went_wrong)]
        said += [f"its cost is left out of the table ({'; '.join(arm['apart'])})"] if arm["apart"] else []
        if said:
            lines.append(f"{arm['name']}: {'; '.join(said)}")
    return [*lines, *untrained(data), *remarks(data)]


def remarks(data: Mapping[str, Any]) -> list[str]:
    """Lines about the table: doubtful counts, the margin, the noise of evaluation, and how seconds were divided."""
    lines = [
        f"{arm['name']}: its MACs (?) may be wrong and are not compared: {doubt}"
        for arm in data["arms"] if arm["generator"] and not arm["apart"] for doubt in words.doubts(arm["generator"])
    ]  # fmt: skip
    if data["margin"] and any(arm["damaged"] or data["fixed"].get("pilots") for arm in data["arms"]):
        lines.append(f"Margin {data['margin']:.3g}: {data['margin_rule']}.")
    summaries = [arm["summary"][data["primary"]] for arm in data["arms"] if not arm["damaged"]]
    sds = [one["sd"] for one in summaries if one]
    seed_sd = max((sd for sd in sds if sd is not None), default=None)
    runs = [(arm["name"], seed, run) for arm in data["arms"] for seed, run in arm["runs"].items()]
    if data.get("trained_before"):
        lines.append(f"{len(data['trained_before'])} of {len(runs)} runs were trained before the plan was written.")
    lines += [
        f"The evaluation was changed after runs had begun, but before any value was known: {line}."
        for one in data.get("plan_changes", ()) for line in one["changes"]
    ]  # fmt: skip
    pilots = (data["fixed"].get("pilots") or {}).get("untrained")
    if pilots:
        lines.append(
            f"Pilots with {_seeds(pilots)} did not train and are left out of the margin: {_first(pilots)}"
        )
    lines += [
        f"{name}, seed {seed}, was trained again after it had failed: {run['retried']}"
        for name, seed, run in runs if run.get("retried")
    ]  # fmt: skip
    lines += [
        f"{place}, before the test, was trained again after it had failed: {why}"
        for place, why in (data["fixed"].get("retried") or {}).items()
    ]  # fmt: skip
    lines += _hardware.remarks(data)
    if data["evaluation_sd"] is not None and seed_sd is not None:
        own = data["evaluation_sd"]
        note = ", which is over a third of it: evaluate more images (--count)" if own > seed_sd / 3 else ""
        lines.append(
            f"Evaluation noise: sd {own:.3g} over sampling seeds of one checkpoint, against at most {seed_sd:.3g} over "
            f"training seeds{note}."
        )
    lines += [*_given(data), *tuning_lines(data)]
    equal = data["fixed"].get("equal_seconds")
    if equal:
        damaged = {arm["name"]: arm["damaged"] for arm in data["arms"]}
        took = {arm["name"]: [run["seconds"] for run in arm["runs"].values() if run["seconds"]] for arm in data["arms"]}
        means = ", ".join(
            f"{name} {words.duration(sum(seconds) / len(seconds))} ({equal['images'][name]:,} images)"
            for name, seconds in took.items() if seconds
        )  # fmt: skip
        really = [sum(seconds) / len(seconds) for name, seconds in took.items() if seconds and not damaged[name]]
        note = ", which differ by more than a tenth" if really and max(really) > 1.1 * min(really) else ""
        every = "Every arm that is not damaged" if any(damaged.values()) else "Every arm"
        lines.append(f"{every} was to train for {words.duration(equal['seconds'])}; it really used: {means}{note}.")
    return lines


def _given(data: Mapping[str, Any]) -> list[str]:
    """The weights that arms were given, and what these had cost."""
    lines: dict[str, None] = {}
    for arm in data["arms"]:
        for run in arm["runs"].values():
            for network, about in run.get("given", {}).items():
                cost = "" if about["seconds"] is None else f", after {words.duration(about['seconds'])} of training"
                whose = f"{about['recipe']} on {about['data']}{cost}"
                line = f"{arm['name']} got the weights of its {network} ({whose}). Its times do not include this."
                lines[line] = None
    return list(lines)


def untrained(data: Mapping[str, Any]) -> list[str]:
    """Which runs did not train, why, and what to try: one line for each arm."""
    lines = []
    for arm in data["arms"]:
        why = {seed: run["failed"] for seed, run in arm["runs"].items() if words.is_untrained(run)}
        if why:
            lines.append(f"{arm['name']} did not train with {_seeds(why)}, which counts as failed: {_first(why)}")
    return lines


def _seeds(of: Mapping[str, Any]) -> str:
    return f"seed{'s' if len(of) > 1 else ''} {words.seeds(sorted(map(int, of)))}"


def _first(why: Mapping[str, str]) -> str:
    return next(iter(why.values()))


def _found(arm: Mapping[str, Any], kind: str) -> int:
    """In how many of an arm's runs a finding of this kind stands at the end."""
    return sum(any(finding["kind"] == kind for finding in run["findings"]) for run in arm["runs"].values())


def never_trained(arm: Mapping[str, Any]) -> bool:
    """Whether none of an arm's runs trained."""
    return all(map(words.is_untrained, arm["runs"].values()))


def _quality(arm: Mapping[str, Any], primary: str) -> str:
    """The mean over the runs that have a value, and how many there are; of an arm that never trained, only that."""
    summary, runs = arm["summary"][primary], list(arm["runs"].values())
    if never_trained(arm):
        return _two("did not train", f"{len(runs)} run{'s' if len(runs) != 1 else ''}")
    count = summary["n"] if summary else 0
    counted = f"sd of {count} runs" if count > 1 else f"{count} run"
    return _two(words.measured(summary), ", ".join([counted, *words.failures(runs)]))


def protocol_line(data: Mapping[str, Any]) -> str:
    """How the numbers of the main table were made, in one line."""
    machine, about = data["machine"], data["metrics"][data["primary"]]
    floor = words.floor(about.get("floor"), about.get("floor_is_of"))
    return (
        f"{words.metric(data['primary'], about['protocol']['view'])}: {words.protocol(about['protocol'])}"
        f"{f'; {floor}' * bool(floor)}. "
        f"Seeds {words.seeds(data['seeds'])}. Times: {machine['machine']}, {machine['device']}, {_threads(data)}; "
        f"training {trained(data)}."
    )


def threads_of(data: Mapping[str, Any]) -> list[int]:
    """The numbers of threads that the runs were trained with, as each run recorded."""
    return sorted({run["threads"] for arm in data["arms"] for run in arm["runs"].values() if run.get("threads")})


def trained(data: Mapping[str, Any]) -> str:
    """How the runs were trained side by side on the machine, in words."""
    counts = threads_of(data) or [data["threads"]]
    threads = f"with {' or '.join([*map(str, counts[:-1]), words.threads(counts[-1])])} a run"
    if data.get("launcher", "local") != "local":
        return f"{threads}, by {data['launcher']}"
    return threads if data.get("trained_before") else f"{threads}, {data['jobs']} at a time"


def _difference(data: Mapping[str, Any], name: str) -> list[str]:
    if name == data["baseline"]:
        return ["baseline", ""]
    difference = data["differences"][data["primary"]].get(name)
    if difference is None:
        never = [arm["name"] for arm in data["arms"] if never_trained(arm)]
        if name in never:
            return ["–", "did not train: nothing to compare"]
        if data["baseline"] in never:
            return ["–", f"{data['baseline']} did not train: nothing to compare"]
        return ["–", "in each seed a run failed: nothing to compare"]
    places = words.decimals(difference["mean"], difference["sd"] or 0)
    mean = f"{difference['mean']:+,.{places}f}"
    interval = ""
    if difference["interval_95"]:
        low, high = difference["interval_95"]
        interval = f"95 %: {low:+,.{places}f} to {high:+,.{places}f}"
    text = difference["text"].replace(" (", "\n(", 1)
    if difference["kind"] == "direction":
        text = f"{_sided(data, difference)}\ndirection only, no verdict"
    return [_two(mean.replace("-", "−"), interval.replace("-", "−")), text]


def _sided(data: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    """``lower in 3 of 3 seeds`` as ``better in 3 of 3 seeds``, or worse: what lower means depends on the metric."""
    text, better = difference["text"], data["metrics"][data["primary"]]["better"]
    first = text.split()[0]
    meaning = {("lower", "lower"): "better", ("higher", "higher"): "better"}.get((first, better), "worse")
    return text if first not in ("lower", "higher") else f"{meaning} {text.removeprefix(first + ' ')}"


def _macs(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Multiply-accumulates, with a question mark if they are in doubt; per cent only if neither side is."""
    counted = words.all_macs(own)
    if words.doubts(own):
        return f"{words.macs(counted)} ?"
    return _two(words.macs(counted), "" if words.doubts(other) else words.against(counted, words.all_macs(other)))


def _two(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first


def _each(latency: Mapping[str, Any] | None, batch: int) -> float | None:
    """Milliseconds for one image of the batch."""
    return None if latency is None else latency["median_ms"] / batch


def _threads(data: Mapping[str, Any]) -> str:
    count = next((arm["latency"]["1"]["threads"] for arm in data["arms"] if "1" in arm["latency"]), None)
    return "" if count is None else f"latency with {words.threads(count)}"


def all_numbers(value: Mapping[str, Any]) -> str:
    """The headline number of a value, and the metric's other numbers."""
    numbers, headline = value["values"], value["headline"]
    others = [
        f"{key.replace('_', ' ')} {words.number(number)}" for key, number in words.others(value).items()
        if not key.endswith("_std")
    ]  # fmt: skip
    others += [words.floor_of(value)] if value.get("floor") else []
    return _two(words.number(numbers[headline], 4), ", ".join(others))
