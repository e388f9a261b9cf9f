"""Sources that mean the same in any working folder."""

from __future__ import annotations

import os

from frugan.data import readers
from frugan.data._named import NAMED
from frugan.files import expanded


def absolute(source: str) -> str:
    """A source with a whole path for the folder or file in it, if that exists; names stay as they are."""
    before, path, after = _parted(source)
    return f"{before}{os.path.abspath(expanded(path))}{after}" if _is_there(path) else source


def paths(source: str) -> list[str]:
    """The folder or file that a source names, as it names it, if it exists: `photos` of ``flat:photos``."""
    _, path, _ = _parted(source)
    return [path] if _is_there(path) else []


def _parted(source: str) -> tuple[str, str, str]:
    """What stands before a source's path, the path, and what stands behind it: ``rafd:``, ``FOLDER``, ``:angle``.

    Only what a reader knows may stand before it, so a folder may have a colon in its own name.
    """
    kind, colon, rest = source.partition(":")
    if not colon or kind not in {kind for name in readers.names() for kind in readers.find(name).kinds}:
        return "", source, ""
    count, colon, inner = rest.partition(":")
    if kind == "stacked":  # of another source, perhaps with a count before it
        counted = bool(colon) and count.isdecimal()
        before, path, after = _parted(inner if counted else rest)
        return f"stacked:{f'{count}:' * counted}{before}", path, after
    folder, colon, field = rest.rpartition(":")
    if colon and not _exists(rest) and _exists(folder):
        return f"{kind}:", folder, f":{field}"
    return f"{kind}:", rest, ""


def _is_there(path: str) -> bool:
    """Whether a path leads to something, and is not the name of a data set: a folder of that name means nothing."""
    built_in = {name for kind in readers.names() for name, *_ in readers.find(kind).built_in}
    known = {*NAMED, *built_in, *(name.partition(":")[0] for name in built_in)}
    return path not in known and not path.startswith("hub:") and _exists(path)


def _exists(path: str) -> bool:
    return bool(path) and expanded(path).exists()
