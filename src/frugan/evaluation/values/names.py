"""Names of numbers: the metric that decides by default, and the numbers of single targets in a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIMARY, OF_FEW = "fid", "kid"
"""The metric that is measured first unless others are named, and so decides a comparison; and the one that does where
there are too few images for it."""

TO = "_to_"
"""What stands in a number's name between what it is and the target of translation that it is of."""


def by_target(value: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers of single targets in a value (``fid_to_glasses``): number's name -> target's name -> number.

    Only targets in its protocol count, since a number of a generator may be called ``distance_to_real``.
    """
    numbers: dict[str, dict[str, float]] = {}
    for key, number in value["values"].items():
        for name in value["protocol"].get("targets", ()):
            if key.endswith(f"{TO}{name}"):
                numbers.setdefault(key.removesuffix(f"{TO}{name}"), {})[name] = number
    return numbers


def of_all(value: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a value that do not belong to a single target."""
    single = {f"{what}{TO}{name}" for what, numbers in by_target(value).items() for name in numbers}
    return {key: number for key, number in value["values"].items() if key not in single}
