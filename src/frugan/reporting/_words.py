"""Numbers and protocols in words, the same on every page and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frugan import metrics, owncode
from frugan.evaluation import by_target, of_all
from frugan.metrics import floor_is_of


def number(value: float | None, digits: int = 3) -> str:
    """A measured value with this many digits, but its whole part always in full; a dash for None."""
    if value is None:
        return "–"
    whole = abs(float(f"{value:.{digits}g}")) >= 10 ** (digits - 1)  # 99.96 with 3 digits is 100
    text = f"{value:,.0f}" if whole else f"{value:#.{digits}g}" if value else "0"
    return text.replace("-", "−")


def signed(value: float, digits: int = 4) -> str:
    """A difference with its sign, also if it is above 0."""
    return ("+" if value > 0 else "") + number(value, digits)


def measured(summary: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Mean ± standard deviation over seeds, with as many decimals as the deviation makes meaningful."""
    if summary is None:
        return "–"
    if summary["sd"] is None:
        return number(summary["mean"], digits)
    places = decimals(summary["mean"], summary["sd"])
    return f"{summary['mean']:,.{places}f} ± {summary['sd']:,.{places}f}".replace("-", "−")


def decimals(mean: float, sd: float) -> int:
    """How many decimals show two digits of `sd`, and at most four digits of `mean`."""
    places = 0
    while (mean or sd) and places < 6 and abs(mean) * 10**places < 1000 and (not sd or sd * 10**places < 10):
        places += 1
    return places


def large(value: int | None) -> str:
    """A count with commas between thousands."""
    return "–" if value is None else f"{value:,}"


def macs(value: int | None) -> str:
    """Multiply-accumulates in millions or billions."""
    if value is None:
        return "–"
    return f"{value / 1e9:.2f} G" if round(value / 1e6, 2) >= 1000 else f"{value / 1e6:.2f} M"


def all_macs(counted: Mapping[str, Any]) -> int | None:
    """All multiply-accumulates of a cost in JSON, with attention; None if there is no cost."""
    return counted["macs"] + counted.get("macs_attention", 0) if "macs" in counted else None


def doubts(counted: Mapping[str, Any]) -> list[str]:
    """Why the multiply-accumulates of a cost in JSON may be wrong."""
    if "doubts" not in counted and counted.get("macs_flop_counter", all_macs(counted)) != all_macs(counted):
        return list(counted["notes"])  # an earlier frugan saw this too, and told it among its notes
    return list(counted.get("doubts", ()))


def is_untrained(run: Mapping[str, Any]) -> bool:
    """Whether a comparison's run did not train, which counts as failed. Old comparisons have no such entry."""
    return bool(run.get("untrained"))


def failures(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many runs failed or did not train, e.g. ``["2 failed", "3 did not train"]``; empty if none."""
    listed = list(runs)
    untrained = sum(map(is_untrained, listed))
    failed = sum(run["failed"] is not None for run in listed) - untrained
    return [f"{count} {what}" for count, what in ((failed, "failed"), (untrained, "did not train")) if count]


def duration(seconds: float | None) -> str:
    """A time in words: seconds, minutes or hours."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def against(value: float | None, base: float | None) -> str:
    """How much more or less `value` is than `base`, in per cent."""
    if not value or not base or value == base:
        return ""
    share = 100 * (value / base - 1)
    if 0 < abs(share) < 0.5:
        return f"{'+' if share > 0 else '−'}{max(abs(share), 0.1):.1f} %"
    places = 1 if -100 < share < -99 else 0  # a trace that is left is not nothing
    return f"{'+' if share > 0 else '−'}{min(abs(share), 99.9) if places else abs(share):.{places}f} %"


def seeds(listed: Sequence[int]) -> str:
    """Seeds as the command line takes them: ``0-4`` or ``0,2,7``."""
    if len(listed) > 1 and list(listed) == list(range(listed[0], listed[0] + len(listed))):
        return f"{listed[0]}-{listed[-1]}"
    return ",".join(map(str, listed))


def threads(count: int) -> str:
    """A number of threads in words: ``1 thread``, ``4 threads``."""
    return f"{count} thread{'s' if count != 1 else ''}"


def metric(name: str, view: str) -> str:
    """A metric's name with its view, so that a Fréchet distance of digits is not taken for the FID of the literature.

    A metric that needs no view has only its name.
    """
    spoken = " ".join({"fid": "FID", "kid": "KID"}.get(word, word) for word in name.split("_"))
    # A page may be made without the code that added a metric.
    of_no_view = name in metrics.names() and metrics.sees_by_itself(metrics.find(name))
    return spoken if of_no_view else f"{spoken} ({view})"


OF_CLASS = "_of_class_"
"""What stands between a metric's number and the place of the class that it is of."""


def others(value: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a value besides its headline, without those of single classes and targets (see `tables`)."""
    return {key: number for key, number in of_all(value).items() if key != value["headline"] and OF_CLASS not in key}


def tables(value: Mapping[str, Any], classes: Sequence[str]) -> list[tuple[str, str, dict[str, float]]]:
    """Tables of the numbers of single classes (``accuracy_of_class_3``) and targets (``fid_to_glasses``) in a value.

    For each number: "class" or "target", a title, and the values by name. For targets, also the values of real images.
    """
    made: dict[tuple[str, str], dict[str, float]] = {}
    for key, number in value["values"].items():
        what, apart, place = key.partition(OF_CLASS)
        if apart and place.isdigit():
            name = classes[int(place)] if int(place) < len(classes) else place
            made.setdefault(("class", what), {})[name] = number
    made |= {("target", what): numbers for what, numbers in by_target(value).items()}
    floors = by_target({**value, "values": value["floor"]["values"]}) if value.get("floor") else {}
    if value["headline"] in floors:
        made["target", "real against real"] = floors[value["headline"]]
    spoken = value["metric"].replace("_", " ")
    return [
        (of, spoken if what == value["metric"] else f"{spoken}: {what.replace('_', ' ')}", numbers)
        for (of, what), numbers in made.items()
    ]


def floor(value: float | None, count: int | None, digits: int = 3) -> str:
    """What real images reach; if they are fewer than the images of the value beside it, how many. "" for None."""
    if value is None:
        return ""
    return f"real against real {number(value, digits)}" + (f" (only {count:,} images)" if count else "")


def floor_of(value: Mapping[str, Any], digits: int = 3) -> str:
    """The floor of a measured value, as `floor` says it."""
    return floor((value.get("floor") or {}).get("value"), floor_is_of(value), digits)


def classes_of(run: Path) -> list[str]:
    """The classes of the data that a run was trained on."""
    from frugan.engine.run import RunFolder

    folder = RunFolder(run)
    return list(next(iter(folder.read_json(folder.facts)["data"].values()))["classes"])


def own_code(of: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows about the user's own code that a run or comparison used, and what changed in it meanwhile."""
    files = [
        f"{one.path.name} ({one.short}{', with ' + ', '.join(one.beside) if one.beside else ''})"
        for one in owncode.listed(of.get("code"))
    ]
    changed = [
        f"{'after ' + format(one['images'], ',') + ' images: ' if 'images' in one else ''}{'; '.join(one['changes'])}"
        for one in of.get("code_changes", ())
    ]
    rows = [("own code", ", ".join(files)), ("own code has changed", "; ".join(changed))]
    return [(name, text) for name, text in rows if text]


def protocol(of: Mapping[str, Any]) -> str:
    """A protocol in one line."""
    accuracy = f", accuracy {100 * of['view_accuracy']:.1f} %" if of.get("view_accuracy") else ""
    if of.get("view_at_chance"):
        accuracy += f" (not seen to be better than chance, so these values may mean little: {of['view_at_chance']})"
    code = f", the metric's code {of['metric_code']}" if of.get("metric_code") else ""
    few = f"; too few images: {of['few_images']}" if of.get("few_images") else ""
    real = f"{of['data']}" if of["real_count"] is None else (  # statistics tell no count
        f"{of['real_count']:,} real images of {of['data']}, split {of['split']} ({of['content_hash'][:8]})"
    )  # fmt: skip
    if of.get("targets"):
        real = f"{real}, each of {len(of['targets'])} targets by itself"
    norms = f", {of['norms']} statistics" if of.get("norms") else ""
    if of.get("fakes") == "none":
        return (
            f"a classifier on {real}; {of['weights']} weights of the {of['checkpoint']} checkpoint, {of['precision']}"
            f"{code}{few}"
        )
    truncation = "no truncation" if of["truncation"] is None else f"truncation {of['truncation']}"
    return (
        f"{of['fake_count']:,} fakes against {real}; view {of['view_version']}{accuracy}, resizing {of['resizing']}; "
        f"{of['weights']} weights of the {of['checkpoint']} checkpoint{norms}, {of['precision']}, {truncation}, labels "
        f"{of['labels']}{code}{few}"
    )
