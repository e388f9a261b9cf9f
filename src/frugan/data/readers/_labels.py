"""The labels of image files: what a list beside them says, or else their folders.

Lists are StyleGAN's `dataset.json`, and tables as in the Hugging Face layout: `metadata.jsonl`, `metadata.csv`, or
`labels.csv`. Where one is there, folders are no classes. Otherwise two or more folders are classes, unless they look
like the parts of one set: StyleGAN's 00000, 00001 ... or FFHQ's 00000, 01000 ..., with equally many images each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers._features import numbered
from frugan.data.readers._matching import match
from frugan.data.readers._texts import DIGITS, json_of, table_of, text_of
from frugan.registry import UserError

RULES = 4
"""Version of these rules and of how names are matched: a pack that was labelled by others is made anew."""

LISTS = ("dataset.json", "metadata.jsonl", "metadata.csv", "labels.csv")
"""Lists of labels, in the order in which they are looked for. Capitals do not matter."""

_STEMS = tuple(name[: name.rindex(".") + 1] for name in LISTS)

FEW = 0.02
"""If no more than this share of the files are images beside class folders, these are set aside; else nothing has a
class.
"""

_NUMBER = re.compile(rf"-?[0-9]{{1,{DIGITS}}}(\.0*)?")  # 3.0 is what pandas makes of 3 where a label is missing
_FILES = ("file_name", "filename", "file", "image", "img", "path", "name", "id")
_LABELS = ("label", "labels", "class", "category", "target")
_SHOWN = 4  # classes that a note names


@dataclass(frozen=True)
class Labels:
    """The files that count as images, what they are labelled with, and why some cannot be used."""

    files: list[str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)


def read_labels(files: Sequence[str], read: Callable[[str], bytes], kind: str = "") -> Labels:
    """The labels of `files`, paths below one folder.

    `kind` is "flat" if nothing shall label them, or "classes" if folders are classes whatever they look like. Raises
    UserError for a list that cannot be read, that contradicts itself, or that names none of the images.
    """
    lists = {file.lower(): file for file in files if file.lower() in LISTS}
    nearly = [file for file in files if _is_nearly_list(file.lower())]
    images = [file for file in files if file.lower() not in LISTS and file not in nearly]
    if kind == "flat":
        return Labels(images)
    name = next((lists[name] for name in LISTS if name in lists), None)
    told = _of_folders(images, kind) if name is None or kind == "classes" else _of_list(images, name, read(name))
    notes = [f"{file} is not read: a list of labels is called {', '.join(LISTS)}" for file in nearly]
    return replace(told, notes=(*told.notes, *notes))


def _is_nearly_list(file: str) -> bool:
    """Whether a file, in small letters, is called as a list of labels but for its ending: it is no image."""
    stem, dot, ending = file.rpartition(".")
    return ending in ("json", "jsonl", "csv", "tsv", "txt") and file not in LISTS and f"{stem}{dot}" in _STEMS


# ------------------------------------------------------------------------------------------------------------- folders


def _of_folders(files: Sequence[str], kind: str) -> Labels:
    listed = list(files)
    folders = Counter(name.partition("/")[0] for name in files if "/" in name)
    if len(folders) < 2:
        return Labels(listed)
    beside = [name for name in files if "/" not in name and _is_image(name)]
    if len(beside) > FEW * len(files):
        note = f"unlabelled: images such as {beside[0]} lie beside the class folders, without a class"
        return Labels(listed, notes=(note,))
    are_numbers = all(name.isdecimal() for name in folders)
    names = sorted(folders, key=lambda name: (int(name) if are_numbers else 0, name))
    if kind != "classes" and _are_parts(names, folders):
        note = f"unlabelled: its folders {_some(names)} hold {folders[names[0]]:,} images each, as parts of one set do"
        return Labels(listed, notes=(f"{note}. If they are classes: --data classes:FOLDER",))
    place = {name: number for number, name in enumerate(names)}
    # What lies beside the class folders here is no image and will be set aside; its label is never used.
    labels = np.array([place.get(name.partition("/")[0], 0) for name in files], np.int64)
    note = f"its {len(names)} folders {_some(names)} are taken for classes. If they are none: --data flat:FOLDER"
    return Labels(listed, labels, tuple(names), (note,), dict.fromkeys(beside, "beside the class folders"))


def _are_parts(names: Sequence[str], counts: Counter[str]) -> bool:
    """Whether folders look like the parts of one set: numbers of five digits or more, all full but the last."""
    full = {counts[name] for name in names[:-1]}
    widths = {len(name) for name in names}
    return (
        all(name.isdecimal() for name in names) and len(widths) == 1 and min(widths) >= 5
        and len(full) == 1 and counts[names[-1]] <= min(full)
    )  # fmt: skip


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes()


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


# --------------------------------------------------------------------------------------------------------------- lists


class _Listed(NamedTuple):
    """What a list says: names of files, the label of each (None for none), and where in the list each stands."""

    files: list[str]
    labels: list[Any]
    places: list[str]


def _of_list(images: Sequence[str], name: str, data: bytes) -> Labels:
    text = text_of(name, data)
    if not images:
        raise UserError(f"there are no images beside {name}. Put them there, or name another folder.")
    told = _of_json(name, text) if name.lower().endswith(".json") else _of_table(name, text)
    if told is None:
        table = "" if name.lower().endswith(".json") else f" in a column called {', '.join(_LABELS)}"
        note = f"unlabelled: {name} holds no labels{table}, and folders are no classes beside it"
        return Labels(list(images), notes=(note,))
    written = [value.strip() or None if isinstance(value, str) else value for value in told.labels]
    matched = match(images, told.files)
    if not any(matched):
        theirs = f"It names '{' '.join(told.files[0].split())[:80]}'" if told.files else "It names nothing"
        raise UserError(
            f"{name} names none of the {len(images):,} images beside it. {theirs}; one of the images is '{images[0]}'. "
            "Correct the names, or take the list away to use the images alone."
        )
    reasons: dict[str, str] = {}
    values: list[Any] = []
    for image, lines in zip(images, matched, strict=True):
        if not lines:
            reasons[image] = f"no line in {name}"
        other = next((line for line in lines[1:] if written[line] != written[lines[0]]), None)
        if other is not None:
            one, two = (f"'{written[line]}' in {told.places[line]}" for line in (lines[0], other))
            raise UserError(f"{name}: the label of '{image}' is {one} and {two}. Keep only one of them.")
        values.append(written[lines[0]] if lines else None)
    labels, classes, notes, missing = numbered(_as_numbers(values), (), lambda row: f"'{images[row]}'")
    if labels is None:
        return Labels(list(images), notes=notes)
    for row in missing:
        reasons.setdefault(images[row], f"no label in {name}")
    note = f"{name} gives it {len(classes)} classes: {_some(classes)}"
    return Labels(list(images), labels, classes, (note, *notes), reasons)


def _of_json(name: str, text: str) -> _Listed | None:
    """What a `dataset.json` says; None if it says that it has no labels."""
    content = json_of(name, text)
    labels = content["labels"] if isinstance(content, dict) and "labels" in content else ""
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if pairs is None or pairs == []:
        return None
    wrong = next((at for at, pair in enumerate(pairs) if not _is_pair(pair)), 0) if isinstance(pairs, list) else 0
    if not isinstance(pairs, list) or not _is_pair(pairs[wrong]):
        where = f"entry {wrong + 1} of its labels is" if isinstance(pairs, list) else "it is"
        raise UserError(
            f'{name} must be like {{"labels": [["a.png", 0], ["b.png", 1]]}}, but {where} another thing. Correct it, '
            "or take it away to use the images alone."
        )
    places = [f"entry {number + 1}" for number in range(len(pairs))]
    return _Listed([str(pair[0]) for pair in pairs], [pair[1] for pair in pairs], places)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and _is_name(entry[0])


def _is_name(value: Any) -> bool:
    """Whether a value may name a file; one that is called by its number may be a number."""
    return isinstance(value, (str, int)) and bool(str(value).strip())


def _of_table(name: str, text: str) -> _Listed | None:
    """What a table says; None if it has no column of labels."""
    rows = _objects(name, text) if name.lower().endswith(".jsonl") else _rows(name, text)
    columns = {key.strip().lower(): key for _, row in rows for key in row}
    if not rows:
        return None
    file = next((columns[key] for key in _FILES if key in columns), None)
    if file is None:
        raise UserError(
            f"{name} has no column {' or '.join(_FILES[:3])} among {', '.join(columns)}. Name the column of the files "
            "so, or take the list away to use the images alone."
        )
    label = next((columns[key] for key in _LABELS if key in columns), None)
    if label is None:
        return None
    nameless = next((line for line, row in rows if not _is_name(row.get(file))), None)
    if nameless is not None:
        raise UserError(f"{name}, line {nameless}: the column {file} names no file. Name one, or delete the line.")
    files, labels = [str(row[file]) for _, row in rows], [row.get(label) for _, row in rows]
    return _Listed(files, labels, [f"line {line}" for line, _ in rows])


def _objects(name: str, text: str) -> list[tuple[int, dict[str, Any]]]:
    """The lines of a `metadata.jsonl`."""
    rows = [
        (number, json_of(f"{name}, line {number}", line))
        for number, line in enumerate(text.split("\n"), 1) if line.strip()  # JSON may hold what else ends lines
    ]  # fmt: skip
    wrong = next((number for number, row in rows if not isinstance(row, dict)), None)
    if wrong is not None:
        raise UserError(f'{name}, line {wrong}: a line must be like {{"file_name": "a.png", "label": 0}}. Correct it.')
    return rows


def _rows(name: str, text: str) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table by the names of its header; what is empty or not a number has no value."""
    (_, header), *rows = table_of(name, text) or [(1, [])]
    for line, row in rows:
        if len(row) > len(header) and any(row[len(header) :]):
            raise UserError(
                f"{name}, line {line}: {len(row)} cells, but the header has {len(header)}. Write what has a comma in "
                "it between quotation marks."
            )
    whole = [(line, zip_longest(header, row[: len(header)], fillvalue="")) for line, row in rows]
    return [(line, {key: None if cell.lower() in ("", "nan") else cell for key, cell in row}) for line, row in whole]


def _as_numbers(values: Sequence[Any]) -> list[Any]:
    """Labels that are all written as whole numbers, each in one way only, as numbers; others as they are."""
    written = {value for value in values if value is not None} if all(_is_cell(value) for value in values) else set()
    numbers = {value: int(value.partition(".")[0]) for value in written if _NUMBER.fullmatch(value)}
    if not written or len(set(numbers.values())) < len(written):  # 01 and 1 are words: they may well differ
        return list(values)
    return [None if value is None else numbers[value] for value in values]


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str)
