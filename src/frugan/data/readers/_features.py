"""Find the columns of images and of labels in a table of the Hugging Face layout (parquet files and the Hub)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

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
    numbers = [name for name in names if "int" in _plain(features, types, name)]
    return Columns(images[0], None, (), {name: _names(features, name) for name in several or numbers})


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


def numbered(
    values: Sequence[Any], classes: tuple[str, ...]
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """A label column as int64 numbers, the classes' names, and notes. The numbers are None if any row has no label.

    Labels that are words are numbered in alphabetical order. A missing label is None or, in the Hub's test splits, -1.
    """
    if any(value is None or (not isinstance(value, str) and value < 0) for value in values):
        return None, (), ("unlabelled: some images have no label",)
    if any(isinstance(value, str) for value in values):
        words = [str(value) for value in values]
        classes = tuple(sorted(set(words)))
        place = {name: number for number, name in enumerate(classes)}
        return np.array([place[word] for word in words], np.int64), classes, ()
    if any(int(value) != value for value in values):
        return None, (), ("unlabelled: the labels are not whole numbers",)
    labels = np.array(values, np.int64)
    if len(classes) <= labels.max(initial=-1):
        classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    return labels, classes, ()
