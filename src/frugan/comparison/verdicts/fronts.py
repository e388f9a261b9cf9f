"""Fronts: where each arm stands in quality against each cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from frugan import intervals
from frugan.comparison.verdicts.differences import ArmValues, Values, find_difference, read_arms

COSTS = (
    ("parameters", "parameters of the generator"), ("macs", "MACs an image"), ("latency", "ms an image, batch 64"),
    ("file", "bytes of the file that ships"), ("runtime", "ms an image in the runtime, batch 1"),
)  # fmt: skip
"""The costs that quality is shown against: a name, and what it is in words."""


def find_fronts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each cost, find which arms are dominated in the primary metric, and the area (hypervolume) that all cover.

    An arm is surely dominated if another costs no more and is better with its whole 95 % interval, with five seeds or
    more and by every judge; it is undecided if only the means say so. A failed run counts as the worst value of all
    arms: the mean of the other runs alone would favour arms that fail. Left out are arms whose cost and quality were
    measured with different networks or precision, and, where the cost is multiply-accumulates, arms whose count is in
    doubt. The reference point of the area lies a tenth beyond the largest cost and the worst mean.
    """
    better = result["metrics"][result["primary"]]["better"]
    sign = 1 if better == "lower" else -1
    of = read_arms(result, result["primary"])
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
        sides = [of[arms[place]["name"]] for place in (one, other)]
        judges = zip(*([side.values, *side.judges] for side in sides), strict=False)
        return all(_wholly_better(mine, theirs, better) for mine, theirs in judges)

    fronts = []
    for key, words in COSTS:
        prices = {place: price for place, arm in enumerate(arms) if (price := _read_price(arm, key)) is not None}
        if len(prices) < 2:
            continue
        members, paid = list(prices), [float(price) for price in prices.values()]
        reached = [quality[member] for member in members]
        reach = 0.1 * (max(reached) - min(reached)) or 0.1 * abs(reached[0]) or 1.0
        reference = (1.1 * max(paid), max(reached) + reach)

        def better_in_front(one: int, other: int, members: Sequence[int] = members) -> bool:
            return surely_better(members[one], members[other])

        places = intervals.places(paid, reached, better_in_front)
        fronts.append(
            {
                "cost": key, "words": words,
                "places": {arms[member]["name"]: place for member, place in zip(members, places, strict=True)},
                "costs": {arms[member]["name"]: price for member, price in zip(members, paid, strict=True)},
                "reference": [reference[0], sign * reference[1]],
                "hypervolume": intervals.hypervolume(list(zip(paid, reached, strict=True)), reference),
            }
        )  # fmt: skip
    return fronts


def _wholly_better(mine: Values, theirs: Values, better: str) -> bool:
    """Whether the whole 95 % interval of the difference is on the better side, of seeds enough for a verdict."""
    apart = find_difference(ArmValues("", mine), ArmValues("", theirs), None, better)
    if apart is None or apart["n"] < intervals.SEEDS_FOR_A_VERDICT:
        return False
    low, high = apart["interval_95"]
    return high < 0 if better == "lower" else low > 0


def _read_price(arm: Mapping[str, Any], key: str) -> float | None:
    if key == "latency":
        return arm["latency"]["64"]["median_ms"] / 64 if "64" in arm["latency"] else None
    if key == "runtime":
        return arm["runtime"]["latency"][0]["median_ms"] if "runtime" in arm else None
    if key == "macs":
        counted = arm["generator"]
        return None if counted.get("doubts") else counted["macs"] + counted.get("macs_attention", 0)
    return arm["file_bytes"] if key == "file" else arm["generator"][key]
