"""The contract of `frugan.optimisers`."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch
from torch import nn

from frugan import optimisers
from frugan.checking._contract import Contract, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit
from frugan.games import DISCRIMINATOR, GENERATOR
from frugan.recipe import Choice, Player, Recipe


@dataclass(frozen=True)
class Checked:
    """An optimiser that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    def made(self, weights: list[nn.Parameter], rate: float = 0.01) -> torch.optim.Optimizer:
        """The optimiser for these weights at this rate."""
        return optimisers.build(
            self.name, {}, weights, learning_rate=rate, betas=(0.9, 0.9), epsilon=1e-8, weight_decay=0.0
        )

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe whose players use this optimiser."""
        chosen = Choice(self.name)
        return self.ground.pair(
            players={name: Player((name,), 2e-3, chosen) for name in (GENERATOR, DISCRIMINATOR)}
        )


def _weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4))]


def _step(optimiser: torch.optim.Optimizer, weights: list[nn.Parameter], slope: float = 1.0) -> None:
    for number, weight in enumerate(weights):
        weight.grad = torch.full_like(weight, slope * (1.0 + number))
    optimiser.step()


def moves_against_the_gradient(optimiser: Checked) -> None:
    """Its first steps move every weight against its gradient."""
    weights = _weights()
    made = optimiser.made(weights)
    for _ in range(3):
        _step(made, weights)
    if not all((weight < 1).all() for weight in weights):
        raise NotKept("three steps against a constant gradient do not lower all weights.")


def goes_by_the_rate_of_its_groups(optimiser: Checked) -> None:
    """It uses the rate that a schedule sets in its groups: at rate 0 no weight moves."""
    weights = _weights()
    made = optimiser.made(weights)
    _step(made, weights)
    before = [weight.detach().clone() for weight in weights]
    for group in made.param_groups:
        if "lr" not in group:
            raise NotKept('a group of weights has no "lr": schedules set group["lr"], and the step must use it.')
        group["lr"] = 0.0
    _step(made, weights)
    if not all(torch.equal(weight, one) for weight, one in zip(weights, before, strict=True)):
        raise NotKept('with group["lr"] = 0 weights still move: schedules set this number, so the step must use it.')


def is_its_state(optimiser: Checked) -> None:
    """An optimiser with another one's `state_dict` takes the same steps as that one."""
    weights, others = _weights(), _weights()
    made = optimiser.made(weights)
    for _ in range(3):
        _step(made, weights)
    other = optimiser.made(others)
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    with torch.no_grad():
        for mine, theirs in zip(others, weights, strict=True):
            mine.copy_(theirs)
    for _ in range(2):
        # Back a little: only what remembers the steps before goes on down.
        _step(made, weights, slope=-0.1)
        _step(other, others, slope=-0.1)
    if not all(torch.equal(mine, theirs) for mine, theirs in zip(weights, others, strict=True)):
        raise NotKept(
            "with another one's state_dict it takes other steps: keep what it remembers of a weight in "
            "self.state[weight], and numbers in its groups."
        )


WHERE = "frugan.optimisers"

CONTRACT = Contract("optimiser", optimisers.names, Checked, (
    Requirement(moves_against_the_gradient, WHERE),
    Requirement(goes_by_the_rate_of_its_groups, WHERE, (moves_against_the_gradient,)),
    Requirement(is_its_state, WHERE, (moves_against_the_gradient,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (moves_against_the_gradient,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
))  # fmt: skip
