"""What a comparison over seeds allows one to say: paired differences, their intervals, and a verdict or none.

The unit is one training run. Two arms trained with the same seeds are compared seed by seed, d = A - B, because what
the seed decides (data order, latents) is then shared. Values are given by seed, ``{0: 12.1, 1: 11.8}``, or as
sequences in the same order; ``None`` stands for a run that is not there, and its pair is dropped and reported. A run
that *failed* is not missing but a result: see `failed_as_worst`.

Plain Python throughout, on a handful of numbers; nothing here knows what was measured.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from frugan.registry import UserError

Values = Mapping[int, float | None] | Sequence[float | None]
"""One arm: a value for each seed, or in the order of the seeds."""

SEEDS_FOR_A_VERDICT = 5
"""With fewer pairs than this there is a direction and never a verdict."""

_MOST_SIGN_FLIPS = 15
_MOST_RESAMPLES_ENUMERATED = 10**5


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float


# --------------------------------------------------------------------------------------------- Student's t distribution


def student_t_cdf(t: float, freedom: float) -> float:
    """P(T <= t) for Student's t with `freedom` degrees of freedom."""
    tail = 0.5 * _two_sided(t, freedom)
    return tail if t <= 0 else 1 - tail


def student_t_quantile(probability: float, freedom: float) -> float:
    """The t that Student's t with `freedom` degrees of freedom stays below with this probability (0.975: the multiplier
    of a 95 % interval)."""
    if not 0 < probability < 1:
        raise ValueError(f"a probability between 0 and 1 is needed, not {probability}")
    if probability < 0.5:
        return -student_t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while student_t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(200):  # bisection to the last bit
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if student_t_cdf(middle, freedom) < probability else (low, middle)
    return 0.5 * (low + high)


def _two_sided(t: float, freedom: float) -> float:
    """P(|T| >= |t|); accurate also where it is tiny, unlike 1 - cdf."""
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / (freedom + t * t), t * t / (freedom + t * t), 0.5 * freedom, 0.5)


def _incomplete_beta(x: float, complement: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction; `complement` is 1 - x."""
    if x <= 0 or complement <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on one side only
        return 1 - _beta_fraction(complement, x, b, a)
    return _beta_fraction(x, complement, a, b)


def _beta_fraction(x: float, complement: float, a: float, b: float) -> float:
    """Abramowitz and Stegun 26.5.8, evaluated from its 200th term backwards."""
    fraction = 1.0
    for m in range(100, -1, -1):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1 + odd / fraction
        if m:
            even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            fraction = 1 + even / fraction
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log(complement) - log_beta) / (a * fraction)


# --------------------------------------------------------------------------------------------------- paired differences


@dataclass(frozen=True)
class PairedDifference:
    """The differences d = A - B of two arms, seed by seed.

    What cannot be known is None: everything but `mean` with one pair, `t` and `dz` where all differences are equal
    (then the intervals have no width and `p` is 1).

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
        raise UserError("No seed was run in both arms, so there is nothing to compare; run both with the same --seeds.")
    for value in (arm[seed] for arm in (a, b) for seed in seeds):
        if not math.isfinite(value):
            raise UserError(
                f"One of the values is {value}; a failed run counts as the worst observed: use failed_as_worst."
            )
    first, second = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    differences = tuple(one - other for one, other in zip(first, second, strict=True))
    mean = math.fsum(differences) / len(differences)
    found = PairedDifference(seeds, differences, missing, mean)
    if found.n < 2:
        return found

    sd = statistics.stdev(differences)
    if sd <= 1e-12 * max(map(abs, [*first, *second])):  # differences equal but for rounding are equal
        sd = 0.0
    se = sd / math.sqrt(found.n)
    t = mean / se if se else None
    return replace(
        found,
        sd=sd,
        se=se,
        t=t,
        p=1.0 if t is None else _two_sided(t, found.n - 1),
        dz=mean / sd if sd else None,
        interval_95=_around(mean, se, found.n - 1, 0.95),
        interval_90=_around(mean, se, found.n - 1, 0.90),
        correlation=correlation(first, second),
    )


def failed_as_worst(*arms: Values, better: str = "lower") -> list[dict[int, float | None]]:
    """The arms with every failed run (NaN or infinite) counted as the worst value that any run of any arm reached.

    Leaving failures out, or repeating them in one arm only, would favour the arm that fails.
    """
    by_seed = [dict(arm) if isinstance(arm, Mapping) else dict(enumerate(arm)) for arm in arms]
    finite = [value for arm in by_seed for value in arm.values() if value is not None and math.isfinite(value)]
    if not finite:
        raise UserError("Every run of every arm failed; there is nothing to compare.")
    worst = max(finite) if _lower_is_better(better) else min(finite)
    return [
        {seed: value if value is None or math.isfinite(value) else worst for seed, value in arm.items()}
        for arm in by_seed
    ]


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student-t interval of the mean of independent values. Raises UserError for fewer than two."""
    _at_least_two(values)
    mean = math.fsum(values) / len(values)
    return _around(mean, statistics.stdev(values) / math.sqrt(len(values)), len(values) - 1, level)


def bootstrap_interval(
    differences: Sequence[float], level: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile interval of the mean over resampled seeds, for display: with few seeds it is too narrow for a claim.

    All n^n resamples are enumerated where they are at most 100,000 (n up to 6), else `resamples` are drawn. Raises
    UserError for fewer than two differences.
    """
    means = sorted(bootstrap_means(differences, resamples=resamples, seed=seed))
    return Interval(_percentile(means, 0.5 - level / 2), _percentile(means, 0.5 + level / 2))


def bootstrap_means(differences: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> list[float]:
    """The means behind `bootstrap_interval`: of all resamples where these are few, else of random ones."""
    _at_least_two(differences)
    n = len(differences)
    if n**n <= _MOST_RESAMPLES_ENUMERATED:
        drawn: Iterable[Sequence[float]] = itertools.product(differences, repeat=n)
    else:
        source = random.Random(seed)
        drawn = (source.choices(differences, k=n) for _ in range(resamples))
    return [math.fsum(sample) / n for sample in drawn]


def sign_flip_p(differences: Sequence[float], alternative: str = "two-sided") -> float:
    """Exact permutation probability of the mean difference: the share of all 2^n sign patterns at least as extreme.

    `alternative`: ``two-sided``, ``less`` (A is lower than B) or ``greater``. Never below 1 / 2^n, so five pairs cannot
    reach 0.05 two-sided. Raises UserError for more than 15 pairs.
    """
    if len(differences) > _MOST_SIGN_FLIPS:
        raise UserError(
            f"The exact sign-flip test takes at most {_MOST_SIGN_FLIPS} pairs, and there are {len(differences)}."
        )
    sign = {"two-sided": 1, "greater": 1, "less": -1}[alternative]
    sums = [0.0]
    for difference in differences:
        sums = [total + flipped for total in sums for flipped in (sign * difference, -sign * difference)]
    observed = sums[0]
    tolerance = 1e-12 * math.fsum(map(abs, differences))  # sums that are equal but for rounding are ties
    if alternative == "two-sided":
        extreme = sum(abs(total) >= abs(observed) - tolerance for total in sums)
    else:
        extreme = sum(total >= observed - tolerance for total in sums)
    return extreme / len(sums)


def win_rate(differences: Sequence[float]) -> float:
    """The share of pairs in which A is lower than B; an equal pair counts one half."""
    return math.fsum(_won(difference) for difference in differences) / len(differences)


def chance_lower(a: Sequence[float], b: Sequence[float], *, ties: float = 0.5) -> float:
    """P(A < B) over all crossings of a run of A with a run of B, paired or not; equal ones count `ties`."""
    return math.fsum(_won(one - other, ties) for one in a for other in b) / (len(a) * len(b))


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
    _at_least_two(a)
    _at_least_two(b)
    difference = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    se = math.sqrt(sum(parts))
    if se <= 1e-12 * max(map(abs, [*a, *b])):
        return Welch(difference, len(a) + len(b) - 2, None, 1.0, Interval(difference, difference))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True))
    t = difference / se
    return Welch(difference, freedom, t, _two_sided(t, freedom), _around(difference, se, freedom, level))


# ------------------------------------------------------------------------------------------------- margins and verdicts


class MarginTest(NamedTuple):
    """One-sided t test against a margin; `t` is None where all differences are equal."""

    t: float | None
    p: float


def not_above(difference: PairedDifference, margin: float) -> MarginTest:
    """Tests that the mean difference is below `margin` (A is not worse by more than that, where lower is better)."""
    se = _known_se(difference)
    if se == 0:
        return MarginTest(None, 0.0 if difference.mean < margin else 1.0)
    t = (difference.mean - margin) / se
    return MarginTest(t, student_t_cdf(t, difference.n - 1))


def not_below(difference: PairedDifference, margin: float) -> MarginTest:
    """Tests that the mean difference is above -`margin`.

    With `not_above` it makes the two one-sided tests of equivalence.
    """
    se = _known_se(difference)
    if se == 0:
        return MarginTest(None, 0.0 if difference.mean > -margin else 1.0)
    t = (difference.mean + margin) / se
    return MarginTest(t, student_t_cdf(-t, difference.n - 1))


def equivalent(difference: PairedDifference, margin: float) -> bool:
    """Whether the 90 % interval lies inside (-margin, margin), that is, both one-sided tests pass at 5 %."""
    _known_se(difference)
    interval = difference.interval_90
    return interval is not None and -margin < interval.low and interval.high < margin


def fid_margin(baseline_mean: float, evaluation_sd: float = 0.0) -> float:
    """The margin for Fréchet distances, to be fixed before looking: the largest of 1, 5 % of the baseline's mean, and
    twice the standard deviation of repeated evaluations of one checkpoint."""
    return max(1.0, 0.05 * baseline_mean, 2 * evaluation_sd)


class Verdict(NamedTuple):
    """What may be said.

    `kind` is one of ``direction``, ``no margin``, ``better``, ``not worse``, ``worse within margin``, ``worse beyond
    margin`` and ``inconclusive``; `text` is the sentence to print, with the margin in it.
    """

    kind: str
    text: str


def verdict(difference: PairedDifference, margin: float | None = None, *, better: str = "lower") -> Verdict:
    """What the difference of A from B allows one to say of A.

    Args:
        margin: how much worse still counts as not worse, in the metric's unit and fixed before looking. Without one
            there is no verdict, only the interval.
        better: whether ``lower`` or ``higher`` values are better.

    With fewer than five pairs it is a direction and never a verdict. "No significant difference" is never called equal.
    """
    lower_is_better = _lower_is_better(better)
    if margin is not None and not margin > 0:
        raise UserError(f"The margin is {margin:g}; it must be above 0, in the unit of the metric.")
    n = difference.n
    dropped = f"; {len(difference.missing)} unpaired seed(s) dropped" if difference.missing else ""
    if n < SEEDS_FOR_A_VERDICT:
        lower = sum(value < 0 for value in difference.differences)
        higher = sum(value > 0 for value in difference.differences)
        # The majority names the direction; where there is none, the side that would be better does.
        word, count = ("lower", lower) if (lower, lower_is_better) > (higher, False) else ("higher", higher)
        if lower == higher == 0:
            word, count = "the same", n
        return Verdict("direction", f"{word} in {count} of {n} seeds{dropped}")

    assert difference.interval_95 is not None  # with five pairs both are there
    assert difference.interval_90 is not None
    outer = difference.interval_95 if lower_is_better else _mirrored(difference.interval_95)
    inner = difference.interval_90 if lower_is_better else _mirrored(difference.interval_90)
    if margin is None:
        low, high = difference.interval_95
        return Verdict("no margin", f"95 % interval {low:.4g} to {high:.4g}, no margin given: no verdict{dropped}")
    if inner.high < margin:
        kind = "better" if outer.high < 0 else "worse within margin" if outer.low > 0 else "not worse"
    else:
        kind = "worse beyond margin" if inner.low > margin else "inconclusive"
    words = {"worse within margin": "worse, but within the margin", "worse beyond margin": "worse, beyond the margin"}
    return Verdict(kind, f"{words.get(kind, kind)} (margin {margin:g}, {n} seeds{dropped})")


def power(dz: float, n: int, significance: float = 0.05) -> float:
    """How often n pairs find a difference of `dz` standard deviations of the differences (two-sided paired t).

    P(|T'| > t) for the noncentral t, integrated over the chi distribution of the estimated standard deviation.
    """
    _at_least_two(range(n))
    freedom, shift = n - 1, abs(dz) * math.sqrt(n)
    threshold = student_t_quantile(1 - significance / 2, freedom)
    normal = statistics.NormalDist()
    log_front = math.log(2) + 0.5 * freedom * math.log(0.5 * freedom) - math.lgamma(0.5 * freedom)

    def integrand(ratio: float) -> float:  # ratio: estimated over true standard deviation
        density = math.exp(log_front + (freedom - 1) * math.log(ratio) - 0.5 * freedom * ratio * ratio)
        return density * (normal.cdf(shift - threshold * ratio) + normal.cdf(-shift - threshold * ratio))

    steps = 2000
    end = 1 + 9 / math.sqrt(freedom)  # beyond nine standard deviations of the ratio there is nothing
    width = end / steps
    return min(1.0, math.fsum(width * integrand((step + 0.5) * width) for step in range(steps)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted probabilities (Holm 1979), in the order given: for several metrics or arms judged together."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


# -------------------------------------------------------------------------------------------------------- several goals


def pareto(points: Sequence[Sequence[float]]) -> list[int]:
    """The indices of the points that no other point dominates, all coordinates to be small.

    Equal points are all kept.
    """

    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return all(x <= y for x, y in zip(one, other, strict=True)) and tuple(one) != tuple(other)

    return [index for index, point in enumerate(points) if not any(dominates(other, point) for other in points)]


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area between the front of `points` and `reference`, both coordinates to be small."""
    area, ceiling = 0.0, reference[1]
    for x, y in sorted(points):
        if x < reference[0] and y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area


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
        raise UserError(f"None of the {len(values)} runs has a finite value; there is nothing to summarise.")
    return Summary(
        n=len(finite),
        mean=math.fsum(finite) / len(finite),
        sd=statistics.stdev(finite) if len(finite) > 1 else None,
        median=statistics.median(finite),
        low=min(finite),
        high=max(finite),
        failed=len(values) - len(finite),
    )


# --------------------------------------------------------------------------------------------------------------- pieces


def _by_seed(values: Values) -> dict[int, float]:
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    return {seed: float(value) for seed, value in items if value is not None}


def _around(mean: float, se: float, freedom: float, level: float) -> Interval:
    half = student_t_quantile(0.5 + level / 2, freedom) * se
    return Interval(mean - half, mean + half)


def _mirrored(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)


def _at_least_two(values: Sequence[object]) -> None:
    if len(values) < 2:
        raise UserError(f"{len(values)} seed gives no interval; run at least 2, and 5 for a verdict, e.g. --seeds 0-4.")


def _known_se(difference: PairedDifference) -> float:
    _at_least_two(difference.differences)
    assert difference.se is not None
    return difference.se


def _won(difference: float, ties: float = 0.5) -> float:
    return 1.0 if difference < 0 else ties if difference == 0 else 0.0


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours."""
    place = share * (len(ordered) - 1)
    index = min(int(place), len(ordered) - 2)
    return ordered[index] + (place - index) * (ordered[index + 1] - ordered[index])


def _lower_is_better(better: str) -> bool:
    if better not in ("lower", "higher"):
        raise UserError(f"better='{better}' is neither 'lower' nor 'higher'.")
    return better == "lower"
