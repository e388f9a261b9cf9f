"""Sources that mean the same in any working folder."""

from __future__ import annotations

import os
from pathlib import Path

from frugan.data import readers
from frugan.data._named import NAMED


def absolute(source: str) -> str:
    """A source with whole paths for every folder or file in it that exists; names stay as they are."""
    there = paths(source)
    return ":".join(os.path.abspath(Path(part).expanduser()) if part in there else part for part in source.split(":"))


def paths(source: str) -> list[str]:
    """The folders and files that a source names, as it names them, if they exist: `photos` of ``flat:photos``."""
    built_in = {name for kind in readers.names() for name, *_ in readers.find(kind).built_in}
    if source in {*NAMED, *built_in, *(name.partition(":")[0] for name in built_in)} or source.startswith("hub:"):
        return []  # a folder of this name means nothing here
    first, *others = source.split(":")  # a kind of source, and what it is asked for: celeba:FOLDER
    return [part for part in others or [first] if part and Path(part).expanduser().exists()]
