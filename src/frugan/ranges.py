"""Which values a field may have, stated with the field and checked wherever a record is made.

    @dataclass(frozen=True)
    class Player(Checked):
        learning_rate: Annotated[float, Range(above=0)] = 2e-4

A recipe that is typed, read from JSON or made in Python passes the same check, before anything is trained.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from frugan.registry import UserError


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` up, `above` one number and `below` another; as far as these are given.

    `such_as` is an example to show. Of a field that holds several numbers, each must lie in the range, and they must
    rise if `rising`.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    such_as: str = ""
    rising: bool = False

    def why_not(self, value: Any, whole: bool) -> str | None:
        """What to give instead of this value; None if it is accepted. `whole`: only whole numbers are."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or (whole and not _is_whole(value)):
            return self._wanted(whole)
        outside = (
            not math.isfinite(value)
            or (self.least is not None and value < self.least)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and not value < self.below)
        )
        return self._wanted(whole) if outside else None

    def _wanted(self, whole: bool) -> str:
        parts = [
            f"{self.least:g} or more" if self.least is not None else "",
            f"above {self.above:g}" if self.above is not None else "",
            f"below {self.below:g}" if self.below is not None else "",
        ]
        said = " and ".join(filter(None, parts)) or "finite"
        comma = "," if self.least is not None else ""
        example = f", e.g. {self.such_as}" if self.such_as else ""
        return f"give a {'whole ' if whole else ''}number{comma} {said}{example}"


class Checked:
    """A dataclass whose fields with a `Range` are checked when it is made; numpy's whole numbers become Python's.

    Raises UserError for a value outside its range.
    """

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name, _, _ in _ranges(type(self))}
        for name, value in checked(type(self), values, type(self).__name__).items():
            object.__setattr__(self, name, value)


def checked(record: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of a record's fields, whole numbers as Python's own. Raises UserError that names ``where.field``."""
    accepted = dict(values)
    for name, kind, allowed in _ranges(record):
        value = values.get(name)
        if value is None:  # whether it may be left out is a matter of its type
            continue
        several = isinstance(value, (tuple, list))
        items = list(value) if several else [value]
        whole = kind is int
        why_not = next(filter(None, (allowed.why_not(item, whole) for item in items)), None)
        if why_not is None and allowed.rising and any(items[i] >= items[i + 1] for i in range(len(items) - 1)):
            why_not = "give numbers that rise"
        if why_not is not None:
            raise UserError(f"{where}.{name}={value}: {why_not}.".removeprefix("recipe."))
        if whole:
            accepted[name] = type(value)(map(int, items)) if several else int(value)
    return accepted


def _is_whole(value: numbers.Real) -> bool:
    return isinstance(value, numbers.Integral)


@functools.cache
def _ranges(record: type) -> tuple[tuple[str, type, Range], ...]:
    """Name, kind of number and range of each field that has one."""
    hints = typing.get_type_hints(record, include_extras=True)
    return tuple(
        (item.name, int if int in set(_kinds(hints[item.name])) else float, allowed)
        for item in dataclasses.fields(record)
        for allowed in getattr(hints[item.name], "__metadata__", ())
        if isinstance(allowed, Range)
    )


def _kinds(hint: Any) -> Iterator[Any]:
    """The plain types that a hint is made of."""
    arguments = typing.get_args(hint)
    if not arguments:
        yield hint
    for argument in arguments:
        if not isinstance(argument, Range):
            yield from _kinds(argument)
