"""A folder of image files: one folder of images per class, or all in one place.

`train/` and `test/` inside (or other names in `SPLIT_NAMES`) are the splits; without them everything is train. Two or
more folders with files are classes, named as the folders. Files in deeper folders belong to them. Names that are
numbers are sorted as numbers. If there are images beside the class folders, the whole source is unlabelled, and a note
says so. Every file counts as an image, so a file that is not an image is reported. Only hidden files and files of the
system (Thumbs.db) are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers import SPLITS, Content, Found, Item, Reader
from frugan.data.readers._walk import split_folders, walk
from frugan.registry import UserError


def _splits(source: str) -> tuple[str, ...]:
    inside = split_folders(Path(source))
    return tuple(split for split in SPLITS if split in inside) if inside else ("train",)


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    folder = Path(source)
    root = split_folders(folder).get(split, folder)
    files = walk(root)
    if not files:
        raise UserError(f"--data {source}: there are no files in {root}. Put images there, or name another folder.")
    identity = {"folder": str(root.absolute()), "files": files}
    return Found(f"folder {folder.absolute().name}", identity, lambda: _content(root, [name for name, _, _ in files]))


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
