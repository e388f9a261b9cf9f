"""Which columns of a table in the Hugging Face layout hold the images and the labels (parquet and Hub share it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from frugan.registry import UserError

_IMAGES = ("image", "img", "images", "picture", "photo")
_LABELS = ("label", "labels", "fine_label", "class", "target")


class Columns(NamedTuple):
    """The image column, and the label column with its classes' names where there is one."""

    image: str
    label: str | None
    classes: tuple[str, ...]


def columns(source: str, names: Sequence[str], features: Mapping[str, Any]) -> Columns:
    """Choose by the features' types, and by the usual names where types are missing.

    Raises:
        UserError: when no column looks like images, or several do.
    """
    typed = {kind: [name for name in names if _type(features, name) == kind] for kind in ("Image", "ClassLabel")}
    images = typed["Image"] or [name for name in _IMAGES if name in names]
    if len(images) != 1:
        found = f"several columns of images ({', '.join(images)})" if images else "no column of images"
        raise UserError(
            f"--data {source}: {found} among {', '.join(names)}; accepted is exactly one, of the type Image or called"
            f" {' or '.join(_IMAGES[:2])}. Keep only the one you mean and write the table anew."
        )
    labels = [name for name in _LABELS if name in (typed["ClassLabel"] or names)] or typed["ClassLabel"]
    if not labels:
        return Columns(images[0], None, ())
    given = features.get(labels[0])
    return Columns(images[0], labels[0], tuple(given.get("names") or ()) if isinstance(given, Mapping) else ())


def _type(features: Mapping[str, Any], name: str) -> str | None:
    given = features.get(name)
    return given.get("_type") if isinstance(given, Mapping) else None


def numbered(
    values: Sequence[Any], classes: tuple[str, ...]
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """A label column as int64 numbers, the classes' names, and notes; None where some row has no label.

    Labels that are words become numbers in alphabetical order; missing ones are None or, in the Hub's test splits, -1.
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
