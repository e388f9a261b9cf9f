"""Margins and verdicts: what the difference of two arms allows one to say."""

from __future__ import annotations

from typing import NamedTuple

from frugan.intervals._paired import Interval, PairedDifference, lower_is_better
from frugan.intervals._student import at_least_two, student_t_cdf
from frugan.registry import UserError

SEEDS_FOR_A_VERDICT = 5
"""With fewer pairs than this there is a direction and never a verdict."""


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


class Verdict(NamedTuple):
    """What may be said.

    `kind` is one of ``direction``, ``no margin``, ``better``, ``not worse``, ``worse within margin``, ``worse beyond
    margin`` and ``inconclusive``; `text` is the sentence to print, with the margin in it.
    """

    kind: str
    text: str


def verdict(
    difference: PairedDifference, margin: float | None = None, *, better: str = "lower", words: str | None = None
) -> Verdict:
    """What the difference of A from B allows one to say of A.

    Args:
        margin: how much worse still counts as not worse, in the metric's unit and fixed before looking. Without one
            there is no verdict, only the interval.
        better: whether ``lower`` or ``higher`` values are better.
        words: the margin as it is to be printed, where that is not its number (a margin of ratios, say).

    With fewer than five pairs it is a direction and never a verdict. "No significant difference" is never called equal.
    """
    downwards = lower_is_better(better)
    if margin is not None and not margin > 0:
        raise UserError(f"The margin is {margin:g}. Give a margin above 0, in the unit of the metric.")
    n = difference.n
    missing = len(difference.missing)
    dropped = f"; {missing} unpaired seed{'s' if missing > 1 else ''} dropped" if missing else ""
    if n < SEEDS_FOR_A_VERDICT:
        lower = sum(value < 0 for value in difference.differences)
        higher = sum(value > 0 for value in difference.differences)
        # The majority names the direction; where there is none, the side that would be better does.
        word, count = ("lower", lower) if (lower, downwards) > (higher, False) else ("higher", higher)
        if lower == higher == 0:
            word, count = "the same", n
        return Verdict("direction", f"{word} in {count} of {n} seeds{dropped}")

    assert difference.interval_95 is not None  # with five pairs both are there
    assert difference.interval_90 is not None
    outer = difference.interval_95 if downwards else _mirrored(difference.interval_95)
    inner = difference.interval_90 if downwards else _mirrored(difference.interval_90)
    if margin is None:
        low, high = difference.interval_95
        return Verdict("no margin", f"95 % interval {low:.4g} to {high:.4g}, no margin given: no verdict{dropped}")
    if inner.high < margin:
        kind = "better" if outer.high < 0 else "worse within margin" if outer.low > 0 else "not worse"
    else:
        kind = "worse beyond margin" if inner.low > margin else "inconclusive"
    spoken = {"worse within margin": "worse, but within the margin", "worse beyond margin": "worse, beyond the margin"}
    return Verdict(kind, f"{spoken.get(kind, kind)} (margin {words or f'{margin:g}'}, {n} seeds{dropped})")


def _mirrored(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)



def _known_se(difference: PairedDifference) -> float:
    at_least_two(difference.differences)
    assert difference.se is not None
    return difference.se

