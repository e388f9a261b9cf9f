"""Student's t distribution, and what follows from it before any run: power, and how many pairs a margin needs."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence

from frugan.registry import UserError

MOST_SEEDS = 10_000
"""More pairs than this are not looked for."""


def at_least_two(values: Sequence[object]) -> None:
    """Raise UserError for a single seed, which gives no interval."""
    if len(values) < 2:
        raise UserError(
            f"An interval needs 2 seeds or more, but there are {len(values)}. Give e.g. --seeds 0-4; a verdict needs 5."
        )


def student_t_cdf(t: float, freedom: float) -> float:
    """P(T <= t) for Student's t with `freedom` degrees of freedom."""
    tail = 0.5 * two_sided(t, freedom)
    return tail if t <= 0 else 1 - tail


@functools.lru_cache(maxsize=1000)
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


def two_sided(t: float, freedom: float) -> float:
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


def power(dz: float, n: int, significance: float = 0.05, *, sides: int = 2) -> float:
    """How often n pairs find a difference of `dz` standard deviations of the differences (paired t).

    P(|T'| > t) for the noncentral t, integrated over the chi distribution of the estimated standard deviation.

    Args:
        sides: 2 for a difference either way; 1 for one that only counts on its own side, as in non-inferiority.
    """
    at_least_two(range(n))
    freedom, shift = n - 1, abs(dz) * math.sqrt(n)
    threshold = student_t_quantile(1 - significance / sides, freedom)
    normal = statistics.NormalDist()
    log_front = math.log(2) + 0.5 * freedom * math.log(0.5 * freedom) - math.lgamma(0.5 * freedom)

    def integrand(ratio: float) -> float:  # ratio: estimated over true standard deviation
        density = math.exp(log_front + (freedom - 1) * math.log(ratio) - 0.5 * freedom * ratio * ratio)
        beyond = normal.cdf(shift - threshold * ratio)
        return density * (beyond + normal.cdf(-shift - threshold * ratio) if sides == 2 else beyond)

    steps = 2000
    end = 1 + 9 / math.sqrt(freedom)  # beyond nine standard deviations of the ratio there is nothing
    width = end / steps
    return min(1.0, math.fsum(width * integrand((step + 0.5) * width) for step in range(steps)))


def pairs_for_power(dz: float, wanted: float = 0.8, significance: float = 0.05, *, sides: int = 2) -> int:
    """The least number of pairs with which `power` reaches `wanted`. Raises UserError for more than 10,000."""
    return _least(lambda n: power(dz, n, significance, sides=sides) >= wanted, f"a difference of {dz:g} sd")


def pairs_for_width(sd: float, margin: float) -> int:
    """The least number of pairs whose 90 % interval reaches less than `margin` to either side, the differences varying
    by `sd`: with fewer, even arms that do not differ at all come out inconclusive.

    Raises UserError for more than 10,000.
    """
    return _least(lambda n: student_t_quantile(0.95, n - 1) * sd / math.sqrt(n) < margin, f"a margin of {margin:g}")


def _least(enough: Callable[[int], bool], what: str) -> int:
    """The least n from 2 that is enough, where every larger one is, too."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_SEEDS:
            raise UserError(f"More than {MOST_SEEDS:,} seeds would be needed for {what}. Give a larger margin.")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
