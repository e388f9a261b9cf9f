"""Records that check their fields when they are made."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Annotated, Any

from frugan.ranges import Unfit, fitted
from frugan.registry import UserError


class Checked:
    """A dataclass whose fields with a `Range` are checked when it is made; numpy's whole numbers become Python's.

    Raises UserError for a value outside its range.
    """

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _ranged(type(self))}
        for name, value in checked(type(self), values, type(self).__name__).items():
            object.__setattr__(self, name, value)


def checked(record: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of a record's fields as these take them. Raises UserError that names ``where.field``."""
    accepted = dict(values)
    for name, hint in _ranged(record).items():
        try:
            if name in values:
                accepted[name] = fitted(hint, values[name])
        except Unfit as unfit:
            raise UserError(f"{where}.{name}={values[name]}: {unfit}.".removeprefix("recipe.")) from None
    return accepted


@functools.cache
def _ranged(record: type) -> dict[str, Any]:
    """The fields that have a range, with their types."""
    hints = typing.get_type_hints(record, include_extras=True)
    names = [item.name for item in dataclasses.fields(record)]
    return {name: hints[name] for name in names if typing.get_origin(hints[name]) is Annotated}


def word_of(kind: Any) -> str:
    """What a field's type is, for people."""
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        return "a list, e.g. [1]" if arguments[-1] is Ellipsis else f"a list of {len(arguments)} values"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    return words.get(kind) or f"of type {getattr(kind, '__name__', kind)}"
