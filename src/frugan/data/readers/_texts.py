"""Lists that people and programs write beside images: their text, their tables, their JSON.

Each function takes the name by which messages call the list, and raises UserError with that name, the line and what to
do.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from typing import Any

from frugan.registry import UserError

DIGITS = 18
"""A number of so many digits fits into 64 bits; longer ones stay words."""


def text_of(name: str, data: bytes) -> str:
    """The text of a list in UTF-8 or UTF-16, without a byte order mark; lines end as Python's do."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        wrong = text.find("\0")
    except UnicodeDecodeError as error:
        text, wrong = data.decode("latin-1"), error.start
    if wrong >= 0:
        raise UserError(
            f"{name}, line {text.count(chr(10), 0, wrong) + 1}: this is no text in UTF-8. Save the list as UTF-8 (in a "
            "spreadsheet: CSV UTF-8)."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def table_of(name: str, text: str) -> list[tuple[int, list[str]]]:
    """The rows of a table with a header, each with the number of its line; empty ones are left out.

    Commas, semicolons or tabs stand between the cells, whichever are most in the header.
    """
    header = text.partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=header.count)
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows, line = [], 1
    try:
        for row in cells:
            if any(cell.strip() for cell in row):
                rows.append((line, [cell.strip() for cell in row]))
            line = cells.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{name}, line {line}: a cell is too long ({error}). Perhaps a quotation mark is left open there."
        ) from None
    return rows


def json_of(name: str, text: str) -> Any:
    """A JSON value. Whole numbers of more than `DIGITS` digits stay text; no key of an object may stand there twice."""
    try:
        if "\\ud" in text.lower():  # half of a character, which cannot be written anywhere again
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole)
    except RecursionError:
        problem = "its values are nested too deeply"
    except ValueError as error:
        problem = str(error)
    raise UserError(f"{name} is not valid JSON: {problem}. Correct it, or take it away to use the images alone.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"'{key}' stands in it twice")
        made[key] = value
    return made


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= DIGITS else digits
