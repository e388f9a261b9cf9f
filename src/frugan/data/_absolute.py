"""Sources that mean the same in any working folder."""

from __future__ import annotations

import os

from frugan.data import readers
from frugan.data._named import NAMED
from frugan.files import expanded


def absolute(source: str) -> str:
    """A source with a whole path for the folder or file in it, if that exists; names stay as they are."""
    before, path, after = _parted(source)
    return f"{before}{os.path.abspath(expanded(path))}{after}" if _exists(path) else source


def paths(source: str) -> list[str]:
    """The folder or file that a source names, as it names it, if it exists: `photos` of ``flat:photos``."""
    _, path, _ = _parted(source)
    return [path] if _exists(path) else []


def _parted(source: str) -> tuple[str, str, str]:
    """What stands before a source's path, the path, and what stands behind it: ``rafd:``, ``FOLDER``, ``:angle``.

    The path is empty of what only has a name, since a folder of that name means nothing. Only what a reader knows may
    stand before a path, so a folder may have a colon in its own name.
    """
    known = [readers.find(name) for name in readers.names()]
    kind, colon, rest = source.partition(":")
    if colon and any(kind in reader.before_folders for reader in known):
        folder, colon, word = rest.rpartition(":")
        if colon and not _exists(rest) and _exists(folder):
            return f"{kind}:", folder, f":{word}"
        return f"{kind}:", rest, ""
    if colon and any(kind in reader.before_sources for reader in known):
        count, colon, inner = rest.partition(":")
        counted = bool(colon) and count.isdecimal()
        before, path, after = _parted(inner if counted else rest)
        return f"{kind}:{f'{count}:' * counted}{before}", path, after
    built_in = {name for reader in known for name, *_ in reader.built_in}
    if source in {*NAMED, *built_in, *(name.partition(":")[0] for name in built_in)} or kind == "hub":
        return source, "", ""
    return "", source, ""


def _exists(path: str) -> bool:
    return bool(path) and expanded(path).exists()
