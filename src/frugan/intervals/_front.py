"""Several goals at once: which arms no other one beats, and the area that they cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence


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


def places(costs: Sequence[float], quality: Sequence[float], surely_better: Callable[[int, int], bool]) -> list[str]:
    """Where each arm stands on one cost against quality, quality being uncertain; all to be small.

    Args:
        surely_better: whether the interval of the difference of one arm from another in quality lies below 0.

    Returns:
        ``front`` (no other arm dominates the mean), ``dominated`` (some arm that costs no more is surely better) or
        ``undecided`` (dominated by means, not surely).
    """
    front = set(pareto(list(zip(costs, quality, strict=True))))
    standing = []
    for index, cost in enumerate(costs):
        sure = any(other <= cost and surely_better(number, index) for number, other in enumerate(costs))
        standing.append("dominated" if sure else "front" if index in front else "undecided")
    return standing
