"""Types of options for tyro, and functions that turn what was typed into values. Nothing here imports torch."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from frugan import files
from frugan.arguments import names_in, said_once
from frugan.registry import UserError

# These options have no default that the help could show; their texts say what happens if one is left out.
Text = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]

Reals = Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")]

Names = Annotated[str | None, arg(metavar="A,B,...", help_behavior_hint="")]

Count = Annotated[str | None, arg(metavar="N", help_behavior_hint="")]

Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]

Value = Annotated[float | None, arg(metavar="X", help_behavior_hint="")]

File = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]

Flag = Annotated[bool, arg(help_behavior_hint="")]

Many = Annotated[str, arg(metavar="N")]

Keys = Positional[Annotated[tuple[str, ...], arg(metavar="[KEY=VALUE ...]", help_behavior_hint="")]]

Run = Positional[Annotated[Path, arg(metavar="RUN")]]

Source = Positional[Annotated[str, arg(metavar="SOURCE")]]

Json = Annotated[bool, arg(help="Print JSON instead of a table.", help_behavior_hint="")]

Code = UseAppendAction[
    Annotated[
        tuple[Path, ...],
        arg(
            metavar="FILE", help_behavior_hint="",
            help="A Python file of your own that adds families, networks, games, metrics or recipes "
            "(docs/extending.md); may be repeated.",
        ),
    ]
]  # fmt: skip

Trust = Annotated[
    bool,
    arg(
        help="Run the Python files that a run or comparison names even if you never ran them on this machine. They "
        "could do anything: read them first.", help_behavior_hint="",
    ),
]  # fmt: skip

AllowChanged = Annotated[
    bool,
    arg(
        help="Continue even if Python files of your own have changed since; the run records it.", help_behavior_hint="",
    ),
]  # fmt: skip


def at_home(word: str) -> str:
    """A word with the home folder for a ~ that the shell left: in quotes, or after a = as in --out=~/runs."""
    start, home = re.match(r"((?:[\w.-]+=)?)(~(?=/|$))?", word).groups()  # type: ignore[union-attr]
    return start + str(files.expanded("~")) + word[len(start) + 1 :] if home else word


def check_words(words: Sequence[str]) -> None:
    """Refuse empty words, which a shell makes of an empty variable: left as they are, they would mean something else.

    Raises UserError, which names the option.
    """
    for before, word in zip(["", *words], words, strict=False):
        option = word[:-1] if re.fullmatch(r"--[\w-]+=", word) else before if not word.strip() else None
        if option is not None:
            where = f"{option}: nothing was" if option.startswith("--") else "An empty word was"
            raise UserError(f"{where} given. (Is a shell variable empty?) Give a value, or leave it out.")


def key_values(keys: Sequence[str]) -> dict[str, Any]:
    """The values of KEY=VALUE words by key. Raises UserError for other words, and for two values of one key."""
    from frugan.recipe import parse_value

    changes = []
    for key in keys:
        name, equals, value = key.partition("=")
        if not equals or not name:
            meant = f" If it is the data: --data {shlex.quote(key)}." if _may_be_data(key) else ""
            raise UserError(f"'{key}' is not of the form key=value, e.g. batch_size=64.{meant}")
        changes.append((name, parse_value(value)))
    return said_once(changes)


def _may_be_data(word: str) -> bool:
    """Whether a word names data that are there: a file, a folder or a built-in source."""
    from frugan.data import sources

    return Path(word).exists() or any(word in (one.name, one.name.partition(":")[0]) for one in sources())


def is_key(token: str) -> bool:
    """Whether a word is key=value, and not an arm ("mnist batch_size=32", "thin: mnist") or a file."""
    return re.match(r"[A-Za-z_][\w.]*=", token) is not None


def options_last(given: list[str], verb: Callable[..., None]) -> list[str]:
    """Sort what was typed: names, then keys, then options. tyro needs everything that is not an option together.

    Raises UserError for an option that is given twice with different values, of which tyro would take the last.
    """
    parameters = inspect.signature(verb).parameters.values()
    flags = {"--" + parameter.name.replace("_", "-") for parameter in parameters if parameter.default is False}
    repeated = {"--" + parameter.name.replace("_", "-") for parameter in parameters if parameter.default == ()}
    others: list[str] = []
    options: list[str] = []
    said: list[tuple[str, str]] = []
    waiting = list(given)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            others.append(word)
            continue
        options.append(word)
        if waiting and "=" not in word and word not in {*flags, "-h", "--help"}:
            options.append(waiting.pop(0))
        option, equals, value = word.partition("=")
        said.append((option.replace("_", "-"), value if equals else options[-1]))
    said_once((option, value) for option, value in said if option not in repeated)
    return [*sorted(others, key=is_key), *options]


def listed(text: str | None) -> tuple[str, ...] | None:
    """The names that were typed, see `names_in`; None if there is no such option."""
    return None if text is None else names_in(text)


MOST_LISTED = 10_000
"""How many whole numbers an option takes: each is a run to train, or an image to show."""


def whole_numbers(option: str, text: str, such_as: str) -> tuple[int, ...]:
    """Read "0-4" or "0,1,5" as numbers. Raises UserError."""
    numbers: list[int] = []
    try:
        for part in listed(text) or ():
            first, dash, last = part.partition("-")
            further = range(int(first), int(last) + 1) if dash else [int(first)]
            if len(numbers) + len(further) > MOST_LISTED:
                raise UserError(f"{option} {text}: give at most {MOST_LISTED:,} whole numbers, such as {such_as}.")
            numbers += further
    except (ValueError, OverflowError):  # of a range that is longer than Python can count
        numbers = []
    if not numbers:
        raise UserError(f"{option} {text}: give whole numbers such as {such_as}.")
    return tuple(numbers)


def seeds_of(text: str) -> tuple[int, ...]:
    return whole_numbers("--seeds", text, "0-4, or 0,1,5")


def pilots_of(text: str | None) -> tuple[int, ...] | None:
    if text == "none":
        return ()
    return None if text is None else whole_numbers("--pilot-seeds", text, "1000-1002, or none")


def check_out(out: Path | None, overwrite: bool, endings: Sequence[str]) -> None:
    """Refuse an --out that cannot be written, before anything is loaded; None is no --out.

    Args:
        endings: of the files that the verb writes, such as ".png"; "" is a folder, which may be there if it is empty.
    """
    if out is None:
        return
    if out.suffix.lower() not in endings:
        accepted = " or ".join(f"FILE{ending}" if ending else "a folder" for ending in endings)
        raise UserError(f"--out {out}: this writes {accepted}.")
    free = not out.suffix and out.is_dir() and files.is_empty(out)
    if out.exists() and not overwrite and not free:
        raise UserError(f"{out} exists; give another --out, or --overwrite.")


def init_of(text: str | None) -> str | dict[str, str] | None:
    """A path, or NETWORK=PATH,NETWORK=PATH as a map. Raises UserError."""
    parts = listed(text) or ()
    if text is None or not any(is_key(part) for part in parts):
        return text
    if not all(map(is_key, parts)):
        raise UserError(f"--init {text}: give one PATH, or NETWORK=PATH for each.")
    return said_once(tuple(part.split("=", 1)) for part in parts)  # type: ignore[misc]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
