"""The labels of image files: what a list beside them says, or else their folders.

Lists are StyleGAN's `dataset.json`, and tables as in the Hugging Face layout: `metadata.jsonl`, `metadata.csv`, or
`labels.csv`. Where one is there, folders are no classes. Otherwise two or more folders are classes, unless they look
like the parts of one set: StyleGAN's 00000, 00001 ... or FFHQ's 00000, 01000 ..., with equally many images each.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from frugan.data._convert import suffixes
from frugan.data.readers._features import numbered
from frugan.data.readers._matching import match
from frugan.registry import UserError

RULES = 2
"""Version of these rules and of how names are matched: a pack that was labelled by others is made anew."""

LISTS = ("dataset.json", "metadata.jsonl", "metadata.csv", "labels.csv")
"""Lists of labels, in the order in which they are looked for."""

FEW = 0.02
"""If no more than this share of the files are images beside class folders, these are set aside; else nothing has a
class.
"""

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
    UserError for a list that cannot be read, or that names none of the images.
    """
    if kind == "flat":
        return Labels([name for name in files if name not in LISTS])
    lists = [name for name in LISTS if name in files]
    if lists and kind != "classes":
        return _of_list(files, lists[0], read(lists[0]))
    return _of_folders(files, kind)


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
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


# --------------------------------------------------------------------------------------------------------------- lists


def _of_list(files: Sequence[str], name: str, text: bytes) -> Labels:
    images = [file for file in files if file not in LISTS]
    try:
        told = _of_json(text) if name == "dataset.json" else _of_table(name, text)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{name} cannot be read: {error}. Correct it, or take it away to use the images alone."
        ) from None
    if told is None:
        return Labels(images, notes=(f"unlabelled: {name} holds no labels, and folders are no classes beside it",))
    listed, values = told
    lines = match(images, listed)
    if all(line is None for line in lines):
        theirs = f"It names '{listed[0]}'" if listed else "It names nothing"
        raise UserError(
            f"{name} names none of the {len(images):,} images beside it. {theirs}; one of the images is '{images[0]}'. "
            "Correct the names, or take the list away to use the images alone."
        )
    known = [values[line] for line in lines if line is not None]
    labels, classes, notes = numbered(_as_numbers(known), ())
    reasons = {image: f"no line in {name}" for image, line in zip(images, lines, strict=True) if line is None}
    if labels is None:
        return Labels(images, notes=notes)
    placed = np.zeros(len(images), np.int64)
    placed[[number for number, line in enumerate(lines) if line is not None]] = labels
    note = f"{name} gives it {len(classes)} classes: {_some(classes)}"
    return Labels(images, placed, classes, (note, *notes), reasons)


def _of_json(text: bytes) -> tuple[list[str], list[Any]] | None:
    """Names and labels of a `dataset.json`; None if it has no labels, or none that are classes."""
    labels = json.loads(text)["labels"]
    pairs = list(labels.items()) if isinstance(labels, dict) else [(name, value) for name, value in labels or ()]
    if not pairs or any(not isinstance(value, (int, str)) for _, value in pairs):
        return None
    return [str(name) for name, _ in pairs], [value for _, value in pairs]


def _of_table(name: str, text: bytes) -> tuple[list[str], list[Any]] | None:
    """Names and labels of a table; None if it has no column of labels."""
    plain = text.decode("utf-8-sig")
    if name.endswith(".jsonl"):
        rows: list[dict[str, Any]] = [json.loads(line) for line in plain.splitlines() if line.strip()]
    else:
        rows = list(csv.DictReader(io.StringIO(plain), delimiter=delimiter(plain), skipinitialspace=True))
    if not rows:
        return None
    columns = {str(key).strip().lower(): key for key in rows[0]}
    file = next((columns[key] for key in _FILES if key in columns), None)
    if file is None:
        raise ValueError(f"no column {' or '.join(_FILES[:3])} among {', '.join(columns)}")
    label = next((columns[key] for key in _LABELS if key in columns), None)
    if label is None:
        return None
    values = [value.strip() if isinstance(value := row.get(label), str) else value for row in rows]
    return [str(row[file]) for row in rows], [None if value == "" else value for value in values]


def delimiter(table: str) -> str:
    """What stands between the columns of a table with a header: a comma, a semicolon or a tab."""
    header = table.partition("\n")[0]
    return max((",", ";", "\t"), key=header.count)


def _as_numbers(values: Sequence[Any]) -> list[Any]:
    """Labels that are all written as whole numbers, as numbers; others as they are."""
    if all(isinstance(value, str) and value.isdecimal() for value in values):
        return [int(value) for value in values]
    return list(values)
