"""Two arms over seeds: their paired differences with Student-t intervals, and the same without pairs.

The unit is one training run. Two arms trained with the same seeds are compared seed by seed, d = A - B, because what
the seed decides (data order, latents) is then shared. Values are given by seed, ``{0: 12.1, 1: 11.8}``, or as
sequences in the same order; ``None`` stands for a run that is not there, and its pair is dropped and reported. A run
that *failed* is not missing but a result: see `failed_as_worst`.

Plain Python throughout, on a handful of numbers; nothing here knows what was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from frugan.intervals._student import at_least_two, student_t_quantile, two_sided
from frugan.registry import UserError

Values = Mapping[int, float | None] | Sequence[float | None]
"""One arm: a value for each seed, or in the order of the seeds."""


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """The differences d = A - B of two arms, seed by seed.

    What cannot be known is None: everything but `mean` with one pair, `t` and `dz` where all differences are equal.
    Then the intervals have no width, and `p` is 0, or 1 where the differences are 0.

    Attributes:
        seeds: those in both arms; `differences` are in their order.
        missing: seeds that only one of the arms has, whose pairs were dropped.
        sd, se: standard deviation (n - 1) of the differences, and standard error of their mean.
        t, p: paired Student t of the mean against 0, and its two-sided probability.
        dz: mean / sd, the size of the effect in units of what `power` takes.
        correlation: of A and B over the seeds; pairing helps where it is positive.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    missing: tuple[int, ...]
    mean: float
    sd: float | None = None
    se: float | None = None
    t: float | None = None
    p: float | None = None
    dz: float | None = None
    interval_95: Interval | None = None
    interval_90: Interval | None = None
    correlation: float | None = None

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return len(self.differences)


def paired(a: Values, b: Values) -> PairedDifference:
    """The differences A - B by seed. Raises UserError if no seed is in both arms, or for a value that is not finite."""
    a, b = _by_seed(a), _by_seed(b)
    seeds = tuple(sorted(a.keys() & b.keys()))
    missing = tuple(sorted(a.keys() ^ b.keys()))
    if not seeds:
        raise UserError("The arms have no seed in common, so they cannot be compared. Run both with the same --seeds.")
    for value in (arm[seed] for arm in (a, b) for seed in seeds):
        if not math.isfinite(value):
            raise UserError(
                f"One of the values is {value}. If its run failed, first replace it by the worst value: "
                "failed_as_worst."
            )
    first, second = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    differences = tuple(one - other for one, other in zip(first, second, strict=True))
    mean = math.fsum(differences) / len(differences)
    difference = PairedDifference(seeds, differences, missing, mean)
    if difference.n < 2:
        return difference

    sd = statistics.stdev(differences)
    rounding = 1e-12 * max(map(abs, [*first, *second]))
    if sd <= rounding:  # differences equal but for rounding are equal
        sd = 0.0
    se = sd / math.sqrt(difference.n)
    t = mean / se if se else None
    return replace(
        difference,
        sd=sd,
        se=se,
        t=t,
        p=_without_spread(mean, rounding) if t is None else two_sided(t, difference.n - 1),
        dz=mean / sd if sd else None,
        interval_95=_around(mean, se, difference.n - 1, 0.95),
        interval_90=_around(mean, se, difference.n - 1, 0.90),
        correlation=correlation(first, second),
    )


SKEWED = 3.0
"""Where the largest value of an arm is more than so many times the smallest, its values are skewed."""


def skewed(*arms: Iterable[float]) -> bool:
    """Whether any arm's values, all above 0, spread so far that their ratio should be looked at too."""
    listed = [list(arm) for arm in arms]
    return all(min(arm) > 0 for arm in listed) and any(max(arm) > SKEWED * min(arm) for arm in listed)


def paired_ratio(a: Values, b: Values) -> PairedDifference:
    """The differences of natural logarithms, log A - log B: ratios, whose mean is the geometric one.

    For latencies, counts and skewed values. Raises UserError as `paired` does, and for a value that is not above 0.
    """
    logs = []
    for arm in (_by_seed(a), _by_seed(b)):
        if any(value <= 0 for value in arm.values()):
            raise UserError("Ratios can only be computed for values above 0.")
        logs.append({seed: math.log(value) for seed, value in arm.items()})
    return paired(*logs)


def failed_as_worst(*arms: Values, better: str = "lower") -> list[dict[int, float | None]]:
    """The arms with every failed run (NaN or infinite) counted as the worst value that any run of any arm reached.

    Leaving failures out, or repeating them in one arm only, would favour the arm that fails.
    """
    by_seed = [dict(arm) if isinstance(arm, Mapping) else dict(enumerate(arm)) for arm in arms]
    finite = [value for arm in by_seed for value in arm.values() if value is not None and math.isfinite(value)]
    if not finite:
        raise UserError("Every run of every arm failed, so there is nothing to compare.")
    worst = max(finite) if lower_is_better(better) else min(finite)
    return [
        {seed: value if value is None or math.isfinite(value) else worst for seed, value in arm.items()}
        for arm in by_seed
    ]


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student-t interval of the mean of independent values. Raises UserError for fewer than two."""
    at_least_two(values)
    mean = math.fsum(values) / len(values)
    return _around(mean, statistics.stdev(values) / math.sqrt(len(values)), len(values) - 1, level)


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's correlation; None where one side does not vary."""
    if len(a) < 2 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return statistics.correlation(a, b)


class Welch(NamedTuple):
    """Welch's comparison of two means without pairs; see `welch`."""

    difference: float
    freedom: float
    t: float | None
    p: float
    interval: Interval


def welch(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Welch:
    """Mean A - mean B for arms that share no seeds, with unequal spreads.

    Raises UserError for fewer than two values each.
    """
    at_least_two(a)
    at_least_two(b)
    difference = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    se = math.sqrt(sum(parts))
    rounding = 1e-12 * max(map(abs, [*a, *b]))
    if se <= rounding:
        p = _without_spread(difference, rounding)
        return Welch(difference, len(a) + len(b) - 2, None, p, Interval(difference, difference))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True))
    t = difference / se
    return Welch(difference, freedom, t, two_sided(t, freedom), _around(difference, se, freedom, level))


class Summary(NamedTuple):
    """One arm over its seeds.

    `sd` is the standard deviation over seeds (None for one); `failed` counts non-finite values, which are in no other
    number.
    """

    n: int
    mean: float
    sd: float | None
    median: float
    low: float
    high: float
    failed: int


def summary(values: Iterable[float]) -> Summary:
    """Count, mean, standard deviation, median, extremes and failures of one arm.

    Raises UserError if every run failed.
    """
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        raise UserError(f"None of the {len(values)} runs has a finite value, so there is nothing to summarise.")
    return Summary(
        n=len(finite),
        mean=math.fsum(finite) / len(finite),
        sd=statistics.stdev(finite) if len(finite) > 1 else None,
        median=statistics.median(finite),
        low=min(finite),
        high=max(finite),
        failed=len(values) - len(finite),
    )


def _by_seed(values: Values) -> dict[int, float]:
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    return {seed: float(value) for seed, value in items if value is not None}


def _without_spread(mean: float, rounding: float) -> float:
    """The two-sided probability of this mean of values that are all equal: 1 if it is 0 but for rounding, else 0."""
    return 1.0 if abs(mean) <= rounding else 0.0


def _around(mean: float, se: float, freedom: float, level: float) -> Interval:
    half = student_t_quantile(0.5 + level / 2, freedom) * se
    return Interval(mean - half, mean + half)


def lower_is_better(better: str) -> bool:
    """Whether ``better`` is "lower"; raises UserError unless it is that or "higher"."""
    if better not in ("lower", "higher"):
        raise UserError(f"better='{better}' is neither 'lower' nor 'higher'.")
    return better == "lower"
