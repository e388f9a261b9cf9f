"""Places in a recipe: the paths that dotted keys name, and which of them name the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frugan.registry import UserError


def check_effects(paths: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Raise UserError for a key whose values are all set once more, by a later key that reaches as far or farther."""
    keys = list(paths)
    for number, key in enumerate(keys):
        after = {tuple(path): later for later in keys[number + 1 :] for path in paths[later]}
        over = covering(paths[key], after)
        if over and None not in over:
            raise UserError(
                f"{key}= has no effect, since {over[0]}= comes after it and sets it too. Leave one of them out, or "
                f"give {key}= last."
            )


def covering(paths: Sequence[Sequence[str]], after: Mapping[tuple[str, ...], str]) -> list[str | None]:
    """For each path, the later key that sets it, or all that it is in, once more; None if there is none."""
    starts = [[tuple(path[:depth]) for depth in range(1, len(path) + 1)] for path in paths]
    return [next((after[start] for start in of if start in after), None) for of in starts]


def meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two paths are one, or one is a part of what the other names."""
    return one[: len(other)] == other[: len(one)]


def flatten(value: Any, path: str, flat: dict[str, Any]) -> None:
    """Put every value of a tree of names into `flat`, by its dotted path that begins with `path`."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            flatten(item, f"{path}.{key}" if path else key, flat)
    else:
        flat[path] = value
