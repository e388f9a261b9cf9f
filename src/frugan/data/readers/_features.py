"""Find the columns of images and of labels in a table of the Hugging Face layout (parquet files and the Hub)."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from frugan.data.readers import Item
from frugan.registry import UserError

_IMAGES = ("image", "img", "images", "picture", "photo")
_LABELS = ("label", "labels", "fine_label", "class", "target")


class Columns(NamedTuple):
    """The image column, the label column with its classes' names (if any), and columns that may be attributes."""

    image: str
    label: str | None
    classes: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]  # name -> its classes' names, () for yes and no


def columns(source: str, names: Sequence[str], features: Mapping[str, Any], types: Mapping[str, str]) -> Columns:
    """Choose the columns of images and of labels by their declared types, or else by the usual names.

    A label column with a usual name, or the only label column, gives classes. Several label columns may be attributes.
    If there is no label column, columns of whole numbers or of yes and no may be. `bits` decides by their values.

    Args:
        types: plain types such as ``bool`` and ``int64``, for columns without a declared type.

    Raises:
        UserError: when no column looks like images, or several do.
    """
    typed = {kind: [name for name in names if _type(features, name) == kind] for kind in ("Image", "ClassLabel")}
    images = typed["Image"] or [name for name in _IMAGES if name in names]
    if len(images) != 1:
        problem = f"several columns of images ({', '.join(images)})" if images else "no column of images"
        raise UserError(
            f"{source}: {problem} among {', '.join(names)}. There must be exactly one, of the type Image or "
            f"called {' or '.join(_IMAGES[:2])}. Keep only the one that you mean, and write the table again."
        )
    yes_no = [name for name in names if _plain(features, types, name) == "bool"]
    usual = [name for name in _LABELS if name in (typed["ClassLabel"] or names)]
    if usual or (len(typed["ClassLabel"]) == 1 and not yes_no):
        label = (usual or typed["ClassLabel"])[0]
        return Columns(images[0], label, _names(features, label), {})
    several = [name for name in names if name in (*typed["ClassLabel"], *yes_no)]
    whole = [name for name in names if "int" in _plain(features, types, name)]
    return Columns(images[0], None, (), {name: _names(features, name) for name in several or whole})


def _names(features: Mapping[str, Any], name: str) -> tuple[str, ...]:
    given = features.get(name)
    return tuple(given.get("names") or ()) if isinstance(given, Mapping) else ()


def _plain(features: Mapping[str, Any], types: Mapping[str, str], name: str) -> str:
    given = features.get(name)
    return str(given.get("dtype") or "") if isinstance(given, Mapping) else types.get(name, "")


def bits(
    table: Mapping[str, Sequence[Any]], names: Mapping[str, tuple[str, ...]]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns as attributes, int64 ``[count, bits]``, and the attributes' names; ``[count, 0]`` if none can be used.

    A column of yes and no, of 0 and 1 or of -1 and 1 is one attribute with the column's name. A column of more than two
    classes gives one attribute for each class, called ``column_class``. Other columns, and columns with missing values,
    are not used.
    """
    attributes: dict[str, np.ndarray] = {}
    count = 0
    for column, values in table.items():
        count, classes = len(values), names[column]
        given = {value for value in values}
        if len(classes) > 2 and None not in given and all(0 <= value < len(classes) for value in given):
            attributes |= {
                f"{column}_{name}": np.array([value == number for value in values])
                for number, name in enumerate(classes)
            }
        elif given <= {0, 1} or given <= {-1, 1}:  # True is 1
            attributes[column] = np.array([value == 1 for value in values])
    if not attributes:
        return np.zeros((count, 0), np.int64), ()
    return np.stack(list(attributes.values()), axis=1).astype(np.int64), tuple(attributes)


def _type(features: Mapping[str, Any], name: str) -> str | None:
    given = features.get(name)
    return given.get("_type") if isinstance(given, Mapping) else None


class Numbered(NamedTuple):
    """Labels as numbers of classes, int64 (None if there are none), the classes' names, and notes.

    `missing` are the rows without a label, in sources where others have one: they are to be set aside. Their number, 0,
    means nothing.
    """

    labels: np.ndarray | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    missing: frozenset[int] = frozenset()


def numbered(
    values: Sequence[Any], classes: tuple[str, ...], name: Callable[[int], str] = lambda row: f"row {row}"
) -> Numbered:
    """A column of labels as classes.

    Words are numbered in alphabetical order. Whole numbers are the classes' numbers if at least half of those from 0 to
    the largest occur, or `classes` declares them; else each is a class of its own name. A missing label is None, not a
    number, or -1, as in the Hub's test splits: where classes are declared, or all are -1.

    Args:
        name: what a note calls a row.
    """
    blank = -1 if classes or all(value == -1 for value in values) else None
    known = {row: value for row, value in enumerate(values) if not (value is None or value == blank or value != value)}
    if not known:
        return Numbered(None, (), ("unlabelled: no image has a label",))
    odd = next((row for row, value in known.items() if not isinstance(value, str) and not _is_whole(value)), None)
    if odd is not None:
        note = f"unlabelled: the label of {name(odd)} is {str(known[odd])[:40]}, but classes are whole numbers or words"
        return Numbered(None, (), (note,))
    notes: tuple[str, ...] = ()
    if any(isinstance(value, str) for value in known.values()):
        known = {row: value if isinstance(value, str) else str(int(value)) for row, value in known.items()}
        present: list[Any] = sorted(set(known.values()))
        classes = tuple(present)
    else:
        known = {row: int(value) for row, value in known.items()}
        present = sorted(set(known.values()))
        if present[0] >= 0 and present[-1] < max(len(classes), 2 * len(present)):
            classes = classes if present[-1] < len(classes) else tuple(map(str, range(present[-1] + 1)))
            present = list(range(len(classes)))
        else:
            classes = tuple(map(str, present))
            shown = f"{', '.join(classes[:4])}{' ...' if len(classes) > 4 else ''}"
            notes = (f"its labels {shown} are no numbers that run on from 0, so they are taken for names of classes",)
    place = {value: number for number, value in enumerate(present)}
    labels = np.zeros(len(values), np.int64)
    labels[list(known)] = [place[value] for value in known.values()]
    return Numbered(labels, classes, notes, frozenset(range(len(values))) - known.keys())


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Real) and float(value).is_integer()


def labelled(items: Iterable[Item], rows: Iterable[int], missing: frozenset[int], column: str | None) -> Iterator[Item]:
    """The items of these rows; of those without a label the reason instead."""
    reason = f"no label in the column {column}"
    for item, row in zip(items, rows, strict=True):
        yield Item(item.path, reason) if row in missing else item
