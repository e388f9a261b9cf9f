"""Sources that mean the same in any working folder."""

from __future__ import annotations

import os
from pathlib import Path

from frugan.data import readers
from frugan.data._named import NAMED


def absolute(source: str) -> str:
    """A source with whole paths for every folder or file in it that exists; names stay as they are."""
    first, *others = source.split(":")
    if others:  # a kind of source, and what it is asked for: celeba:FOLDER
        return ":".join([first, *map(_whole, others)])
    built_in = {name.partition(":")[0] for kind in readers.names() for name, *_ in readers.find(kind).built_in}
    return source if source in {*NAMED, *built_in} else _whole(source)


def _whole(part: str) -> str:
    path = Path(part).expanduser()
    return os.path.abspath(path) if part and path.exists() else part
