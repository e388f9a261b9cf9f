"""Images with a list of their attributes, in CelebA's form or as a CSV.

The list is `attributes.csv`, or `list_attr*.csv` or `list_attr*.txt` as in CelebA, in the folder or in its `Anno/`; or
another `*attr*.txt` that begins as CelebA's. The user may also name the CSV itself. CelebA's form is a line with the
count of images, a line with the attributes' names, then a line for each image: its file, and 1 or -1 for each
attribute. A CSV has a header, the file in its first column, and 1, 0 or -1 in the others (-1 means 0); commas,
semicolons or tabs stand between them. How a file is named, see `_matching`.

Splits are, if present: `train/` and `test/` in the folder; else CelebA's `list_eval_partition.txt`, in which 0 is train
and 2 is test (1, validation, is left out). A list in CelebA's form with at least `ENOUGH` lines is split as in the
StarGAN reference: the lines are shuffled by Python's generator with the seed 1234, and the first 1,999 are test.
Otherwise everything is train.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers import SPLITS, Content, Found, Item, Reader, stamp
from frugan.data.readers._labels import LISTS, RULES
from frugan.data.readers._matching import match
from frugan.data.readers._texts import DIGITS, table_of, text_of
from frugan.data.readers._walk import split_folders, walk
from frugan.files import expanded
from frugan.registry import UserError

ENOUGH = 20_000
_HELD_OUT, _SHUFFLE = 1_999, 1234  # of the StarGAN reference
_PATTERNS = ("attributes.csv", "list_attr*.csv", "list_attr*.txt")
_PERHAPS = "*attr*.txt"
_COUNT = re.compile(rf"[0-9]{{1,{DIGITS}}}")
_PARTITION = "list_eval_partition"
_VALUES = {"1": 1, "0": 0, "-1": 0}
_NAMED = "celeba:"


@dataclass(frozen=True)
class _Place:
    """A list, the folder of its images, CelebA's list of splits where there is one, and the folders of splits."""

    file: Path
    root: Path
    partition: Path | None
    folders: dict[str, Path]
    name: str


@dataclass(frozen=True, eq=False)
class _List:
    """What a list says: attributes' names, files in their order, the lines they stand in, and bits int64 ``[files,
    attributes]``.
    """

    attributes: tuple[str, ...]
    files: tuple[str, ...]
    lines: tuple[int, ...]
    bits: np.ndarray


def _candidates(root: Path) -> list[Path]:
    """The lists in a folder; capitals do not matter in their names."""
    places = [place for place in (root, root / "Anno") if place.is_dir()]
    return [place / name for place in places for name in sorted(os.listdir(place)) if _is_list(place / name)]


def _is_list(file: Path) -> bool:
    name = file.name.lower()
    if any(fnmatchcase(name, pattern) for pattern in _PATTERNS):
        return file.is_file()
    if not fnmatchcase(name, _PERHAPS) or not file.is_file():
        return False
    with file.open("rb") as lines:  # an `attribution.txt` is no list
        return _COUNT.fullmatch(lines.readline(100).decode("utf-8-sig", "replace").strip()) is not None


def _accepts(source: str) -> bool:
    path = Path(source)
    return source.startswith(_NAMED) or (path.is_file() and path.suffix.lower() == ".csv") or bool(_candidates(path))


def _place(source: str) -> _Place:
    path = expanded(source.removeprefix(_NAMED))
    if path.is_file():
        file, root = path, path.parent
    else:
        lists = _candidates(path)
        if len(lists) != 1:
            problem = f"several lists of attributes ({', '.join(file.name for file in lists)})" if lists else "no list"
            raise UserError(
                f"{source}: {path} holds {problem}. It must hold one list called {', '.join(_PATTERNS)}. Or "
                "give a CSV file itself."
            )
        file, root = lists[0], path
    places = [place / f"{_PARTITION}{ending}" for place in (root, root / "Eval") for ending in (".txt", ".csv")]
    partition = next((place for place in places if place.is_file()), None)
    name = "celeba" if source.startswith(_NAMED) else f"folder {root.absolute().name}"
    return _Place(file, root, partition, split_folders(root), name)


def _splits(source: str) -> tuple[str, ...]:
    place = _place(source)
    if place.folders:
        return tuple(split for split in SPLITS if split in place.folders)
    return SPLITS if place.partition is not None or _holds_out(place.file) else ("train",)


def _holds_out(file: Path) -> bool:
    return file.suffix.lower() == ".txt" and _count(file, _text(file)) >= ENOUGH


def _text(file: Path) -> str:
    try:
        return text_of(str(file), file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def _count(file: Path, text: str) -> int:
    """The count of images that CelebA's form states in its first line."""
    first = text.partition("\n")[0].strip()
    if not _COUNT.fullmatch(first):
        raise UserError(
            f"{file}, line 1: '{first[:40]}' is not a number of images. Such a file must be like CelebA's: the number, "
            "then the attributes' names, then one line for each image. If yours is a table with a header, name it "
            ".csv."
        )
    return int(first)


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    place = _place(source)
    known = suffixes()
    # Files without an ending may be images too, if the list says so.
    images = [entry for entry in walk(place.root) if Path(entry[0]).suffix.lower() in {*known, ""}]
    if not images:
        raise UserError(
            f"{source}: there are no images in {place.root}. Put the images of {place.file.name} there."
        )
    beside = stamp([file for file in (place.file, place.partition) if file is not None])
    identity = {"folder": str(place.root.absolute()), "files": images, "lists": beside, "labels": RULES}
    return Found(place.name, identity, lambda: _content(place, [name for name, _, _ in images], split))


def _content(place: _Place, images: list[str], split: str) -> Content:
    listed = _read(place.file)
    matched = match(images, listed.files)
    # Of files without an ending only those are images that the list names: a README is none.
    own = [number for number, image in enumerate(images) if matched[number] or Path(image).suffix]
    images, matched = [images[number] for number in own], [matched[number] for number in own]
    for image, (one, *others) in ((image, mine) for image, mine in zip(images, matched, strict=True) if mine):
        other = next((line for line in others if (listed.bits[line] != listed.bits[one]).any()), None)
        if other is not None:
            raise UserError(
                f"{place.file}, line {listed.lines[other]}: {image} has other attributes in line {listed.lines[one]}. "
                "Keep only one of the two lines."
            )
    lines = [mine[0] if mine else None for mine in matched]
    if not any(matched):
        theirs = f"It names '{listed.files[0]}'" if listed.files else "It names nothing"
        raise UserError(
            f"{place.file} names none of the {len(images):,} images in {place.root}. {theirs}; one of the images is "
            f"'{images[0]}'. Correct the names."
        )
    lone = len(listed.files) - len({line for mine in matched for line in mine})
    notes = [f"{lone:,} lines of {place.file.name} have no image in {place.root}"] if lone else []
    in_split, told = _of_split(place, images, lines, listed, split)
    kept = [number for number, mine in enumerate(in_split) if mine]
    notes += [*told, *_lists_beside(place)]
    labels = np.zeros((len(kept), len(listed.attributes)), np.int64)
    for number, image in enumerate(kept):
        if (line := lines[image]) is not None:
            labels[number] = listed.bits[line]

    stems = {PurePosixPath(name.replace("\\", "/")).stem.lower() for name in listed.files}

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        for image in (kept[number] for number in numbers):
            own = " of its own" if Path(images[image]).stem.lower() in stems else ""  # 1.png of train/ and of test/
            reason = f"no line{own} in {place.file.name}"
            yield Item(images[image], reason if lines[image] is None else place.root / images[image])

    return Content(len(kept), read, labels, notes=tuple(notes), attributes=listed.attributes)


def _lists_beside(place: _Place) -> list[str]:
    """Notes on lists of labels that lie beside the list of attributes, which alone is read."""
    inside = sorted(name for name in os.listdir(place.root) if name.lower() in LISTS)
    return [f"{name} is not read, since {place.file.name} is" for name in inside if place.root / name != place.file]


def _of_split(
    place: _Place, images: list[str], lines: list[int | None], listed: _List, split: str
) -> tuple[list[bool], list[str]]:
    """Whether each image belongs to the split, and notes."""
    if place.folders:
        inside = f"{place.folders[split].name}/"
        return [image.startswith(inside) for image in images], []
    if place.partition is not None:
        parts, missing = _parts(place.partition, images)
        note = f"{missing:,} images have no line in {place.partition.name}, so they are for training"
        return [part == {"train": "0", "test": "2"}[split] for part in parts], [note] if missing else []
    order = list(range(len(listed.files)))
    random.Random(_SHUFFLE).shuffle(order)
    held_out = set(order[:_HELD_OUT]) if _holds_out(place.file) else set()
    return [(line in held_out) == (split == "test") for line in lines], []


def _parts(file: Path, images: list[str]) -> tuple[list[str], int]:
    """The number of each image's part, of a `list_eval_partition`, and how many images it does not name.

    Raises UserError with a wrong line, for two lines that say different things of an image, and if it names none.
    """
    rows = [(number, row.replace(",", " ").split()) for number, row in enumerate(_text(file).split("\n"), 1)]
    named, told, places = [], [], []
    for number, row in rows:
        if len(row) == 2 and row[1] in ("0", "1", "2"):
            named.append(row[0])
            told.append(row[1])
            places.append(number)
        elif row and number > 1:  # the first line may be a header
            raise UserError(
                f"{file}, line {number}: '{' '.join(row)[:40]}' is not a file and 0 (train), 1 (validation) or 2 "
                "(test). Correct it, or take the list away."
            )
    matched = match(images, named)
    if not any(matched):
        theirs = f"It names '{named[0]}'" if named else "It names nothing"
        raise UserError(
            f"{file} names none of the {len(images):,} images beside it. {theirs}; one of the images is '{images[0]}'. "
            "Correct the names, or take the list away."
        )
    for image, mine in zip(images, matched, strict=True):
        other = next((line for line in mine[1:] if told[line] != told[mine[0]]), None)
        if other is not None:
            raise UserError(
                f"{file}, line {places[other]}: {image} is in part {told[other]} here, but in part {told[mine[0]]} in "
                f"line {places[mine[0]]}. Keep only one of the two lines."
            )
    return [told[mine[0]] if mine else "0" for mine in matched], sum(not mine for mine in matched)


def _read(file: Path) -> _List:
    """A list in either form. Raises UserError with the line that is wrong."""
    text = _text(file)
    if file.suffix.lower() == ".csv":
        (_, header), *rows = table_of(str(file), text) or [(1, [])]
        names = header[1:]
    else:
        count = _count(file, text)
        (_, names), *rows = [
            (number, line.split()) for number, line in enumerate(text.split("\n"), 1) if line.strip()
        ][1:] or [(2, [])]  # fmt: skip
        if len(rows) != count:
            raise UserError(
                f"{file}: line 1 says {count:,} images, but {len(rows):,} lines follow the names. If the file "
                "was cut short, download it again; if you changed it, correct line 1."
            )
    if not names or len(set(names)) < len(names) or not all(names):
        problem = "has no attributes" if not names else (
            "names an attribute twice" if all(names) else "has an attribute without a name"
        )
        raise UserError(f"{file} {problem}. It needs one or more attributes, each with its own name.")
    if set(names) <= _VALUES.keys():
        raise UserError(
            f"{file} begins with the line of an image, not with the attributes' names. Write a first line such as: "
            "image,smiling,glasses"
        )
    bits = np.zeros((len(rows), len(names)), np.int64)
    for number, (line, (name, *values)) in enumerate(rows):
        where = f"{file}, line {line}"
        if len(values) != len(names):
            raise UserError(f"{where} ({name}): {len(values)} values for the {len(names)} attributes of its header.")
        try:
            bits[number] = [_VALUES[value.strip()] for value in values]
        except KeyError as error:
            wrong = next(at for at, value in enumerate(values) if value.strip() not in _VALUES)
            raise UserError(
                f"{where} ({name}): {names[wrong]} is '{values[wrong]}'. Accepted are 1, 0 and -1 (-1 counts as 0)."
            ) from error
    return _List(tuple(names), tuple(row[0] for _, row in rows), tuple(line for line, _ in rows), bits)


variant = Reader(
    what="images with a list of attributes beside them: attributes.csv, or CelebA's list_attr_celeba.txt",
    typed="FOLDER or FILE.csv",
    accepts=_accepts,
    splits=_splits,
    find=_find,
    before_folders=(_NAMED.rstrip(":"),),
)
