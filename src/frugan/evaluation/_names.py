"""How the numbers of single targets are named among those of a value."""

from __future__ import annotations

from collections.abc import Mapping

TO = "_to_"
"""What stands in a number's name between what it is and the target of translation that it is of."""


def by_target(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What a metric says of single targets (``fid_to_glasses``), by what it is and by the target's name."""
    found: dict[str, dict[str, float]] = {}
    for key, number in values.items():
        what, apart, name = key.partition(TO)
        if apart:
            found.setdefault(what, {})[name] = number
    return found
