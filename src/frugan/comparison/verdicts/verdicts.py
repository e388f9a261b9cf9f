"""Verdicts on each arm, its failures and its slope, and whether it beats its control; all from plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from frugan import intervals
from frugan.comparison.planning.arms import DAMAGED
from frugan.comparison.verdicts.differences import ArmValues, find_difference, find_mean, read_arms

WITHHELD = "withheld"
"""The kind of a verdict that is withheld, with a reason."""

SIGNIFICANT = 0.05

UNMATCHED = 0.02
"""How far the costs of an arm and its control may be apart before the verdict says so, as a share. A width gives whole
channels, so in a thin network no width may come nearer."""

UNFAIR = 0.1
"""If they are farther apart than this, an arm neither beats a cheaper control nor saves nothing against a dearer one:
the cost may be why, whatever the layers."""


def judge_arms(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Compare each arm with the baseline in one metric, and give a verdict in the primary one.

    The verdict is withheld or weakened if failures differ, if judges disagree, if its sign still changes at the end of
    the training, or if no damaged arm was found worse. Other metrics have no margin, and their probabilities are
    adjusted together.
    """
    primary = metric == result["primary"]
    better = result["metrics"][metric]["better"]
    margin = result["margin"] if primary else None
    of = read_arms(result, metric)
    base = of[result["baseline"]]
    judged = {}
    for name, side in of.items():
        if name == result["baseline"] or not side.values.keys() & base.values.keys():
            continue
        one = find_difference(side, base, margin, better)
        if one is not None:
            judged[name] = qualify(one, side, base, margin, better) if primary else one
    asked = {name for name, side in of.items() if not side.damaged and not side.control_of}
    controls = {name for name, side in of.items() if side.control_of}
    # Arms are adjusted among themselves alone, so that controls do not make it harder for them. A control must survive
    # the adjustment among all.
    _adjust(judged, asked | controls, controls, primary)
    _adjust(judged, asked, asked, primary)
    if primary and not _sees_damage(judged, of, base, margin, better):
        _call_unproven(judged.values())
    return judged


def _sees_damage(
    judged: Mapping[str, Any], of: Mapping[str, ArmValues], base: ArmValues, margin: float | None, better: str
) -> bool:
    """Whether an arm that was damaged on purpose was found worse. That more of its runs failed is not against it."""
    for name, side in of.items():
        if not side.damaged or name not in judged:
            continue
        kind = judged[name]["kind"]
        if kind == WITHHELD and _count_failed(side) * len(base.values) > _count_failed(base) * len(side.values):
            kind = (find_difference(side, base, margin, better) or judged[name])["kind"]
        if kind.startswith("worse"):
            return True
    return False


def _count_failed(side: ArmValues) -> int:
    return sum(map(math.isnan, side.values.values()))


def _call_unproven(judged: Iterable[dict[str, Any]]) -> None:
    """Replace "not worse" by "unproven", and call nothing equivalent: no damaged arm was found worse."""
    for one in judged:
        one["equivalent"] = None
        if one["kind"] == "not worse":
            aside = re.sub(r"^not worse \((.*?)\)", r"\1", one["text"])
            one["kind"] = "unproven"
            one["text"] = (
                f"not seen to be worse, but no {DAMAGED} arm shows that this comparison would see it ({aside})"
            )


def qualify(one: dict[str, Any], side: ArmValues, base: ArmValues, margin: float | None, better: str) -> dict[str, Any]:
    """Withhold or weaken the verdict of a difference where failures, judges or the budget speak against it."""
    if one["kind"] in ("direction", "no margin"):
        return one
    failed, others = _count_failed(side), _count_failed(base)
    if failed * len(base.values) != others * len(side.values):
        p = intervals.fisher(failed, len(side.values), others, len(base.values))
        counts = f"{_word_failures(side)}, {others} of {len(base.values)} of {base.name}"
        return _withhold(one, f"{counts} (exact p {p:.2g}): failures are compared apart")
    one = _hear_judges(one, side, base, margin, better)
    if one["kind"] != WITHHELD:
        one = _consider_budget(one, side, base, margin, better)
    if side.images != base.images and not side.damaged:
        one["text"] += f"; {side.name} saw {side.images:,} images, {base.name} {base.images:,}"
    return one


def _word_failures(side: ArmValues, whose: str = "") -> str:
    """Say how many runs failed, e.g. ``2 of 5 runs failed``, and how many of them did not train."""
    failed = _count_failed(side)
    what = "did not train" if side.untrained == failed and failed else "failed"
    aside = f" ({side.untrained} did not train)" if 0 < side.untrained < failed else ""
    return f"{failed} of {len(side.values)} runs{whose} {what}{aside}"


def _withhold(one: dict[str, Any], why: str) -> dict[str, Any]:
    text = f"no verdict: {why} (without that: {one['text']})"
    return {**one, "kind": WITHHELD, "text": text, "equivalent": None}


def _hear_judges(
    one: dict[str, Any], side: ArmValues, base: ArmValues, margin: float | None, better: str
) -> dict[str, Any]:
    """Withhold the verdict if judges disagree. If some say better and all others not worse, the verdict is not worse.

    Every judge has its own scale, so the margin is the same share of the baseline's mean for each.
    """
    kinds = [one["kind"]]
    for mine, theirs in zip(side.judges, base.judges, strict=False):
        own = ArmValues(side.name, mine), ArmValues(base.name, theirs)
        # If the means have different signs (KID can be below 0), there is no common scale and no margin for this judge.
        scale = find_mean(theirs) / find_mean(base.values) if find_mean(base.values) else 0.0
        difference = find_difference(*own, margin * scale if margin is not None and scale > 0 else None, better)
        kinds.append("direction" if difference is None else difference["kind"])
    one = {**one, "judges": kinds}
    if len(set(kinds)) == 1:
        agreed = f", {len(kinds)} judges agree" if len(kinds) > 1 else ""
        return {**one, "text": one["text"] + agreed}
    if set(kinds) == {"better", "not worse"}:
        text = re.sub(r"^(better|not worse)", "not worse", one["text"])
        return {**one, "kind": "not worse", "text": f"{text}, {kinds.count('better')} of {len(kinds)} judges: better"}
    return _withhold(one, f"the judges disagree ({', '.join(kinds)})")


def find_slope(side: ArmValues, better: str) -> dict[str, Any] | None:
    """How an arm's mean changed over the last quarter of its training, with its interval over seeds.

    ``improving`` says that the whole 95 % interval is on the better side, so more training would still help. Returns
    None if the arm was not measured on the way.
    """
    if not side.way or not side.way[0].keys() & side.values.keys():
        return None
    last = {seed: value for seed, value in side.values.items() if math.isfinite(value)}
    if not last.keys() & side.way[0].keys():
        return None
    moved = intervals.paired(last, side.way[0])
    interval = moved.interval_95
    good = interval is not None and (interval.high < 0 if better == "lower" else interval.low > 0)
    means = [find_mean(table) for table in (*side.way, last)]
    return {"means": means, "change": moved.mean, "interval_95": interval, "improving": good}


def _consider_budget(
    one: dict[str, Any], side: ArmValues, base: ArmValues, margin: float | None, better: str
) -> dict[str, Any]:
    """If an arm is still improving, say so in the verdict; withhold it if its sign changes between the looks.

    For better and worse, the sign is that of the difference; for not worse and worse beyond margin, that of the
    difference minus the margin.
    """
    slopes = [find_slope(arm, better) for arm in (side, base)]
    improving = [arm.name for arm, of in zip((side, base), slopes, strict=True) if of is not None and of["improving"]]
    if not improving or margin is None:
        return one
    sign = 1 if better == "lower" else -1
    limit = margin if one["kind"] in ("not worse", "worse beyond margin") else 0.0
    distances = []
    for mine, theirs in zip((*side.way, side.values), (*base.way, base.values), strict=False):
        both = [seed for seed in mine.keys() & theirs.keys() if math.isfinite(mine[seed] + theirs[seed])]
        if both:
            distances.append(sum(sign * (mine[seed] - theirs[seed]) for seed in both) / len(both) - limit)
    if one["kind"] != "inconclusive" and len({value > 0 for value in distances}) > 1:
        return _withhold(one, f"{' and '.join(improving)} still improving, and its sign changes over the last quarter")
    return {**one, "text": f"{one['text']}, at an unfinished budget: {' and '.join(improving)} still improving"}


def _adjust(judged: Mapping[str, dict[str, Any]], family: set[str], arms: set[str], primary: bool) -> None:
    """Adjust the probabilities of `arms` by Holm's method among all of `family`. "better" must survive this."""
    listed = [name for name, one in judged.items() if name in family and one["p"] is not None]
    for name, p in zip(listed, intervals.holm([judged[name]["p"] for name in listed]), strict=True):
        if name not in arms:
            continue
        one = judged[name]
        one["p_adjusted"] = p
        if primary and one["kind"] == "better" and p >= SIGNIFICANT:
            one["kind"] = "not worse"
            one["text"] = re.sub(r"^better", "not worse", one["text"])
            one["text"] += f", better only without Holm's adjustment for {len(listed)} arms"


def adjust_secondary(result: dict[str, Any]) -> None:
    """Adjust the probabilities of all metrics except the primary one together, by Holm's method."""
    every = [
        one for metric, of in result["differences"].items() if metric != result["primary"]
        for one in of.values() if one["p"] is not None
    ]  # fmt: skip
    for one, p in zip(every, intervals.holm([one["p"] for one in every]), strict=True):
        one["p_adjusted"] = p


# ----------------------------------------------------------------------------------------- failures, slopes, controls


def count_failures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Count failed and collapsed runs of each arm, with the exact p-value against the baseline.

    ``"untrained"`` counts the failed runs that did not train.
    """
    counts, untrained = {}, {}
    for arm in result["arms"]:
        runs = arm["runs"].values()
        collapsed = sum(any(f["kind"] == "collapse" for f in run["findings"]) for run in runs)
        counts[arm["name"]] = (sum(run["failed"] is not None for run in runs), collapsed, len(runs))
        untrained[arm["name"]] = sum(bool(run.get("untrained")) for run in runs)
    base = counts[result["baseline"]]
    return {
        name: {
            "failed": failed, "untrained": untrained[name], "collapsed": collapsed, "runs": runs,
            "failed_p": None if name == result["baseline"] else intervals.fisher(failed, runs, base[0], base[2]),
            "collapsed_p": None if name == result["baseline"] else intervals.fisher(collapsed, runs, base[1], base[2]),
        }
        for name, (failed, collapsed, runs) in counts.items()
    }  # fmt: skip


def find_slopes(result: Mapping[str, Any]) -> dict[str, Any]:
    """For each arm that was measured on the way, its change over the last quarter in the primary metric."""
    better = result["metrics"][result["primary"]]["better"]
    slopes = {name: find_slope(side, better) for name, side in read_arms(result, result["primary"]).items()}
    return {name: one for name, one in slopes.items() if one is not None}


def judge_against_controls(result: Mapping[str, Any], matched: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare each frugal arm with its control: a frugal arm that does not beat it has saved nothing.

    ``"difference"`` is None if one of the two has no value at all.
    """
    of = read_arms(result, result["primary"])
    better, margin = result["metrics"][result["primary"]]["better"], result["margin"]
    judged_arms, base = result["differences"][result["primary"]], of[result["baseline"]]
    facts, ahead, behind = {}, {}, {}
    for fact in matched:
        arm, control = of[fact["arm"]], of[fact["control"]]
        facts[arm.name] = fact
        one, back = find_difference(arm, control, margin, better), find_difference(control, arm, margin, better)
        if one is not None and back is not None:
            ahead[arm.name] = qualify(one, arm, control, margin, better)
            behind[arm.name] = qualify(back, control, arm, margin, better)
    for judged in (ahead, behind):
        _adjust(judged, set(judged), set(judged), True)
        if not _sees_damage(judged_arms, of, base, margin, better):
            _call_unproven(judged.values())
    return [
        {**fact, "difference": ahead[name], **_word_saving(ahead[name], behind[name], fact, result["baseline"])}
        if name in ahead else {**fact, "difference": None, "kind": WITHHELD, "text": _word_no_control(fact, of)}
        for name, fact in facts.items()
    ]  # fmt: skip


def _word_no_control(fact: Mapping[str, Any], of: Mapping[str, ArmValues]) -> str:
    without = [
        _word_failures(of[name], f" of {name}")
        for name in (fact["arm"], fact["control"]) if not any(map(math.isfinite, of[name].values.values()))
    ]  # fmt: skip
    return f"against its control: nothing to compare ({' and '.join(without) or 'no seed in common'})"


def _word_saving(
    one: Mapping[str, Any], back: Mapping[str, Any], fact: Mapping[str, Any], baseline: str
) -> dict[str, str]:
    is_baseline = fact["control"] == baseline
    same = f"the baseline, which costs no more ({fact['match']}),"
    name = same if is_baseline else "its control, the baseline made thinner,"
    found = _word_saved(one, back, name)
    apart = 0.0 if is_baseline or not fact.get("wanted") else fact["reached"] / fact["wanted"] - 1
    if abs(apart) > UNMATCHED:
        costs = f"the control costs {abs(apart):.0%} {'more' if apart > 0 else 'less'} ({fact['match']})"
        if abs(apart) > UNFAIR and found["kind"] == ("saves nothing" if apart > 0 else "beats its control"):
            return {"kind": "inconclusive", "text": f"{costs}, which may be why: {found['text']}"}
        found["text"] += f"; {costs}"
    return found


def _word_saved(one: Mapping[str, Any], back: Mapping[str, Any], name: str) -> dict[str, str]:
    if one["kind"] in ("direction", "no margin", WITHHELD):
        return {"kind": one["kind"], "text": f"against its control: {one['text']}"}
    if one["kind"] == "better":
        return {"kind": "beats its control", "text": f"beats its control: {one['text']}"}
    if back["kind"] in ("better", "not worse"):
        return {"kind": "saves nothing", "text": f"saves nothing: {name} is {back['text']}"}
    return {"kind": "inconclusive", "text": f"not shown to beat its control ({one['text']})"}


def note_tuning(result: dict[str, Any]) -> None:
    """If the arms were tuned, add that to the text of every verdict."""
    if result["tune"] is None:
        return
    arms = (result["fixed"].get("tuning") or {}).get("arms", {})
    best = {name: of["tried"][of["chosen"]] for name, of in arms.items()}
    without = [name for name, facts in best.items() if facts["value"] is None or facts["why"] is not None]
    pairs = [((name, result["baseline"]), one) for name, one in result["differences"][result["primary"]].items()]
    pairs += [((one["arm"], one["control"]), one) for one in result["controls"]]
    for names, one in pairs:
        one["text"] += f", each at its best of {result['tune']} trial{'s' if result['tune'] > 1 else ''}"
        if unchanged := [name for name in names if name in without]:
            one["text"] += f" (no trial of {' and '.join(unchanged)} has a value, so nothing was changed there)"
