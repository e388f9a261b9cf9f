"""Family tables that several recipes share."""

from __future__ import annotations

from frugan.recipe import Rule

# The output layer has one or three channels. Split in two, the whole image would pass through as few in the middle. It
# holds a thousandth of the weights, so a whole one costs almost nothing.
WHOLE_OUTPUT: dict[str, tuple[Rule, ...]] = {"factorised": (Rule("*", "factorised"), Rule("output", "standard"))}
