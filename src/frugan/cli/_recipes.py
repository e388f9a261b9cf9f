"""The verb ``recipes``, and what ``frugan train RECIPE --help`` says of a recipe."""

from __future__ import annotations

import inspect
import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from frugan.cli._arguments import Code, Json, is_key, key_values, print_json

if TYPE_CHECKING:
    from frugan.recipe import Recipe


def recipes(
    recipe: Positional[Annotated[str | None, arg(metavar="[RECIPE]", help_behavior_hint="")]] = None, *,
    json: Json = False, code: Code = (),
) -> None:
    """List every recipe with its system, architecture, game and data; or show one, with all that can be set.

    Args:
        recipe: Show this recipe, with all its keys and options and the names that you can choose.
    """
    from frugan import convs, owncode
    from frugan import recipes as known

    owncode.load(code)
    rows: list[dict[str, Any]] = []
    for name in known.names() if recipe is None else [recipe]:
        record = known.find(name)
        rows.append(
            {
                "name": name, "system": record.system, "game": record.game.name, "data": record.data.source,
                "architecture": {network: spec.architecture for network, spec in record.networks.items()},
                "families": convs.names(), "images": record.images, "source": record.source, "expects": record.expects,
                "explanation": known.explanation(name),
            }
        )
    if recipe is not None:
        record = known.find(recipe)
        rows[0] |= {"keys": record.keys(), "options": _default_options(record)}
    if json:
        print_json(rows if recipe is None else rows[0])
        return
    if recipe is not None:
        _print_recipe(rows[0])
        return
    width = max(len(row["name"]) for row in rows) + 1
    for row in rows:
        architectures = ", ".join(sorted(set(row["architecture"].values())))
        print(f"{row['name']:{width}}{row['system']:17}{architectures:11} {row['game']:13} {row['data']}")
        print(f"    {row['explanation'].partition(chr(10))[0]}")
    print(f"\nEach takes --family {'|'.join(convs.names())}. One in detail: frugan recipes RECIPE")



def print_keys(rest: list[str]) -> None:
    """Print what can be set as key=value, with the values of the recipe that the command line names first."""
    from frugan import owncode
    from frugan.training import resolve

    owncode.load([given for option, given in itertools.pairwise(rest) if option == "--code"])
    given = {name: rest[rest.index(name) + 1] for name in ("--family", "--data") if name in rest[:-1]}
    changes = key_values([word for word in rest[1:] if is_key(word)])
    recipe = resolve(rest[0], family=given.get("--family"), data=given.get("--data"), changes=changes)
    print(f"\nKeys of the recipe '{recipe.name}', as key=value:")
    for key, value in recipe.keys().items():
        print(f"  {key}={json.dumps(value)}")
    if not changes:  # these options take the two seconds in which torch is imported
        print(f"\nOther options have their defaults. To see them: frugan recipes {rest[0]}")
        return
    print("\nOptions that have their defaults:")
    for key, value in _default_options(recipe).items():
        print(f"  {key}={json.dumps(value)}")



def _default_options(recipe: Recipe) -> dict[str, Any]:
    """The options of a recipe's game, loss and architectures that it leaves at their defaults, by dotted key."""
    from frugan import build, games, losses, nets

    defaults = {f"game.{key}": value for key, value in games.find(recipe.game.name).options().items()}
    defaults |= {f"loss.{key}": value for key, value in losses.options(recipe.loss.name).items()}
    planned = build.blueprints(recipe)
    for name in recipe.networks:  # not a population's further members, which are what the first one is
        blueprint = planned[name]
        options = nets.options(blueprint.spec.architecture, blueprint.part)
        defaults |= {f"{name}.{key}": value for key, value in options.items()}
    given = recipe.keys()
    return {key: value for key, value in defaults.items() if key not in given}


def _print_recipe(row: dict[str, Any]) -> None:
    """Print one recipe with everything that can be set, and the names that each axis has."""
    from frugan import augment, convs, games, losses, nets, optimisers, penalties, schedules
    from frugan.engine import observers

    print(inspect.cleandoc(row["explanation"]))
    print(f"\nsystem: {row['system']}\nsource: {row['source']}\nexpects: {row['expects']}")
    print("\nWhat can be set, as key=value:")
    for key, value in row["keys"].items():
        print(f"  {key}={json.dumps(value)}")
    print("\nOptions that have their defaults:")
    for key, value in row["options"].items():
        print(f"  {key}={json.dumps(value)}")
    print("\nNames that may be chosen:")
    for key, axis in (
        ("--family", convs), ("architecture", nets), ("initialise", nets.rules), ("game", games), ("loss", losses),
        ("penalties", penalties), ("augment", augment), ("players.NAME.optimiser", optimisers),
        ("players.NAME.schedule", schedules), ("--observers", observers),
    ):  # fmt: skip
        if names := axis.names():
            print(f"  {key}: {', '.join(names)}")
