"""What is typed for a recipe: values, numbers of images, a variant with its options."""

from __future__ import annotations

import json
import re
from typing import Any

from frugan.arguments import said_once
from frugan.registry import UserError


def parse_value(text: str) -> Any:
    """A value as typed on the command line: a number, true, false, null, JSON, a list ``[a,b]``, else the text itself.

    The words of a list, or of lists in a list, need no quotes: a shell would remove them.
    """
    lowered = text.strip().lower()
    if lowered == "null":
        return None
    try:
        return json.loads(lowered if lowered in ("true", "false") else text)
    except json.JSONDecodeError:
        pass
    try:
        return float(text)
    except ValueError:
        items = _items(text.strip())
        return text if items is None else [parse_value(item) for item in items]


def _items(text: str) -> list[str] | None:
    """What stands between the outermost commas of ``[a,[b,c]]``; None of what is no list."""
    if not (text.startswith("[") and text.endswith("]")) or set(text) & set("{}\""):
        return None
    items = parted(text[1:-1], ",")
    return None if items is None else [item.strip() for item in items]


def parted(text: str, separator: str) -> list[str] | None:
    """What stands between separators that are not inside brackets; None if the brackets do not match."""
    items, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth < 0:
            return None
        if letter == separator and not depth:
            items.append("")
        else:
            items[-1] += letter
    return None if depth else items


def parse_count(text: str | int) -> int:
    """A number of images as typed: 60000, 60k, 2M. Raises UserError."""
    factors = {"k": 1_000, "m": 1_000_000}
    stripped = str(text).strip().lower()
    if re.fullmatch(r"\d{1,3}([,_]\d{3})+", stripped):  # 60,000; but 1,5 is somebody's one and a half
        stripped = re.sub("[,_]", "", stripped)
    try:
        number = float(stripped[:-1]) * factors[stripped[-1]] if stripped[-1:] in factors else float(stripped)
    except ValueError:
        number = -1.0
    if not (1 <= number <= 1e12 and number.is_integer()):
        raise UserError(
            f"'{text}' is not a number of images. Give a whole number above 0, such as 60000, 60k or 2M."
        )
    return int(number)


def choice_of(value: Any) -> Any:
    """``"r1,weight=10"`` as a name and its options."""
    if not isinstance(value, str):
        return value
    name, *options = parted(value, ",") or [value]
    pairs = [option.partition("=") for option in options]
    return {"name": name, "options": said_once((option, parse_value(given)) for option, _, given in pairs)}
