"""List the files below a folder, and find the folders of its splits."""

from __future__ import annotations

import os
from pathlib import Path

from frugan.data.readers import SPLIT_NAMES

LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}
"""Files and folders that nobody put there, in small letters."""


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder, if there is a folder for training. Otherwise empty: the whole folder is one split."""
    inside = {entry.name.lower(): entry for entry in folder.iterdir() if entry.is_dir()}
    called = {split: [inside[name] for name in names if name in inside] for split, names in SPLIT_NAMES.items()}
    # A class called `test` beside others is a class: only a folder with a train/ has splits.
    return {split: folders[0] for split, folders in called.items() if folders} if called["train"] else {}


def walk(folder: Path) -> list[tuple[str, int, int]]:
    """Relative path, size and time of every file below `folder`, sorted.

    Hidden files and files of the system (Thumbs.db) are left out. Links are followed, but no folder is visited twice. A
    link that leads nowhere, and a folder below that cannot be opened, are files of no size: images that cannot be read.
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
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in LEFT_BY_SYSTEMS:
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
