"""The contract of `frugan.schedules`."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from frugan import schedules
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit
from frugan.games import DISCRIMINATOR, GENERATOR
from frugan.recipe import Choice, Player, Recipe
from frugan.registry import UserError
from frugan.schedules import Schedule

IMAGES, BUDGETS = (0, 1, 100, 5_000, 60_000, 1_000_000), (1, 60_000, 1_000_000)


@dataclass(frozen=True)
class Checked:
    """A schedule that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    @property
    def made(self) -> Schedule:
        """The schedule as `frugan.schedules` makes it. Raises NotAsked if it has an option without a default."""
        try:
            return schedules.find(self.name)
        except UserError as error:
            raise NotAsked(f"it needs options: {error}") from None

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe whose rates follow it."""
        if self.made.follows_the_end:
            # Such a run ends where it was to end, and this one is continued.
            raise NotAsked("its rates depend on the end of the run, so this run cannot be continued.")
        chosen = Choice(self.name)
        return self.ground.pair(
            players={name: Player((name,), 2e-3, schedule=chosen) for name in (GENERATOR, DISCRIMINATOR)}
        )


def is_a_factor(schedule: Checked) -> None:
    """It gives a finite number of at least 0, at every moment of every run."""
    for budget in BUDGETS:
        for images in IMAGES:
            factor = schedule.made(images, budget)
            if not isinstance(factor, (int, float)) or not math.isfinite(factor) or factor < 0:
                raise NotKept(f"after {images:,} of {budget:,} images it is {factor!r}: give a finite number from 0.")


def is_pure(schedule: Checked) -> None:
    """It always gives the same number for the same moment, in any order of calls."""
    one, other = schedule.made, schedule.made
    forth = [one(images, budget) for budget in BUDGETS for images in IMAGES]
    back = [other(images, budget) for budget in reversed(BUDGETS) for images in reversed(IMAGES)]
    if forth != back[::-1]:
        raise NotKept("in another order of calls it gives other numbers: the factor must depend on its arguments only.")


def says_whether_it_follows_the_end(schedule: Checked) -> None:
    """`follows_the_end` says truly whether it uses the budget. If it does, the run cannot be made longer."""
    made = schedule.made
    depends = any(len({made(images, budget) for budget in BUDGETS}) > 1 for images in IMAGES)
    if depends and not made.follows_the_end:
        raise NotKept(
            "its factor depends on the budget, but it does not say so: Schedule(factor, follows_the_end=True)."
        )


CONTRACT = Contract("schedule", schedules.names, Checked, (
    Requirement(is_a_factor, "frugan.schedules, Schedule"),
    Requirement(is_pure, "frugan.schedules", (is_a_factor,)),
    Requirement(says_whether_it_follows_the_end, "frugan.schedules, Schedule.follows_the_end", (is_a_factor,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (is_a_factor,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
))  # fmt: skip
