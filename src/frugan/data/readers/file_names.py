"""Faces whose file names tell expression and angle, as in RaFD and Stirling.

    rafd       Rafd090_01_Caucasian_female_angry_frontal.jpg     angle, person, origin, sex, expression, gaze
    stirling   F1001_happy_45.jpg                                person, expression, angle

`rafd:FOLDER` has expressions as classes, `rafd:FOLDER:angle` has angles; `stirling:` works the same way. For RaFD's
expressions, full profiles (angles 000 and 180) are left out, as in StarGAN. `train/` and `test/` in the folder are the
splits. Without them every tenth person, in the order of their numbers, is held out, so that nobody is in both splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers import SPLITS, Content, Found, Item, Reader
from frugan.data.readers._walk import split_folders, walk
from frugan.files import expanded
from frugan.registry import UserError, suggest

FIELDS = ("expression", "angle")
_EVERY = 10


class _Pattern(NamedTuple):
    """How files are called, an example, and the angles that no expression is read from."""

    form: re.Pattern[str]
    example: str
    profiles: tuple[str, ...] = ()


_PATTERNS = {
    "rafd": _Pattern(
        re.compile(
            r"Rafd(?P<angle>\d{3})_(?P<person>\d+)_[A-Za-z]+_(?:fe)?male_(?P<expression>[a-z]+)_(?:frontal|left|right)"
        ),
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        ("000", "180"),
    ),
    "stirling": _Pattern(
        re.compile(r"(?P<person>[A-Za-z]*\d+)_(?P<expression>[A-Za-z]+)_(?P<angle>[A-Za-z0-9+-]+)"),
        "F1001_happy_45.jpg",
    ),
}


def _parts(source: str) -> tuple[str, Path, str]:
    """The pattern's name, the folder, and which field is the class."""
    kind, _, rest = source.partition(":")
    folder, _, field = rest.rpartition(":") if not expanded(rest).is_dir() else (rest, "", FIELDS[0])
    if field not in FIELDS or not expanded(folder).is_dir():
        if folder and expanded(folder).is_dir():
            raise UserError(f"{source}: file names have no '{field}'. {suggest(field, FIELDS)}")
        raise UserError(f"{source}: there is no folder {rest}. Type {kind}:FOLDER or {kind}:FOLDER:angle.")
    return kind, expanded(folder), field


def _splits(source: str) -> tuple[str, ...]:
    inside = split_folders(_parts(source)[1])
    return tuple(split for split in SPLITS if split in inside) if inside else SPLITS


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    kind, folder, field = _parts(source)
    inside = split_folders(folder)
    root, known = inside.get(split, folder), suffixes()
    images = [entry for entry in walk(root) if Path(entry[0]).suffix.lower() in known]
    if not images:
        raise UserError(
            f"{source}: there are no such images in {root}. Their names must be like {_PATTERNS[kind].example} "
            "..."
        )
    identity = {"folder": str(root.absolute()), "files": images, "pattern": kind, "field": field}
    names = [name for name, _, _ in images]
    return Found(
        kind if field == FIELDS[0] else f"{kind} by {field}", identity,
        lambda: _content(_PATTERNS[kind], root, names, field, None if inside else split),
    )  # fmt: skip


def _content(pattern: _Pattern, root: Path, files: list[str], field: str, split: str | None) -> Content:
    read_names = [pattern.form.fullmatch(Path(file).stem) for file in files]
    people = sorted({match["person"] for match in read_names if match})
    held_out = set(people[_EVERY - 1 :: _EVERY])
    kept, profiles = [], 0
    for number, match in enumerate(read_names):
        if match and split is not None and (match["person"] in held_out) != (split == "test"):
            continue
        if match and field == "expression" and match["angle"] in pattern.profiles:
            profiles += 1
            continue
        if match or split != "test":  # what cannot be read is reported once, with the images to train on
            kept.append(number)
    values = [match[field].lower() if (match := read_names[number]) else None for number in kept]
    classes = tuple(sorted({match[field].lower() for match in read_names if match}))
    place = {name: number for number, name in enumerate(classes)}

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        reason = f"its name is not of the form {pattern.example}"
        for number in numbers:
            file = files[kept[number]]
            yield Item(file, reason if values[number] is None else root / file)

    labels = np.array([0 if value is None else place[value] for value in values], np.int64)
    note = f"{profiles:,} full profiles (angles {' and '.join(pattern.profiles)}) left out"
    return Content(len(kept), read, labels, classes, (note,) if profiles else ())


variant = Reader(
    what="faces named by expression and angle: rafd:FOLDER, stirling:FOLDER, each also with :angle behind it",
    typed="rafd:FOLDER",
    accepts=lambda source: source.startswith(tuple(f"{kind}:" for kind in _PATTERNS)),
    splits=_splits,
    find=_find,
    before_folders=tuple(_PATTERNS),
)
