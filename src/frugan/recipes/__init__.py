"""Recipes: points in the space of families, architectures and games, each a function of a line or two.

One file holds a group of recipes. Each function in it that is marked with `recipe` returns a `Recipe`, most often
another one with two fields changed, and its docstring says what it is. Users type the function's name with dashes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from frugan import files
from frugan.arguments import Name, strict
from frugan.recipe import Recipe, from_dict
from frugan.registry import Origin, UserError, load_entry_points, origin_of, record, unknown

_known: dict[str, Callable[[], Recipe]] = {}


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register the recipe that `function` returns under the function's name (underscores become dashes)."""
    add(function.__name__.replace("_", "-"), function)
    return function


def add(name: str, function: Callable[[], Recipe]) -> None:
    """Register a recipe of your own under `name`. Raises UserError if one of frugan's own has that name."""
    known = _known.get(name)
    if known is not None and _is_own(known) and known is not function:
        raise UserError(f"There is already a recipe called '{name}'. Give yours another name.")
    if _is_own(function):
        _known[name] = function
    else:
        record("recipe", _known, name, function)


def _is_own(function: Callable[[], Recipe]) -> bool:
    """Whether a recipe is one of frugan's own."""
    return function.__module__.startswith(f"{__name__}.")


def names() -> list[str]:
    """Every known name, in the order of the files and within them."""
    _load()
    return list(_known)


@strict
def find(name: Name) -> Recipe:
    """The recipe called `name`, or the one in a JSON file. Raises UserError with the nearest name if there is none."""
    _load()
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"There is no file '{name}'. Give a recipe file, such as the recipe.json of a run.")
        return from_dict(files.read_json(path), where=name)
    if name not in _known:
        raise unknown("recipe", name, _known)
    return replace(_known[name](), name=name)


def origin(name: str) -> Origin | None:
    """Where the recipe called `name` comes from; None for one of frugan's own."""
    return origin_of(_known, name)


def explanation(name: str) -> str:
    """What the recipe's function says about it."""
    _load()
    return (_known[name].__doc__ or "").strip() if name in _known else ""


def _load() -> None:
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    load_entry_points()
