"""Family tables that several recipes share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from frugan.recipe import Rule

# The output layer has one or three channels. Factorised, or with the 1 x 1 part first, the whole image would pass
# through as few in the middle. With the depthwise part first it costs quality all the same: FID 159 instead of 121
# (docs/results/fair.md). Factorised, three of five semi-supervised GANs drew digits on grey (docs/results/sgan.md). A
# whole one has a thousandth of the weights.
WHOLE_OUTPUT: dict[str, tuple[Rule, ...]] = {
    family: (Rule("*", family), Rule("output", "standard")) for family in ("factorised", "depthwise")
}


def layerwise(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of a published net: each piece of a layer starts as if it stood alone, see `frugan.convs`."""
    return tuple(
        rule if rule.family == "standard" else replace(rule, options={**rule.options, "start": "layerwise"})
        for rule in rules
    )
