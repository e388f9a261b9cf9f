"""Attributes by name: where they stand in the labels, and which images have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frugan.registry import UserError, suggest

_NOT = "not "


def numbers_of(name: str, attributes: Sequence[str], classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The positions of the `wanted` attributes, in the order of `wanted`. Raises UserError if one does not exist."""
    if not attributes:
        has = f"classes ({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''})" if classes else "no labels"
        hint = " data.attributes=[] takes its classes, data.only chooses among them." if classes else ""
        raise UserError(f"{name} has {has} and no attributes, so {', '.join(map(str, wanted))} cannot be chosen.{hint}")
    for attribute in wanted:
        if attribute not in attributes:
            raise UserError(f"{name} has no attribute '{attribute}'. {suggest(str(attribute), attributes)}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"{name}: one attribute is named twice in {', '.join(wanted)}. Name each once.")
    return [list(attributes).index(attribute) for attribute in wanted]


def groups_of(
    name: str, known: Sequence[str], chosen: Sequence[str], exclusive: Sequence[Sequence[str]]
) -> tuple[tuple[int, ...], ...]:
    """Groups of attributes of which an image has at most one, as positions in `chosen`.

    A group without any of the `known` attributes belongs to other data and is ignored. Raises UserError if some of a
    group are known and some are not, or if one attribute is in two groups.
    """
    groups: list[tuple[int, ...]] = []
    for group in exclusive:
        strange = [attribute for attribute in group if attribute not in known]
        if strange and len(strange) < len(group):
            raise UserError(
                f"data.exclusive says that an image has at most one of {', '.join(group)}, but {name} has no attribute "
                f"'{strange[0]}'. {suggest(strange[0], known)} If an image may have all of them, give "
                "data.exclusive=[]."
            )
        places = tuple(list(chosen).index(attribute) for attribute in group if attribute in chosen)
        if len(places) > 1:
            groups.append(places)
    numbers = [number for places in groups for number in places]
    twice = next((chosen[number] for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UserError(f"data.exclusive names '{twice}' twice. Name each attribute once.")
    return tuple(groups)


def holding(name: str, attributes: Sequence[str], labels: np.ndarray, wanted: Sequence[str | int]) -> np.ndarray:
    """Which images have all `wanted` attributes, e.g. ``("glasses", "not hat")``: bool ``[count]``."""
    names = [str(asked).removeprefix(_NOT).strip() for asked in wanted]
    values = [int(not str(asked).startswith(_NOT)) for asked in wanted]
    return (labels[:, numbers_of(name, attributes, (), names)] == values).all(axis=1)
