"""In which order should the runs of a comparison begin on a cluster, and what bounds the time to a verdict?

    python benchmarks/cluster_order.py            prints a table in Markdown; --quick: fewer simulated comparisons

A simulation; nothing is trained. A comparison has a baseline, a damaged arm, frugal arms and their controls, five seeds
each. A run takes `HOURS` times what its arm takes, and one in twenty takes up to three times as long (a straggler).
Nodes fail at `FAILURES` an hour; a failure costs a run the work since its last checkpoint and the minutes until it is
begun again. A verdict on an arm needs all seeds of baseline, damaged arm, arm and control.
"""

from __future__ import annotations

import heapq
import random
import statistics
import sys
from collections.abc import Callable, Sequence

from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.order import sort_runs
from frugan.recipes import find

HOURS = 4.0
STRAGGLERS, SLOWEST = 0.05, 3.0
FAILURES = 1 / 500
LOST_MINUTES, REQUEUE_MINUTES = 1.0, 3.0
SEEDS = range(5)
FRUGAL = 3
WORKERS = (1, 4, 16, 64, 256)

Key = tuple[str, int]
"""An arm's name and a seed."""


def make_arms() -> list[Arm]:
    """A baseline, frugal arms, a damaged arm, controls: in the order in which a comparison has them."""
    recipe = find("vanilla")
    frugal = [Arm(f"thin-{number}", recipe) for number in range(FRUGAL)]
    controls = [Arm(f"{arm.name} control", recipe, arm.name) for arm in frugal]
    return [Arm("standard", recipe), *frugal, Arm("damaged", recipe), *controls]


def by_seed(keys: Sequence[Key], arms: Sequence[Arm]) -> list[Key]:
    """All arms of one seed after the other, as they stand in the plan."""
    return list(keys)


def controls_first(keys: Sequence[Key], arms: Sequence[Arm]) -> list[Key]:
    """Seed by seed, in each the baseline, the damaged arm and the controls first."""
    late = {arm.name for arm in arms[1:] if arm.control_of is None and not arm.is_damaged}
    return sorted(keys, key=lambda key: (key[1], key[0] in late))


def shuffled(keys: Sequence[Key], arms: Sequence[Arm]) -> list[Key]:
    """No order."""
    return random.Random(1).sample(list(keys), len(keys))


def needed_first(keys: Sequence[Key], arms: Sequence[Arm]) -> list[Key]:
    """What every verdict needs first, then an arm with its control after the other: `sort_runs`."""
    return sort_runs({key: key for key in keys}, arms)


def ends(order: Sequence[Key], workers: int, hours: dict[Key, float], chance: random.Random) -> dict[Key, float]:
    """When each run ends, in hours."""
    free = [0.0] * workers
    ended = {}
    for key in order:
        begun = heapq.heappop(free)
        left, now = hours[key], begun
        while (until := chance.expovariate(FAILURES)) < left:
            left -= max(0.0, until - LOST_MINUTES / 60)
            now += until + REQUEUE_MINUTES / 60
        ended[key] = now + left
        heapq.heappush(free, ended[key])
    return ended


def verdicts(ended: dict[Key, float], arms: Sequence[Arm]) -> list[float]:
    """When a verdict can be given on each frugal arm, in hours."""
    always = {arms[0].name, *(arm.name for arm in arms if arm.is_damaged)}
    found = []
    for arm in arms[1:]:
        if arm.control_of is None and not arm.is_damaged:
            needed = {*always, arm.name, *(other.name for other in arms if other.control_of == arm.name)}
            found.append(max(hours for (name, _), hours in ended.items() if name in needed))
    return sorted(found)


def simulate(order: Callable[..., list[Key]], workers: int, count: int) -> tuple[float, float, float, float]:
    """Medians in hours: the first verdict, the mean over arms, the last; and the longest single run."""
    arms = make_arms()
    keys = [(arm.name, seed) for seed in SEEDS for arm in arms]
    rows = []
    for number in range(count):
        chance = random.Random(number)
        hours = {
            key: HOURS * chance.uniform(0.8, 1.2) * (chance.uniform(1, SLOWEST) if chance.random() < STRAGGLERS else 1)
            for key in keys
        }
        found = verdicts(ends(order(keys, arms), workers, hours, chance), arms)
        rows.append((found[0], statistics.fmean(found), found[-1], max(hours.values())))
    first, mean, last, longest = (statistics.median(column) for column in zip(*rows, strict=True))
    return first, mean, last, longest


def main() -> None:
    count = 50 if "--quick" in sys.argv else 1000
    print(f"{len(make_arms()) * len(SEEDS)} runs of {HOURS:g} h; {count} simulated comparisons; hours, medians\n")
    print("| workers | order | first verdict | mean over arms | last verdict | longest run |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    best: dict[int, dict[str, float]] = {}
    for workers in WORKERS:
        for order in (by_seed, controls_first, shuffled, needed_first):
            first, mean, last, longest = simulate(order, workers, count)
            best.setdefault(workers, {})[order.__name__] = first
            print(f"| {workers} | {order.__name__} | {first:.1f} | {mean:.1f} | {last:.1f} | {longest:.1f} |")
    for workers, of in best.items():
        if of["needed_first"] > 1.02 * min(of.values()):
            sys.exit(f"With {workers} workers another order than sort_runs gives the first verdict earlier: {of}")


if __name__ == "__main__":
    main()
