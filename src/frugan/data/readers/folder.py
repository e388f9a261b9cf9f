"""A folder of image files: one folder of images per class, or all in one place.

`train/` and `test/` inside (or what `SPLIT_NAMES` accepts for them) are the splits; without them everything is train.
Two or more folders that hold files are classes, named as they are called, whatever lies deeper belonging to them;
numbers are sorted as numbers. Images beside the class folders have no class, and then the whole is unlabelled, and
says so. Every file counts as an image, so that one which is none is named; only hidden files and what systems strew
are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers import SPLIT_NAMES, SPLITS, Content, Found, Item, Reader
from frugan.registry import UserError

_STREWN = {"thumbs.db", "desktop.ini", "__macosx"}


def _splits(source: str) -> tuple[str, ...]:
    inside = _split_folders(Path(source))
    return tuple(split for split in SPLITS if split in inside) if inside else ("train",)


def _split_folders(folder: Path) -> dict[str, Path]:
    inside = {entry.name.lower(): entry for entry in folder.iterdir() if entry.is_dir()}
    called = {split: [inside[name] for name in names if name in inside] for split, names in SPLIT_NAMES.items()}
    # A class called `test` beside others is a class: only a folder with a train/ has splits.
    return {split: folders[0] for split, folders in called.items() if folders} if called["train"] else {}


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    folder = Path(source)
    root = _split_folders(folder).get(split, folder)
    files = sorted(_walk(root, "", set()))
    if not files:
        raise UserError(f"--data {source}: there is no file in {root}; put images there, or name another folder.")
    identity = {"folder": str(root.absolute()), "files": [(name, size_, time) for name, size_, time in files]}
    return Found(f"folder {folder.absolute().name}", identity, lambda: _content(root, [name for name, _, _ in files]))


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """Relative path, size and time of every file below `folder`; links are followed, but no folder is visited twice."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _STREWN:
                continue
            try:
                found = entry.stat()
            except OSError:  # a link that leads nowhere: named as an image that cannot be read
                yield f"{prefix}{entry.name}", -1, 0
                continue
            if not entry.is_dir():
                yield f"{prefix}{entry.name}", found.st_size, found.st_mtime_ns
            elif (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", seen)


def _content(root: Path, files: list[str]) -> Content:
    labels, classes, notes = _labels(files)

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        return (Item(files[number], root / files[number]) for number in numbers)

    return Content(len(files), read, labels, classes, notes)


def _labels(files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    folders = {name.partition("/")[0] for name in files if "/" in name}
    if len(folders) < 2:
        return None, (), ()
    beside = [name for name in files if "/" not in name]
    if any(Path(name).suffix.lower() in suffixes() for name in beside):
        return None, (), (f"unlabelled: images such as {beside[0]} lie beside the class folders, without a class",)
    numbered = all(name.isdecimal() for name in folders)
    classes = tuple(sorted(folders, key=lambda name: (int(name), name) if numbered else (0, name)))
    place = {name: number for number, name in enumerate(classes)}
    # What lies beside the class folders here is no image and will be set aside; its label is never used.
    return np.array([place.get(name.partition("/")[0], 0) for name in files], np.int64), classes, ()


variant = Reader(
    what="a folder of images, in class subfolders or flat; train/ and test/ inside are splits",
    typed="FOLDER",
    accepts=lambda source: Path(source).is_dir(),
    splits=_splits,
    find=_find,
    loose=True,
)
