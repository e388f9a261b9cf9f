"""What needs no normal distribution: resampled seeds, flipped signs, wins, and exact failure rates."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence

from frugan.intervals._paired import Interval
from frugan.intervals._student import at_least_two
from frugan.registry import UserError

_MOST_SIGN_FLIPS = 15
_MOST_RESAMPLES_ENUMERATED = 10**5


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
    at_least_two(differences)
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
            f"The exact sign-flip test takes at most {_MOST_SIGN_FLIPS} pairs, but there are {len(differences)}."
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
    """P(A < B) over all combinations of a run of A with a run of B, whatever their seeds; equal ones count `ties`."""
    return math.fsum(_won(one - other, ties) for one in a for other in b) / (len(a) * len(b))


def fisher(failed: int, of: int, other_failed: int, of_other: int) -> float:
    """Fisher's exact two-sided probability that two arms fail equally often, `failed` of `of` and so on.

    The share of all tables with these sums that are at most as likely as the one seen.
    """
    both, runs = failed + other_failed, of + of_other
    shares = [
        math.comb(of, one) * math.comb(of_other, both - one) / math.comb(runs, both)
        for one in range(max(0, both - of_other), min(of, both) + 1)
    ]
    observed = math.comb(of, failed) * math.comb(of_other, other_failed) / math.comb(runs, both)
    return min(1.0, math.fsum(share for share in shares if share <= observed * (1 + 1e-9)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted probabilities (Holm 1979), in the order given: for several metrics or arms judged together."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def _won(difference: float, ties: float = 0.5) -> float:
    return 1.0 if difference < 0 else ties if difference == 0 else 0.0


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours."""
    place = share * (len(ordered) - 1)
    index = min(int(place), len(ordered) - 2)
    return ordered[index] + (place - index) * (ordered[index + 1] - ordered[index])
