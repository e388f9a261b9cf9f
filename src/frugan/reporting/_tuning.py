"""Tables and sentences about how arms were tuned before the test, from a ``comparison.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from frugan.reporting import _charts as charts
from frugan.reporting import _words as words


def tuning_of(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The trials and the chosen settings; None if no arm was tuned."""
    return data["fixed"].get("tuning")


def tuning_cell(data: Mapping[str, Any], name: str) -> str:
    """A table cell: what the tuning of an arm cost, and, on a second line, the chosen settings."""
    of = (tuning_of(data) or {})["arms"][name]
    return f"{len(of['tried'])} trials, {words.duration(of['seconds'])}\n{of['tried'][of['chosen']]['words']}"


def tuning_lines(data: Mapping[str, Any]) -> list[str]:
    """Lines about tuning: how arms were tuned, what it cost, and how far the choice can be trusted."""
    tuning, beside = tuning_of(data), untuned_section(data)
    return [*([] if tuning is None else _of_trials(tuning)), *([] if beside is None else [beside["lead"]])]


def _of_trials(tuning: Mapping[str, Any]) -> list[str]:
    protocol = tuning.get("protocol")
    judged = "" if protocol is None else (
        f", judged by {words.metric(tuning['metric'], protocol['view'])} of {protocol['fake_count']:,} fakes against "
        f"images of the split {protocol['split']}"
    )
    seeds = f"seed{'s' if len(tuning['seeds']) > 1 else ''} {words.seeds(tuning['seeds'])}"
    cost = ", ".join(
        f"{name} {words.duration(of['seconds'])} ({of['images_in_all']:,} images)"
        for name, of in tuning["arms"].items()
    )
    best = {name: of["tried"][of["chosen"]] for name, of in tuning["arms"].items()}
    without = [name for name, facts in best.items() if facts["value"] is None or facts["why"] is not None]
    unchanged = f" (unchanged, since none of its trials has a value: {', '.join(without)})" if without else ""
    chance: dict[int, list[str]] = {}
    for name, of in tuning["arms"].items():
        for at in of.get("chance", ()):
            chance.setdefault(at, []).append(name)
    return [
        f"Each arm uses the settings of its best trial of {tuning['trials']}{unchanged}: {_lengths(tuning)} "
        f"({seeds}, table {tuning['space']}){judged}. Tuning took: {cost}.",
        *(
            f"After {at:,} images the trials of {', '.join(names)} were too much alike to tell, so chance decided "
            "which of them went on."
            for at, names in chance.items()
        ),
    ]  # fmt: skip


def _stages(facts: Mapping[str, Any], of: Mapping[str, Any]) -> dict[int, float | None]:
    """The values of a trial by the images that it had been shown. Before 2026-12 all trials had one length."""
    stages = facts.get("stages", [{"images": of["images"], "value": facts["value"]}])
    return {stage["images"]: stage["value"] for stage in stages}


def _lengths(tuning: Mapping[str, Any]) -> str:
    """How many trials were trained how far, in words; for each arm, where it is not the same."""
    said: dict[str, list[str]] = {}
    for name, of in tuning["arms"].items():
        counts = Counter(images for facts in of["tried"] for images in _stages(facts, of))
        (first, count), *later = sorted(counts.items())
        further = "".join(f", {left} of them to {images:,}" for images, left in later)
        said.setdefault(f"{count} trained to {first:,} images{further}", []).append(name)
    return next(iter(said)) if len(said) == 1 else "; ".join(f"{', '.join(of)} {text}" for text, of in said.items())


def tuning_section(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The page's section on tuning: a row for each arm, every trial, and a chart; None if no arm was tuned."""
    tuning = tuning_of(data)
    if tuning is None:
        return None
    names = [arm["name"] for arm in data["arms"] if arm["name"] in tuning["arms"]]
    trials = [
        [str(number + 1), *(_trial(of["tried"][number], of) for of in map(tuning["arms"].__getitem__, names))]
        for number in range(tuning["trials"])
    ]
    return {
        "lead": " ".join(_of_trials(tuning)), "names": names, "trials": trials, "chart": _chart(data, tuning),
        "staged": any(len(_stages(facts, of)) > 1 for of in tuning["arms"].values() for facts in of["tried"]),
        "rows": [_row(arm, tuning["arms"][arm["name"]], tuning) for arm in data["arms"] if arm["name"] in names],
    }  # fmt: skip


def untuned_section(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row for each arm: its result without tuning and with it. None if no comparison without tuning was named."""
    untuned = data.get("untuned")
    if untuned is None:
        return None
    seeds = f"Without tuning: {untuned['folder']}, seeds {words.seeds(untuned['seeds'])}{_margins(untuned, data)}."
    if untuned["unlike"]:
        return {"lead": f"{seeds} Its values do not compare with these: {'; '.join(untuned['unlike'])}.", "rows": []}
    primary, rows = data["primary"], []
    for arm in data["arms"]:
        before = untuned["arms"].get(arm["name"])
        if before is None:
            continue
        now = {"summary": arm["summary"][primary], "difference": data["differences"][primary].get(arm["name"])}
        means = [one["summary"]["mean"] for one in (before, now) if one["summary"] is not None]
        brought = words.signed(means[1] - means[0]) if len(means) == 2 else "–"
        cells = [words.measured(one["summary"]) + _against(one["difference"]) for one in (before, now)]
        controls = [untuned.get("controls", {}), {one["arm"]: one for one in data["controls"]}]
        found = [[one["difference"], of.get(arm["name"])] for one, of in zip((before, now), controls, strict=True)]
        texts = ["\n".join(said["text"] for said in of if said is not None) for of in found]
        kinds = [[None if said is None else said["kind"] for said in of] for of in found]
        rows.append({"arm": arm["name"], "cells": [*cells, brought], "texts": texts, "kinds": kinds})
    return {"lead": f"{seeds} {_changed(rows)}", "rows": rows}


def _against(difference: Mapping[str, Any] | None) -> str:
    """A difference from the baseline with its interval, as a cell's second line."""
    if difference is None:
        return ""
    interval = difference["interval_95"]
    within = f", 95 %: {words.signed(interval[0])} to {words.signed(interval[1])}" if interval else ""
    return f"\n{words.signed(difference['mean'])}{within}"


def _margins(untuned: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The two margins in words, if they differ: a verdict may then differ for no other reason."""
    margins = [one.get("margin") for one in (untuned, data)]
    if margins[0] == margins[1]:
        return ""
    one, other = ("none" if margin is None else words.number(margin, 3) for margin in margins)
    return f", margin {one} (here {other})"


def _changed(rows: Sequence[Mapping[str, Any]]) -> str:
    """For which arms the verdict differs, against the baseline or against the control, in words."""
    if any("direction" in one for row in rows for one in row["kinds"]):
        return "One of the two has fewer than five seeds, so it has no verdicts to compare."
    changed = []
    for row in rows:
        (before, before_control), (now, now_control) = row["kinds"]
        # Where only one of the two has controls, there is nothing to set theirs against. An arm that has no difference
        # from the baseline in one of the two did not train there, which is another finding.
        if before != now or len({before_control, now_control} - {None}) == 2:
            changed.append(row["arm"])
    if not changed:
        return "With tuning no verdict differs."
    return f"With tuning the verdict differs about {', '.join(changed)}."


def _row(arm: Mapping[str, Any], of: Mapping[str, Any], tuning: Mapping[str, Any]) -> list[str]:
    """What was chosen and gained, and what that cost beside one run of the test.

    Both values are of the last stage that both trials reached: later ones have seen more images.
    """
    first, best = (_stages(of["tried"][number], of) for number in (0, of["chosen"]))
    both = {
        images: (before, value) for images, value in best.items()
        if value is not None and (before := first.get(images)) is not None
    }  # fmt: skip
    gain = "–"
    if both:
        at, (before, value) = both.popitem()
        first, best = {at: before}, {at: value}
        gain = words.signed(value - before) if of["chosen"] else "0"
    failed = sum(facts["why"] is not None for facts in of["tried"])
    seconds = [run["seconds"] for run in arm["runs"].values() if run["seconds"]]
    run = sum(seconds) / len(seconds) if seconds else None
    together = None if run is None or of["seconds"] is None else run + of["seconds"]
    return [
        arm["name"], of["tried"][of["chosen"]]["words"], *map(_last, (first, best)), gain,
        f"{failed} of {len(of['tried'])}",
        f"{words.duration(of['seconds'])}\n{of['images_in_all']:,} images, {of['runs']} runs",
        words.duration(run), words.duration(together),
    ]  # fmt: skip


def _last(stages: Mapping[int, float | None]) -> str:
    """A table cell: the last value of a trial, and, on a second line, after how many images."""
    known = [(images, value) for images, value in stages.items() if value is not None]
    return f"{words.number(known[-1][1], 4)}\n{known[-1][0]:,} images" if known else "–"


def _trial(facts: Mapping[str, Any], of: Mapping[str, Any]) -> str:
    """A table cell: the values of a trial, and, on a second line, its settings."""
    values = ", ".join(
        "no value" if value is None else words.number(value, 4) for value in _stages(facts, of).values()
    )
    why = "" if facts["why"] is None else f" ({facts['why']})"
    return f"{values}\n{facts['words']}{why}"


def _chart(data: Mapping[str, Any], tuning: Mapping[str, Any]) -> str | None:
    if "protocol" not in tuning:
        return None
    raced = []
    for colour, arm in enumerate(data["arms"]):
        of = tuning["arms"].get(arm["name"])
        if of is not None:
            values = [_stages(facts, of) for facts in of["tried"]]
            known = [{at: value for at, value in one.items() if value is not None} for one in values]
            raced.append(charts.Race(known, of["chosen"], colour))
    up = words.metric(tuning["metric"], tuning["protocol"]["view"])
    return charts.races(raced, up, f"{up} of each trial")
