"""The difference of two arms in one metric, seed by seed, with its statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from frugan import intervals

Values = dict[int, float]
"""The headline number of a metric, by seed. NaN for a run that failed or did not train."""


class ArmValues(NamedTuple):
    """One arm's values in one metric, with what verdicts need beside them.

    Args:
        values: final values by seed.
        way: values by seed at each stop before the end.
        judges: values by seed of each judge after the first.
        images: the arm's budget.
        damaged: whether the arm was made worse on purpose.
        control_of: the arm that this one is a control for.
        untrained: how many of the failed runs did not train.
    """

    name: str
    values: Values
    way: Sequence[Values] = ()
    judges: Sequence[Values] = ()
    images: int = 0
    damaged: bool = False
    control_of: str | None = None
    untrained: int = 0


def read_arms(result: Mapping[str, Any], metric: str) -> dict[str, ArmValues]:
    """Read all arms of a result in one metric, by name. `way` and `judges` are filled for the primary metric only."""
    arms = {}
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
        arms[arm["name"]] = ArmValues(
            arm["name"], read_values(arm["runs"], metric), way, others, arm.get("images", 0), arm["damaged"],
            arm.get("control_of"), sum(bool(run.get("untrained")) for run in runs.values()),
        )  # fmt: skip
    return arms


def read_values(runs: Mapping[Any, dict[str, Any]], metric: str) -> Values:
    """Read the headline number of each run, by seed; NaN for a failed run."""
    values = {}
    for seed, run in runs.items():
        value = run["values"].get(metric)
        if value is not None:
            values[int(seed)] = float(value["values"][value["headline"]])
        elif run["failed"] is not None:
            values[int(seed)] = math.nan
    return values



def find_difference(one: ArmValues, other: ArmValues, margin: float | None, better: str) -> dict[str, Any] | None:
    """Compute the paired difference `one` - `other`, its statistics, and the verdict that `intervals.verdict` gives.

    A failed run counts as the worst value of the two arms.

    The means that are printed are the ones that are judged. If an arm's values are skewed, the ratio of the geometric
    means stands beside them with its interval, and the verdict says if logarithms would have led to another one, with
    the margin as the same share of the other arm's mean. (Logarithms alone would favour the arm with the larger spread:
    with equal means its geometric mean is smaller.)

    Returns None if the arms have no seed in common, or if every run of an arm failed.
    """
    if not any(map(math.isfinite, one.values.values())) or not any(map(math.isfinite, other.values.values())):
        return None
    filled = intervals.failed_as_worst(one.values, other.values, better=better)
    a, b = ({seed: float(v) for seed, v in arm.items() if v is not None} for arm in filled)
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    mine, theirs = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    difference = intervals.paired(a, b)
    skewed = intervals.skewed(mine, theirs)
    share = None if margin is None or not skewed else _find_log_margin(margin, theirs, better)
    ratio = None if share is None else intervals.paired_ratio({s: a[s] for s in seeds}, {s: b[s] for s in seeds})
    kind, text = intervals.verdict(difference, margin, better=better)
    if ratio is not None and kind != "direction":
        otherwise = intervals.verdict(ratio, share, better=better).kind
        text += "" if otherwise == kind else f", but {otherwise} on logarithms: the values are skewed"
    failed = [sum(map(math.isnan, arm.values.values())) for arm in (one, other)]
    if any(failed) and kind != "direction":
        text += f", counting {failed[0]} failed of {one.name} and {failed[1]} of {other.name} as the worst value"
    several = len(seeds) > 1
    welch = intervals.welch(mine, theirs) if several else None
    tost = None if margin is None or not several else max(
        intervals.not_above(difference, margin).p, intervals.not_below(difference, margin).p
    )  # fmt: skip
    ratios = None if ratio is None or ratio.interval_95 is None else [math.exp(end) for end in ratio.interval_95]
    return {
        "mean": difference.mean, "median": _find_median(difference.differences), "sd": difference.sd,
        "n": difference.n, "p": difference.p, "dz": difference.dz,
        "interval_95": difference.interval_95, "interval_90": difference.interval_90,
        "correlation": difference.correlation, "missing": difference.missing, "seeds": difference.seeds,
        "differences": difference.differences, "kind": kind, "text": text, "skewed": skewed,
        "ratio": None if ratio is None else math.exp(ratio.mean), "ratio_95": ratios,
        "bootstrap_95": intervals.bootstrap_interval(difference.differences) if several else None,
        "sign_flip_p": intervals.sign_flip_p(difference.differences) if several and difference.n <= 15 else None,
        "win_rate": intervals.win_rate([d if better == "lower" else -d for d in difference.differences]),
        "chance_better": intervals.chance_lower(*((mine, theirs) if better == "lower" else (theirs, mine))),
        "unpaired_95": welch.interval if welch else None, "unpaired_p": welch.p if welch else None,
        "equivalence_p": tost, "equivalent": None if margin is None or difference.n < intervals.SEEDS_FOR_A_VERDICT
        else intervals.equivalent(difference, margin),
    }  # fmt: skip


def _find_log_margin(margin: float, base: Sequence[float], better: str) -> float | None:
    """The margin on logarithms: as a share of the geometric mean of `base`. None if it is as large as that mean."""
    mean = math.exp(sum(map(math.log, base)) / len(base))
    if better == "lower":
        return math.log1p(margin / mean)
    return -math.log1p(-margin / mean) if margin < mean else None


def _find_median(numbers: Sequence[float]) -> float:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def find_mean(of: Values) -> float:
    """The mean over the runs that did not fail."""
    finite = [value for value in of.values() if math.isfinite(value)]
    return sum(finite) / len(finite)
