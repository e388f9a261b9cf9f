"""Family tables that several recipes share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from frugan.recipe import Rule

# The output layer has one or three channels. Split in two, the whole image would pass through as few in the middle. It
# holds a thousandth of the weights, so a whole one costs almost nothing.
WHOLE_OUTPUT: dict[str, tuple[Rule, ...]] = {"factorised": (Rule("*", "factorised"), Rule("output", "standard"))}


def layerwise(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of a published net: each piece of a layer starts as if it stood alone, see `frugan.convs`."""
    return tuple(
        rule if rule.family == "standard" else replace(rule, options={**rule.options, "start": "layerwise"})
        for rule in rules
    )
