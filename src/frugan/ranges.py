"""Which values a field or an option may have: its type, and a `Range` that is stated with it.

    @dataclass(frozen=True)
    class Player(Checked):
        learning_rate: Annotated[float, Range(above=0)] = 2e-4

    def decoder(image, latents, layers, classes, *, channels: Count = 64):

A recipe that is typed, read from JSON or made in Python passes the same check (`fitted`), field by field when a record
is made and option by option where options are matched (`frugan.registry.check_options`), before anything is trained.
"""

from __future__ import annotations

import collections.abc
import math
import numbers
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

LARGEST = 1e12
"""No number of a recipe is larger, if its range does not say so: it would be a slip, and no machine could work it."""


class Unfit(ValueError):
    """A value that cannot be where it was given; the text says what to give instead."""


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` up to `most`, `above` one number and `below` another; as far as these are given.

    `such_as` is an example to show. Of a field that holds several numbers, each must lie in the range, and they must
    rise if `rising`.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float = LARGEST
    such_as: str = ""
    rising: bool = False

    def check(self, value: Any, whole: bool) -> None:
        """Raise Unfit for what is no number of this range. `whole`: only whole numbers are."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or (whole and not _is_whole(value)):
            raise Unfit(self._wanted(whole))
        number: Any = value if isinstance(value, numbers.Integral) else float(value)  # too large a whole one has none
        if not -self.most <= number <= self.most or number in (math.inf, -math.inf):  # nan is not between either
            raise Unfit(self._wanted(whole, told=self.most < number < math.inf))
        if (
            (self.least is not None and number < self.least)
            or (self.above is not None and number <= self.above)
            or (self.below is not None and not number < self.below)
        ):
            raise Unfit(self._wanted(whole))

    def _wanted(self, whole: bool, told: bool = False) -> str:
        """In words; its largest number is only told to those who gave a larger one."""
        parts = [
            f"{self.least:g} or more" if self.least is not None else "",
            f"above {self.above:g}" if self.above is not None else "",
            f"below {self.below:g}" if self.below is not None else "",
            f"at most {self.most:,.15g}" if told and self.below is None and self.most < math.inf else "",
        ]
        said = " and ".join(filter(None, parts))
        comma = ", " if self.least is not None else " "
        example = f", e.g. {self.such_as}" if self.such_as else ""
        kind = "whole " if whole else "" if said else "finite "
        return f"give a {kind}number{comma * bool(said)}{said}{example}"


Count = Annotated[int, Range(1, most=1_000_000)]
"""How many of something there are at once: channels, units, pixels, images of a batch."""

Amount = Annotated[int, Range(0, most=1_000_000)]
"""`Count` that can be none."""

Side = Annotated[int, Range(1, most=1_000)]
"""How many pixels a kernel or a stride has on each side."""

Repeats = Annotated[int, Range(0, most=1_000)]
"""How often something is built or done over, each time at a cost: layers, blocks, steps of a round."""

Times = Annotated[int, Range(1, most=1_000)]
"""`Repeats` that cannot be none."""


def has_range(hint: Any) -> bool:
    """Whether a range is stated with a type, or inside it."""
    return isinstance(hint, Range) or any(map(has_range, (*typing.get_args(hint), *getattr(hint, "__metadata__", ()))))


def fitted(hint: Any, value: Any, allowed: Range | None = None) -> Any:
    """`value` as a place of this type takes it: whole numbers as Python's own, also those typed as 1e3.

    Numbers lie in the range that the type is annotated with. Of types that no JSON value has, every value is taken.
    Raises Unfit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        allowed = next((one for one in arguments[1:] if isinstance(one, Range)), allowed)
        value = fitted(arguments[0], value, allowed)
        if allowed is not None and allowed.rising and isinstance(value, (list, tuple)):
            if any(value[i] >= value[i + 1] for i in range(len(value) - 1)):
                raise Unfit("give numbers that rise")
        return value
    if origin in (typing.Union, types.UnionType):
        return _fitted_to_one(arguments, value, allowed)
    if hint in (int, float):
        (allowed or Range()).check(value, whole=hint is int)
        return int(value) if hint is int else value if isinstance(value, (int, float)) else float(value)
    if origin is Literal:
        if value not in arguments:
            raise Unfit(f"give one of: {', '.join(map(str, arguments))}")
    elif (origin or hint) in _LISTS:
        return _fitted_items(arguments, value, allowed)
    elif (origin or hint) in _PLAIN and not isinstance(value, origin or hint):
        raise Unfit(_PLAIN[origin or hint])
    return value


_LISTS = (tuple, list, collections.abc.Sequence)
_PLAIN = {
    bool: "give true or false", str: "give a word", types.NoneType: "give null", dict: "give names with values",
    collections.abc.Mapping: "give names with values", collections.abc.Callable: "give a function",
}  # fmt: skip


def _fitted_to_one(kinds: Sequence[Any], value: Any, allowed: Range | None) -> Any:
    """`value` as the first of these types that it fits. Raises Unfit, as the first does."""
    wrong = None
    for kind in sorted(kinds, key=lambda kind: kind is types.NoneType):
        try:
            return fitted(kind, value, allowed)
        except Unfit as error:
            wrong = wrong or error
    raise wrong or Unfit("nothing can be given")


def _fitted_items(kinds: Sequence[Any], value: Any, allowed: Range | None) -> Any:
    """A list or tuple whose items are of these types; as many as there are types, or any number of one type."""
    nested = bool(kinds) and typing.get_origin(kinds[0]) in _LISTS
    if nested and not (isinstance(value, (list, tuple)) and all(isinstance(one, (list, tuple)) for one in value)):
        usual = '[["a", "b"]]' if str in typing.get_args(kinds[0]) else "[[32, 64]]"
        raise Unfit(f"give a list of lists, e.g. {(allowed and allowed.such_as) or usual}")
    if not isinstance(value, (list, tuple)):
        raise Unfit(f"give a list, e.g. {(allowed and allowed.such_as) or '[1] for one value'}")
    if len(kinds) > 1 and kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            raise Unfit(f"give a list of {len(kinds)} values")
    else:
        kinds = [kinds[0] if kinds else Any] * len(value)
    items = []
    for kind, item in zip(kinds, value, strict=True):
        try:
            items.append(fitted(kind, item, allowed))
        except Unfit as error:
            reason = str(error)
            in_lists = reason.startswith("give a list") or reason.endswith("for each value")
            raise Unfit(reason if in_lists else f"{reason}, for each value") from None
    return type(value)(items)


def _is_whole(value: numbers.Real) -> bool:
    return isinstance(value, numbers.Integral) or float(value).is_integer()
