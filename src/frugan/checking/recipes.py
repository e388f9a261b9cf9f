"""The contract of recipes: `frugan.recipe` and `frugan.recipes`."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

from frugan import build, convs, recipes
from frugan.checking._contract import Contract, NotKept, Remark, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit, ships_what_was_trained
from frugan.recipe import Recipe, from_dict, to_dict


@dataclass(frozen=True)
class Checked:
    """A recipe that is tested against its contract."""

    name: str
    ground: Ground

    @property
    def whole(self) -> Recipe:
        """The recipe as it is registered."""
        return recipes.find(self.name)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """The recipe, made small."""
        return self.ground.shrunk(self.whole)


def says_what_it_is(recipe: Checked) -> None:
    """The first line of its function's docstring says what it trains, in words that `frugan recipes` can show."""
    whole = recipe.whole
    if not recipes.explanation(recipe.name):
        raise Remark("its function has no docstring: `frugan recipes` shows the first line.")
    for field in ("system", "source", "expects"):
        if not getattr(whole, field):
            raise Remark(f"its field `{field}` is empty: say there where the recipe comes from and what to expect.")


def survives_json(recipe: Checked) -> None:
    """Written as JSON and read again, it is the same recipe: that is how a run keeps it."""
    whole = recipe.whole
    if from_dict(json.loads(json.dumps(to_dict(whole)))) != whole:
        raise NotKept(
            "written as JSON and read again it is another recipe: its options must be numbers, strings, lists and maps."
        )


def builds(recipe: Checked) -> None:
    """Every name in it is known, and every network can be built."""
    whole = recipe.ground.with_weights(recipe.whole)
    build.check(whole)
    odd = sorted(set(whole.averages) - set(whole.networks))
    if odd:
        raise NotKept(f"it averages '{odd[0]}', which is not one of its networks.")


def takes_every_family(recipe: Checked) -> None:
    """The networks that make images can be built by every family."""
    for family in convs.names():
        small = recipe.recipe.with_family(family)
        build.check(small)
        from_dict(to_dict(small))


CONTRACT = Contract("recipe", recipes.names, Checked, (
    Requirement(says_what_it_is, "frugan.recipes"),
    Requirement(survives_json, "frugan.recipe"),
    Requirement(builds, "frugan.build", (survives_json,)),
    Requirement(takes_every_family, "frugan.recipe, Network.tables", (builds,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (builds,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
    Requirement(ships_what_was_trained, "frugan.artefact", (plays_a_round,)),
))  # fmt: skip
