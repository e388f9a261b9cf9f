"""The verb ``check``."""

from __future__ import annotations

import sys
from typing import Annotated

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.cli._arguments import Json, print_json


def check(
    files: Positional[Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]", help_behavior_hint="")]], *,
    json: Json = False,
) -> None:
    """Check that your own families, networks, games, metrics ... do what frugan needs; takes seconds, needs no data.

    Prints a line for each variant and requirement, and what to do where something is missing. Exit code: 0 if nothing
    is missing, 1 if something is, 2 if a file cannot be read or adds nothing. docs/extending.md shows each kind.

    Args:
        files: Your Python files.
    """
    from frugan.checking import check as run

    report = run(*files, say=terminal.tell)
    if json:
        print_json(report.as_dict())
    else:
        report.show()
    if not report.kept:
        sys.exit(1)
