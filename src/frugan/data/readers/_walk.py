"""List the files below a folder, and find the folders of its splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from frugan.data._convert import suffixes
from frugan.data.readers import SPLIT_NAMES

LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}
"""Files and folders that nobody put there, in small letters."""


_OURS = ({"recipe.json", "run.json"}, {"plan.json", "arms"})
"""What only a run and a comparison hold. A run may lie among its own images, and its pictures are none of them."""


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder, if there is a folder for training. Otherwise empty: the whole folder is one split."""
    inside = [entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name)]
    return {split: folder / name for split, name in choose_splits(inside, lambda name: _has_images(folder / name))}


def choose_splits(folders: Iterable[str], has_images: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Pairs of a split and its folder among those that lie in one place; none if they are no splits.

    `has_images` says whether an image lies in a folder itself, not only below it.
    """
    inside = {name.lower(): name for name in folders}
    called = {split: next((inside[name] for name in names if name in inside), None)
              for split, names in SPLIT_NAMES.items()}  # fmt: skip
    # A class called `test` beside others is a class: only a folder with a train/ has splits.
    if called["train"] is None:
        return []
    # A class called `train` may lie beside others too: bus/, car/ and train/, with images in each.
    others = [name for low, name in inside.items() if not any(low in names for names in SPLIT_NAMES.values())]
    if called["test"] is None and has_images(called["train"]) and any(map(has_images, others)):
        return []
    return [(split, name) for split, name in called.items() if name is not None]


def _has_images(folder: Path) -> bool:
    known = suffixes()
    try:
        with os.scandir(folder) as entries:
            return any(os.path.splitext(entry.name)[1].lower() in known for entry in entries)
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def walk(folder: Path) -> list[tuple[str, int, int]]:
    """Relative path, size and time of every file below `folder`, sorted.

    Hidden files, files of the system (Thumbs.db), and folders of runs and comparisons are left out. Links are followed,
    but no folder is visited twice. A link that leads nowhere, and a folder below that cannot be opened, are files of no
    size: images that cannot be read.
    """
    status = folder.stat()
    visited, files = {(status.st_dev, status.st_ino)}, []
    waiting = [(os.fspath(folder), "")]  # not a function that calls itself: folders may be nested a thousand deep
    while waiting:
        path, prefix = waiting.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:
            if not prefix:
                raise
            files.append((prefix.rstrip("/"), -1, 0))
            continue
        names = {entry.name for entry in entries}
        if prefix and any(ours <= names for ours in _OURS):
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:
                files.append((f"{prefix}{entry.name}", -1, 0))
                continue
            if not entry.is_dir():
                files.append((f"{prefix}{entry.name}", status.st_size, status.st_mtime_ns))
            elif (status.st_dev, status.st_ino) not in visited:
                visited.add((status.st_dev, status.st_ino))
                waiting.append((entry.path, f"{prefix}{entry.name}/"))
    return sorted(files)
