"""The contract of `frugan.nets.rules`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from frugan import nets
from frugan.checking._contract import Contract, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.convs import Layers, Standard
from frugan.nets import FirstWeights

TOLERANCE = 0.1
"""By how much the variance of drawn weights may differ from what the rule says, as a share."""


@dataclass(frozen=True)
class Checked:
    """A rule for first weights that is tested against its contract."""

    name: str
    ground: Ground

    @property
    def made(self) -> FirstWeights:
        """The rule as `frugan.nets.rules` makes it."""
        return nets.rules.find(self.name)


def drawn(rule: FirstWeights) -> Iterator[tuple[Standard, torch.Tensor]]:
    """Draw the weights of one standard layer of each kind by a rule, always from the same random numbers."""
    torch.manual_seed(0)
    for kind in ("same", "down", "up"):
        layers = Layers()
        layer: nn.Module = getattr(layers, kind)("role", 32, 48, 4)
        rule.draw(layer)
        yield Standard(kind, 32, 48, 4, layers.choices[0].stride), layer.weight.detach()  # type: ignore[union-attr]


def says_the_variance_that_it_draws(rule: Checked) -> None:
    """The rule states the variance of the weights that it draws. What a family builds instead is scaled by it."""
    for standard, weights in drawn(rule.made):
        said, actual = rule.made.variance(standard), float(weights.square().mean())
        if not abs(actual - said) <= TOLERANCE * actual:
            raise NotKept(
                f"`variance` says {said:.3g} for a layer of kind '{standard.kind}', but `draw` makes weights of "
                f"variance {actual:.3g}: return the variance of what `draw` makes."
            )


def draws_by_torchs_random_numbers(rule: Checked) -> None:
    """The same torch seed gives the same weights, so that a run can be repeated."""
    for (standard, one), (_, other) in zip(list(drawn(rule.made)), drawn(rule.made), strict=True):
        if not torch.equal(one, other):
            raise NotKept(
                f"a layer of kind '{standard.kind}' gets other weights from the same seed: draw from torch's global "
                "random numbers."
            )


CONTRACT = Contract(nets.rules.kind, nets.rules.names, Checked, (
    Requirement(says_the_variance_that_it_draws, "frugan.nets, FirstWeights.variance"),
    Requirement(draws_by_torchs_random_numbers, "frugan.nets, FirstWeights.draw"),
))  # fmt: skip
