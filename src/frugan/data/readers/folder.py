"""A folder of image files: one folder of images per class, or all in one place, or with a list of their labels.

`train/` and `test/` inside (or other names in `SPLIT_NAMES`) are the splits; without them everything is train. What
labels the images, see `_labels`. ``flat:FOLDER`` takes them without labels, and ``classes:FOLDER`` takes folders for
classes, whatever they look like. Names that are numbers are sorted as numbers. A few images beside class folders are
set aside; with more, the whole source is unlabelled. Notes say all of this. Every file counts as an image, so a file
that is not an image is reported. Only hidden files and files of the system (Thumbs.db) are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from frugan.data.readers import SPLITS, Content, Found, Item, Reader
from frugan.data.readers._labels import RULES, read_labels
from frugan.data.readers._walk import split_folders, walk
from frugan.files import expanded
from frugan.registry import UserError

KINDS = ("flat", "classes")
"""What may stand before a folder, with a colon between them."""


def parted(source: str) -> tuple[str, Path]:
    """The kind that was typed before a folder, "" if none, and the folder."""
    kind, colon, rest = source.partition(":")
    return (kind, expanded(rest)) if colon and kind in KINDS else ("", Path(source))


def _splits(source: str) -> tuple[str, ...]:
    inside = split_folders(parted(source)[1])
    return tuple(split for split in SPLITS if split in inside) if inside else ("train",)


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    kind, folder = parted(source)
    root = split_folders(folder).get(split, folder)
    files = walk(root)
    if not files:
        raise UserError(f"{source}: there are no files in {root}. Put images there, or name another folder.")
    names = [name for name, _, _ in files]
    identity = {"folder": str(root.absolute()), "files": files, "labels": [RULES, kind]}
    return Found(f"folder {folder.absolute().name}", identity, lambda: _content(source, kind, root, names))


def _content(source: str, kind: str, root: Path, names: list[str]) -> Content:
    try:
        told = read_labels(names, lambda name: (root / name).read_bytes(), kind)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        for name in (told.files[number] for number in numbers):
            yield Item(name, told.reasons.get(name) or root / name)

    return Content(len(told.files), read, told.labels, told.classes, told.notes)


variant = Reader(
    what="a folder of images, in class subfolders or flat, or with dataset.json, metadata.csv or labels.csv; train/ "
    "and test/ inside are splits",
    typed="FOLDER, flat:FOLDER or classes:FOLDER",
    accepts=lambda source: parted(source)[1].is_dir(),
    splits=_splits,
    find=_find,
    loose=True,
    before_folders=KINDS,
)
