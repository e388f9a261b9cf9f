"""How many seeds a margin needs, and how long they take here: asked before a comparison, from the noise seen so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugan import intervals
from frugan.registry import UserError
from frugan.reporting import read_comparison


@dataclass(frozen=True)
class Needed:
    """What a margin needs.

    Args:
        margin, sd: of the paired differences, in the unit of the metric.
        known: from how many pairs `sd` is known; None if it was given.
        widths: pairs with which the 90 % interval is narrower than the margin, so that a verdict can come out at all.
        not_worse: pairs with which an arm that does not differ is called not worse, as often as `power` says.
        detect: pairs with which a difference as large as the margin is seen, as often (two-sided, 5 %).
        hours: of training, for `not_worse` seeds of all arms of that comparison, as fast as there (pilots and
            evaluations come on top); None where nothing was timed.
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
        """A line each."""
        known = "" if self.known is None else f", seen over {self.known} pairs and so uncertain itself"
        share = f"{100 * self.power:.0f} %"
        lines = [
            f"Paired differences vary with sd {self.sd:.3g}{known}; margin {self.margin:.3g}.",
            f"{self.widths} seeds: the interval becomes narrower than the margin; fewer are inconclusive.",
            f"{self.not_worse} seeds: an arm that does not differ is called not worse in {share} of comparisons.",
            f"{self.detect} seeds: a difference as large as the margin is seen in {share} of comparisons.",
        ]
        if self.hours is not None:
            lines.append(f"{self.not_worse} seeds of all its arms take about {self.hours:.1f} h of training here.")
        return [*lines, "Fix the number now, and begin a new comparison with it: seeds added after looking decide."]


def plan(
    folder: str | Path | None = None, *, margin: float | None = None, sd: float | None = None, power: float = 0.8,
    jobs: int | None = None,
) -> Needed:
    """How many seeds a comparison needs for a margin.

    Args:
        folder: a finished comparison, whose noisiest arm, times and margin count.
        margin: how much worse still counts as not worse; the comparison's own if left out.
        sd: of the paired differences, in place of the comparison's.
        power: how often the verdict is to come out.
        jobs: runs at a time; as in the comparison if left out. More at a time are counted as no slower each.

    Raises:
        UserError: neither a comparison nor sd, no margin, or a comparison without two pairs.
    """
    data = None if folder is None else read_comparison(Path(folder))
    margin = margin if margin is not None else data["margin"] if data else None
    if margin is None or not margin > 0:
        raise UserError("Say what margin is wanted, in the unit of the metric and above 0: --margin 0.5")
    if not 0 < power < 1:
        raise UserError(f"--power {power:g}: it is a share of comparisons, above 0 and below 1, e.g. 0.8.")
    known = None
    if sd is None:
        if data is None:
            raise UserError("Name a finished comparison, or give the sd of paired differences: --sd 0.8 --margin 0.5")
        sd, known = _noise(data)
    if not sd > 0:
        raise UserError(f"The differences vary by {sd:g}; the number of seeds follows from noise: give --sd above 0.")
    dz = margin / sd
    least = intervals.SEEDS_FOR_A_VERDICT
    not_worse = max(least, intervals.pairs_for_power(dz, power, sides=1))
    return Needed(
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
        raise UserError("That comparison has no arm with two pairs of runs, so its noise is not known; give --sd.")
    return max(noises)


def _hours(data: Mapping[str, Any], seeds: int, jobs: int) -> float | None:
    """Hours of training, the arms' own mean seconds added up."""
    each = []
    for arm in data["arms"]:
        seconds = [run["seconds"] for run in arm["runs"].values() if run["seconds"]]
        if seconds:
            each.append(sum(seconds) / len(seconds))
    return seeds * sum(each) / max(1, jobs) / 3600 if each else None
