"""What may be said of each arm: differences, failures, slopes, controls and fronts, from plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from frugan import intervals
from frugan.comparison.planning.arms import DAMAGED

WITHHELD = "withheld"
SIGNIFICANT = 0.05
COSTS = (
    ("parameters", "parameters of the generator"), ("macs", "MACs an image"), ("latency", "ms an image, batch 64"),
    ("file", "bytes of the file that ships"),
)  # fmt: skip
Values = dict[int, float]


class Side(NamedTuple):
    """One arm as verdicts see it: values by seed (NaN for a failed run), those on the way, and those of other judges.

    `way` holds a table for each stop before the end, `judges` one for each judge after the first.
    """

    name: str
    values: Values
    way: Sequence[Values] = ()
    judges: Sequence[Values] = ()
    images: int = 0
    damaged: bool = False
    control_of: str | None = None


def sides(result: Mapping[str, Any], metric: str) -> dict[str, Side]:
    """All arms of a result in one metric, by name; the way and the judges only in the primary one."""
    found = {}
    for arm in result["arms"]:
        runs = {int(seed): run for seed, run in arm["runs"].items()}
        own = metric == result["primary"]
        stops = max((len(run.get("way", ())) - 1 for run in runs.values()), default=0) if own else 0
        judges = max((len(run.get("judges", ())) for run in runs.values()), default=0) if own else 0
        way = [
            {seed: run["way"][stop]["number"] for seed, run in runs.items() if len(run.get("way", ())) == stops + 1}
            for stop in range(stops)
        ]
        others = [
            {seed: run["judges"][judge] if run["failed"] is None else math.nan for seed, run in runs.items()}
            for judge in range(judges)
        ]
        found[arm["name"]] = Side(
            arm["name"], values(arm["runs"], metric), way, others, arm.get("images", 0), arm["damaged"],
            arm.get("control_of"),
        )  # fmt: skip
    return found


def values(runs: Mapping[Any, dict[str, Any]], metric: str) -> Values:
    """Seed -> headline number; NaN for a failed run."""
    found = {}
    for seed, run in runs.items():
        value = run["values"].get(metric)
        if value is not None:
            found[int(seed)] = float(value["values"][value["headline"]])
        elif run["failed"] is not None:
            found[int(seed)] = math.nan
    return found


# ------------------------------------------------------------------------------------------------------- one difference


def difference(one: Side, other: Side, margin: float | None, better: str) -> dict[str, Any] | None:
    """The paired difference of two arms with everything that is printed beside it, and the verdict by the table.

    Where an arm's values are skewed, all that decides (verdict, `p`, equivalence) is on logarithms, the margin the same
    share of the other arm's mean. A failed run counts as the worst value of the two arms. None without a common seed,
    or where every run of an arm failed: nothing was measured then.
    """
    if not any(map(math.isfinite, one.values.values())) or not any(map(math.isfinite, other.values.values())):
        return None
    filled = intervals.failed_as_worst(one.values, other.values, better=better)
    a, b = ({seed: float(v) for seed, v in arm.items() if v is not None} for arm in filled)
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    mine, theirs = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    found = intervals.paired(a, b)
    skewed = intervals.skewed(mine, theirs)
    share = None if margin is None or not skewed else _log_margin(margin, theirs, better)
    judged = found if share is None else intervals.paired_ratio({s: a[s] for s in seeds}, {s: b[s] for s in seeds})
    words = None if share is None else f"{margin:g}"
    limit = share or margin
    kind, text = intervals.verdict(judged, limit, better=better, words=words)
    if share is not None and kind != "direction":
        text += ", on logarithms because the values are skewed"
    failed = [sum(map(math.isnan, arm.values.values())) for arm in (one, other)]
    if any(failed) and kind != "direction":
        text += f", counting {failed[0]} failed of {one.name} and {failed[1]} of {other.name} as the worst value"
    several = len(seeds) > 1
    welch = intervals.welch(mine, theirs) if several else None
    tost = None if limit is None or not several else max(
        intervals.not_above(judged, limit).p, intervals.not_below(judged, limit).p
    )  # fmt: skip
    ratios = None if share is None or judged.interval_95 is None else [math.exp(end) for end in judged.interval_95]
    return {
        "mean": found.mean, "median": _median(found.differences), "sd": found.sd, "n": found.n, "p": judged.p,
        "dz": found.dz, "interval_95": found.interval_95, "interval_90": found.interval_90,
        "correlation": found.correlation, "missing": found.missing, "seeds": found.seeds,
        "differences": found.differences, "kind": kind, "text": text, "skewed": skewed,
        "ratio": None if share is None else math.exp(judged.mean), "ratio_95": ratios,
        "bootstrap_95": intervals.bootstrap_interval(found.differences) if several else None,
        "sign_flip_p": intervals.sign_flip_p(found.differences) if several and found.n <= 15 else None,
        "win_rate": intervals.win_rate([d if better == "lower" else -d for d in found.differences]),
        "chance_better": intervals.chance_lower(*((mine, theirs) if better == "lower" else (theirs, mine))),
        "unpaired_95": welch.interval if welch else None, "unpaired_p": welch.p if welch else None,
        "equivalence_p": tost, "equivalent": None if limit is None or judged.n < intervals.SEEDS_FOR_A_VERDICT
        else intervals.equivalent(judged, limit),
    }  # fmt: skip


def _log_margin(margin: float, base: Sequence[float], better: str) -> float | None:
    """The margin as a share of the other arm's geometric mean, on logarithms; None if it is all of it."""
    mean = math.exp(sum(map(math.log, base)) / len(base))
    if better == "lower":
        return math.log1p(margin / mean)
    return -math.log1p(-margin / mean) if margin < mean else None


def _median(numbers: Sequence[float]) -> float:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


# ------------------------------------------------------------------------------------------------------------- verdicts


def differences(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Each arm's difference from the baseline in one metric, and what may be said of it.

    In the primary metric a verdict of the table stands only if nothing speaks against it: failures that differ, judges
    that disagree, a budget at which its sign still changes, no damaged arm that was found worse. The other metrics
    have no margin, and their probabilities are adjusted together.
    """
    primary = metric == result["primary"]
    better = result["metrics"][metric]["better"]
    margin = result["margin"] if primary else None
    of = sides(result, metric)
    base = of[result["baseline"]]
    found = {}
    for name, side in of.items():
        if name == result["baseline"] or not side.values.keys() & base.values.keys():
            continue
        one = difference(side, base, margin, better)
        if one is not None:
            found[name] = settled(one, side, base, margin, better) if primary else one
    asked = {name for name, side in of.items() if not side.damaged and not side.control_of}
    controls = {name for name, side in of.items() if side.control_of}
    # Controls are not what is asked about and cost the arms nothing; one that is called better has to survive them all.
    _adjust(found, asked | controls, controls, primary)
    _adjust(found, asked, asked, primary)
    if primary and not _sees(found, of):
        _unproven(found.values())
    return found


def _sees(found: Mapping[str, Any], of: Mapping[str, Side]) -> bool:
    """Whether an arm damaged on purpose was found worse by this comparison."""
    return any(found[name]["kind"].startswith("worse") for name, side in of.items() if side.damaged and name in found)


def _unproven(found: Iterable[dict[str, Any]]) -> None:
    """Call nothing "not worse", and nothing equivalent, where this comparison has not shown that it would see worse."""
    for one in found:
        one["equivalent"] = None
        if one["kind"] == "not worse":
            aside = one["text"].removeprefix("not worse (").replace(")", "", 1)
            one["kind"] = "unproven"
            one["text"] = (
                f"not seen to be worse, but no {DAMAGED} arm shows that this comparison would see it ({aside})"
            )


def settled(one: dict[str, Any], side: Side, base: Side, margin: float | None, better: str) -> dict[str, Any]:
    """The difference with its verdict withheld or qualified, where there is one."""
    if one["kind"] in ("direction", "no margin"):
        return one
    failed, others = (sum(map(math.isnan, arm.values.values())) for arm in (side, base))
    if failed * len(base.values) != others * len(side.values):
        p = intervals.fisher(failed, len(side.values), others, len(base.values))
        return _withhold(
            one, f"{failed} of {len(side.values)} runs failed, {others} of {len(base.values)} of {base.name} "
            f"(exact p {p:.2g}): failures are compared apart"
        )  # fmt: skip
    one = _by_judges(one, side, base, margin, better)
    if one["kind"] != WITHHELD:
        one = _at_this_budget(one, side, base, margin, better)
    if side.images != base.images and not side.damaged:
        one["text"] += f"; {side.name} saw {side.images:,} images, {base.name} {base.images:,}"
    return one


def _withhold(one: dict[str, Any], why: str) -> dict[str, Any]:
    text = f"no verdict: {why} (without that: {one['text']})"
    return {**one, "kind": WITHHELD, "text": text, "equivalent": None}


def _by_judges(one: dict[str, Any], side: Side, base: Side, margin: float | None, better: str) -> dict[str, Any]:
    """All judges must come to one verdict; where some say better and some not worse, it is not worse.

    Every judge has a scale of its own, so the margin is the same share of the baseline's mean on each.
    """
    kinds = [one["kind"]]
    for mine, theirs in zip(side.judges, base.judges, strict=False):
        own = Side(side.name, mine), Side(base.name, theirs)
        # Means of both signs (KID may fall below 0) have no common scale, and then this judge has no margin.
        scale = _mean(theirs) / _mean(base.values) if _mean(base.values) else 0.0
        said = difference(*own, margin * scale if margin is not None and scale > 0 else None, better)
        kinds.append("direction" if said is None else said["kind"])
    one = {**one, "judges": kinds}
    if len(set(kinds)) == 1:
        agreed = f", {len(kinds)} judges agree" if len(kinds) > 1 else ""
        return {**one, "text": one["text"] + agreed}
    if set(kinds) == {"better", "not worse"}:
        text = re.sub(r"^(better|not worse)", "not worse", one["text"])
        return {**one, "kind": "not worse", "text": f"{text}, {kinds.count('better')} of {len(kinds)} judges: better"}
    return _withhold(one, f"the judges disagree ({', '.join(kinds)})")


def _mean(of: Values) -> float:
    finite = [value for value in of.values() if math.isfinite(value)]
    return sum(finite) / len(finite)


def slope(side: Side, better: str) -> dict[str, Any] | None:
    """How an arm's mean moved over the last quarter of its training, with its interval over seeds.

    ``improving`` says that the whole 95 % interval is on the good side: the budget is not finished. None where it was
    not looked at on the way.
    """
    if not side.way or not side.way[0].keys() & side.values.keys():
        return None
    last = {seed: value for seed, value in side.values.items() if math.isfinite(value)}
    if not last.keys() & side.way[0].keys():
        return None
    moved = intervals.paired(last, side.way[0])
    interval = moved.interval_95
    good = interval is not None and (interval.high < 0 if better == "lower" else interval.low > 0)
    means = [_mean(table) for table in (*side.way, last)]
    return {"means": means, "change": moved.mean, "interval_95": interval, "improving": good}


def _at_this_budget(one: dict[str, Any], side: Side, base: Side, margin: float | None, better: str) -> dict[str, Any]:
    """Word a verdict at an unfinished budget so; withhold it if its sign changes between the looks.

    The sign is that of what the verdict is about: of the difference for better and worse, of its distance from the
    margin for not worse and worse beyond.
    """
    slopes = [slope(arm, better) for arm in (side, base)]
    improving = [arm.name for arm, of in zip((side, base), slopes, strict=True) if of is not None and of["improving"]]
    if not improving or margin is None:
        return one
    sign = 1 if better == "lower" else -1
    limit = margin if one["kind"] in ("not worse", "worse beyond margin") else 0.0
    seen = []
    for mine, theirs in zip((*side.way, side.values), (*base.way, base.values), strict=False):
        both = [seed for seed in mine.keys() & theirs.keys() if math.isfinite(mine[seed] + theirs[seed])]
        if both:
            seen.append(sum(sign * (mine[seed] - theirs[seed]) for seed in both) / len(both) - limit)
    if one["kind"] != "inconclusive" and len({value > 0 for value in seen}) > 1:
        return _withhold(one, f"{' and '.join(improving)} still improving, and its sign changes over the last quarter")
    return {**one, "text": f"{one['text']}, at an unfinished budget: {' and '.join(improving)} still improving"}


def _adjust(found: Mapping[str, dict[str, Any]], family: set[str], arms: set[str], primary: bool) -> None:
    """Holm's adjustment of `arms` among all of the `family`; "better" has to survive it."""
    listed = [name for name, one in found.items() if name in family and one["p"] is not None]
    for name, p in zip(listed, intervals.holm([found[name]["p"] for name in listed]), strict=True):
        if name not in arms:
            continue
        one = found[name]
        one["p_adjusted"] = p
        if primary and one["kind"] == "better" and p >= SIGNIFICANT:
            one["kind"] = "not worse"
            one["text"] = re.sub(r"^better", "not worse", one["text"])
            one["text"] += f", better only without Holm's adjustment for {len(listed)} arms"


def adjust_secondary(result: dict[str, Any]) -> None:
    """Holm's adjustment over all metrics but the primary one, for all arms together: they describe, decide nothing."""
    every = [
        one for metric, of in result["differences"].items() if metric != result["primary"]
        for one in of.values() if one["p"] is not None
    ]  # fmt: skip
    for one, p in zip(every, intervals.holm([one["p"] for one in every]), strict=True):
        one["p_adjusted"] = p


# ----------------------------------------------------------------------------------- failures, slopes, controls, fronts


def failures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Failed and collapsed runs of each arm, and the exact probability that it is as often as in the baseline."""
    counts = {}
    for arm in result["arms"]:
        runs = arm["runs"].values()
        collapsed = sum(any(f["kind"] == "collapse" for f in run["findings"]) for run in runs)
        counts[arm["name"]] = (sum(run["failed"] is not None for run in runs), collapsed, len(runs))
    base = counts[result["baseline"]]
    return {
        name: {
            "failed": failed, "collapsed": collapsed, "runs": runs,
            "failed_p": None if name == result["baseline"] else intervals.fisher(failed, runs, base[0], base[2]),
            "collapsed_p": None if name == result["baseline"] else intervals.fisher(collapsed, runs, base[1], base[2]),
        }
        for name, (failed, collapsed, runs) in counts.items()
    }  # fmt: skip


def slopes(result: Mapping[str, Any]) -> dict[str, Any]:
    """Each arm's movement over its last quarter in the primary metric, where it was looked at."""
    better = result["metrics"][result["primary"]]["better"]
    found = {name: slope(side, better) for name, side in sides(result, result["primary"]).items()}
    return {name: one for name, one in found.items() if one is not None}


def against_controls(result: Mapping[str, Any], matched: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each frugal arm against its thinner standard control: whether it saved anything that width would not have."""
    of = sides(result, result["primary"])
    better, margin = result["metrics"][result["primary"]]["better"], result["margin"]
    facts, ahead, behind = {}, {}, {}
    for fact in matched:
        arm, control = of[fact["arm"]], of[fact["control"]]
        one, back = difference(arm, control, margin, better), difference(control, arm, margin, better)
        if one is not None and back is not None:
            facts[arm.name] = fact
            ahead[arm.name] = settled(one, arm, control, margin, better)
            behind[arm.name] = settled(back, control, arm, margin, better)
    for found in (ahead, behind):
        _adjust(found, set(found), set(found), True)
        if not _sees(result["differences"][result["primary"]], of):
            _unproven(found.values())
    return [
        {**fact, "difference": ahead[name],
         **_saving(ahead[name], behind[name], fact["control"] == result["baseline"])}
        for name, fact in facts.items()
    ]  # fmt: skip


def _saving(one: Mapping[str, Any], back: Mapping[str, Any], is_baseline: bool) -> dict[str, str]:
    name = "the baseline, which costs no more," if is_baseline else "its thinner standard control"
    if one["kind"] in ("direction", "no margin", WITHHELD):
        return {"kind": one["kind"], "text": f"against its control: {one['text']}"}
    if one["kind"] == "better":
        return {"kind": "beats its control", "text": f"beats its control: {one['text']}"}
    if back["kind"] in ("better", "not worse"):
        return {"kind": "saves nothing", "text": f"saves nothing: {name} is {back['text']}"}
    return {"kind": "inconclusive", "text": f"not shown to beat its control ({one['text']})"}


def fronts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where each arm stands in primary quality against each cost, and the area that all cover together.

    An arm is surely dominated where another costs no more and is better with its whole 95 % interval, undecided where
    only the means say so; failed runs count as the worst value of all, since the mean of survivors would favour arms
    that fail. Arms whose cost and quality are of unlike networks or precision are left out, and so are those whose
    multiply-accumulates are not to be believed, where these are the cost. The reference of the area lies a tenth beyond
    the largest cost and the worst mean.
    """
    better = result["metrics"][result["primary"]]["better"]
    sign = 1 if better == "lower" else -1
    of = sides(result, result["primary"])
    arms = [
        arm for arm in result["arms"]
        if arm["generator"] and arm["summary"][result["primary"]] and not arm["apart"]
    ]  # fmt: skip
    if len(arms) < 2:
        return []
    filled = intervals.failed_as_worst(*(of[arm["name"]].values for arm in arms), better=better)
    quality = [sign * math.fsum(v for v in one.values() if v is not None) / len(one) for one in filled]

    def surely_better(one: int, other: int) -> bool:
        if one == other:
            return False
        apart = difference(of[arms[one]["name"]], of[arms[other]["name"]], None, better)
        if apart is None or apart["interval_95"] is None:
            return False
        low, high = apart["interval_95"]
        return high < 0 if better == "lower" else low > 0

    found = []
    for key, words in COSTS:
        prices = {place: price for place, arm in enumerate(arms) if (price := _price(arm, key)) is not None}
        if len(prices) < 2:
            continue
        members, paid = list(prices), [float(price) for price in prices.values()]
        reached = [quality[member] for member in members]
        reach = 0.1 * (max(reached) - min(reached)) or 0.1 * abs(reached[0]) or 1.0
        reference = (1.1 * max(paid), max(reached) + reach)

        def better_in_front(one: int, other: int, members: Sequence[int] = members) -> bool:
            return surely_better(members[one], members[other])

        places = intervals.places(paid, reached, better_in_front)
        found.append(
            {
                "cost": key, "words": words,
                "places": {arms[member]["name"]: place for member, place in zip(members, places, strict=True)},
                "costs": {arms[member]["name"]: price for member, price in zip(members, paid, strict=True)},
                "reference": [reference[0], sign * reference[1]],
                "hypervolume": intervals.hypervolume(list(zip(paid, reached, strict=True)), reference),
            }
        )  # fmt: skip
    return found


def _price(arm: Mapping[str, Any], key: str) -> float | None:
    if key == "latency":
        return arm["latency"]["64"]["median_ms"] / 64 if "64" in arm["latency"] else None
    if key == "macs":
        counted = arm["generator"]
        return None if counted.get("doubts") else counted["macs"] + counted.get("macs_attention", 0)
    return arm["file_bytes"] if key == "file" else arm["generator"][key]
