"""The order in which the runs of the test are begun, so that the first verdict can be given early.

A verdict on an arm needs every seed of four arms: the baseline, the damaged one, the arm itself and its control. So the
runs that every verdict needs come first, then one arm with its control after the other. `benchmarks/cluster_order.py`
compares this order with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from frugan.comparison.planning.arms import Arm

Of = TypeVar("Of")


def sort_runs(planned: dict[tuple[str, int], Of], arms: Sequence[Arm]) -> list[Of]:
    """The runs, by arm and seed, in the order in which they are begun; the first of `arms` is the baseline."""
    baseline = arms[0].name
    groups: dict[str, int] = {}
    for arm in arms:
        needed_by_all = arm.name == baseline or arm.is_damaged
        groups[arm.name] = 0 if needed_by_all else 1 + [one.name for one in arms].index(arm.control_of or arm.name)
    return [planned[key] for key in sorted(planned, key=lambda key: groups[key[0]])]
