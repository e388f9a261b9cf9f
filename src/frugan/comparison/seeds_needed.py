"""How many seeds a comparison needs for a margin, and how long they take, from the noise of an earlier comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugan import intervals
from frugan.registry import UserError
from frugan.reporting import read_comparison


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds a margin needs. Each seed gives one pair of runs.

    Args:
        margin: how much worse still counts as not worse, in the unit of the metric.
        sd: standard deviation of the paired differences, in the same unit.
        known: how many pairs `sd` was computed from; None if the user gave it.
        power: the share of comparisons in which the verdict should come out.
        widths: with this many pairs, at least five, the 90 % interval reaches less than the margin to either side. With
            fewer, even arms that do not differ come out inconclusive, or, with fewer than five, without a verdict.
        not_worse: with this many pairs, an arm that does not differ is called not worse in the share `power`.
        detect: with this many pairs, a difference as large as the margin is seen in the share `power` (two-sided,
            5 %).
        hours: hours of training for `not_worse` seeds of all arms, at the speed of the earlier comparison, without
            pilots and evaluations. None if no run was timed.
    """

    margin: float
    sd: float
    known: int | None
    power: float
    widths: int
    not_worse: int
    detect: int
    hours: float | None

    def words(self) -> list[str]:
        """The same in words, one line each."""
        known = "" if self.known is None else f" (measured over {self.known} pairs, so it is uncertain)"
        share = f"{100 * self.power:.0f} %"
        lines = [
            f"Paired differences vary with sd {self.sd:.3g}{known}; the margin is {self.margin:.3g}.",
            f"{self.widths} seeds: the 90 % interval reaches less than the margin to either side. With fewer, "
            + ("there is no verdict, only a direction." if self.widths == intervals.SEEDS_FOR_A_VERDICT else
               "even arms that do not differ come out inconclusive."),
            f"{self.not_worse} seeds: an arm that does not differ is called not worse in {share} of comparisons.",
            f"{self.detect} seeds: a difference as large as the margin is seen in {share} of comparisons.",
        ]
        if self.hours is not None:
            lines.append(f"{self.not_worse} seeds of all its arms take about {self.hours:.1f} h of training here.")
        return [
            *lines,
            "Choose the number now, and begin a new comparison with it. Seeds that are added after looking at results "
            "make the verdict unreliable.",
        ]


def plan(
    folder: str | Path | None = None, *, margin: float | None = None, sd: float | None = None, power: float = 0.8,
    jobs: int | None = None,
) -> SeedsNeeded:
    """How many seeds a comparison needs for a margin.

    Args:
        folder: a finished comparison. Its noisiest arm, its times and its margin are used.
        margin: how much worse still counts as not worse. If left out: the comparison's own margin.
        sd: standard deviation of the paired differences, instead of the comparison's.
        power: the share of comparisons in which the verdict should come out.
        jobs: how many runs are trained at the same time; each is assumed to be as fast as before. If left out: as in
            the comparison.

    Raises:
        UserError: neither a comparison nor `sd` is given, there is no margin, or the comparison has no two pairs.
    """
    data = None if folder is None else read_comparison(Path(folder))
    margin = margin if margin is not None else data["margin"] if data else None
    if margin is None or not margin > 0:
        raise UserError("Give a margin above 0, in the unit of the metric, e.g. --margin 0.5")
    if not 0 < power < 1:
        raise UserError(f"--power {power:g}: give a share of comparisons, above 0 and below 1, e.g. 0.8.")
    known = None
    if sd is None:
        if data is None:
            raise UserError(
                "Say how noisy the values are. Give the folder of a finished comparison: frugan plan FOLDER. Or give "
                "the standard deviation of the difference between two arms with the same seed: frugan plan --sd 0.8 "
                "--margin 0.5"
            )
        sd, known = _noise(data)
    if not sd > 0:
        raise UserError(
            f"The standard deviation of the differences is {sd:g}, so the number of seeds cannot be computed. Give "
            "--sd above 0."
        )
    dz = margin / sd
    least = intervals.SEEDS_FOR_A_VERDICT
    not_worse = max(least, intervals.pairs_for_power(dz, power, sides=1))
    return SeedsNeeded(
        margin=margin, sd=sd, known=known, power=power, widths=max(least, intervals.pairs_for_width(sd, margin)),
        not_worse=not_worse, detect=max(least, intervals.pairs_for_power(dz, power)),
        hours=None if data is None else _hours(data, not_worse, jobs or data["jobs"]),
    )


def _noise(data: Mapping[str, Any]) -> tuple[float, int]:
    """The largest deviation of paired differences of any arm that is not damaged, and its number of pairs."""
    damaged = {arm["name"] for arm in data["arms"] if arm["damaged"]}
    noises = [
        (one["sd"], one["n"]) for name, one in data["differences"][data["primary"]].items()
        if one["sd"] is not None and name not in damaged
    ]  # fmt: skip
    if not noises:
        raise UserError("No arm of that comparison has two pairs of runs, so its noise is unknown. Give --sd.")
    return max(noises)


def _hours(data: Mapping[str, Any], seeds: int, jobs: int) -> float | None:
    """Hours of training, the arms' own mean seconds added up."""
    each = []
    for arm in data["arms"]:
        seconds = [run["seconds"] for run in arm["runs"].values() if run["seconds"]]
        if seconds:
            each.append(sum(seconds) / len(seconds))
    return seeds * sum(each) / max(1, jobs) / 3600 if each else None
