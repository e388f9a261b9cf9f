"""An .npz file of numpy arrays: `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test` and the like.

Images are ``[count, height, width]``, ``[count, height, width, channels]`` or ``[count, channels, height, width]`` (if
both are possible, channels are last), as uint8, as uint16 (scaled by 255/65535), or as floats from 0 to 1.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frugan.data.readers import Content, Found, Reader, array_content, stamp
from frugan.data.readers._features import numbered
from frugan.files import DAMAGED_ARCHIVE
from frugan.registry import UserError

# Split -> names of the arrays of images and of labels; the first that is there is taken. `arr_0` is what numpy calls
# an array that was given no name, as several programs write their samples.
_NAMES = {
    "train": (
        ("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y"), ("arr_0", "arr_1"),
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("x_val", "y_val"), ("val_images", "val_labels")),
}


class _Arrays(NamedTuple):
    """The names of a split's images and labels, "" for none, and what to say of arrays that are not read."""

    images: str
    labels: str
    notes: tuple[str, ...]


def _arrays(source: str) -> dict[str, _Arrays]:
    """Split -> names of the arrays, without reading them."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{source} is not an .npz file ({error}). Write one with numpy.savez.") from error
    arrays: dict[str, _Arrays] = {}
    pairs = {split: next((pair for pair in known if pair[0] in names), None) for split, known in _NAMES.items()}
    unread = sorted(names - {name for pair in pairs.values() if pair for name in pair})
    for split, pair in pairs.items():
        if pair:
            labelled = pair[1] in names
            note = f"unlabelled: labels of {pair[0]} are called {pair[1]}; not read: {', '.join(unread)}"
            arrays[split] = _Arrays(pair[0], pair[1] if labelled else "", () if labelled or not unread else (note,))
    if not arrays:
        raise UserError(
            f"{source} holds the arrays {', '.join(sorted(names)) or '(none)'}. It must hold images (and "
            "perhaps labels), or x_train, x_test (and perhaps y_train, y_test)."
        )
    return arrays


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    path = Path(source)
    arrays = _arrays(source)[split]
    return Found(f"npz {path.stem}", {"npz": stamp([path]), "array": arrays.images}, lambda: _content(source, arrays))


def _content(source: str, named: _Arrays) -> Content:
    images_name, labels_name, untold = named
    try:
        with np.load(source, allow_pickle=False) as arrays:
            images = arrays[images_name]
            labels = arrays[labels_name] if labels_name else None
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{source}: {images_name} cannot be read: {error}") from error
    images = _bytes(source, images_name, _channels_last(source, images_name, images))
    if labels is None:
        return replace(array_content(images, None, (), images_name), notes=untold)
    if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise UserError(
            f"{source}: {labels_name} is {labels.dtype} {list(labels.shape)}. It must hold one whole number, 0 "
            f"or more, for each of the {len(images)} images."
        )
    present, places = np.unique(labels.reshape(-1), return_inverse=True)
    numbers, classes, notes, _ = numbered(present.tolist(), ())  # each once, as there may be millions
    chosen = None if numbers is None else numbers[places]
    return replace(array_content(images, chosen, classes, images_name), notes=notes)


def _channels_last(source: str, name: str, images: np.ndarray) -> np.ndarray:
    if 0 not in images.shape[1:]:
        if images.ndim == 3:
            return images[..., None]
        if images.ndim == 4 and images.shape[3] in (1, 3, 4):
            return images
        if images.ndim == 4 and images.shape[1] in (1, 3, 4):
            return images.transpose(0, 2, 3, 1)
    raise UserError(
        f"{source}: {name} has the shape {list(images.shape)}. It must be [count, height, width], with 1, 3 or "
        "4 channels last or second."
    )


def _bytes(source: str, name: str, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        return ((images.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    content = str(images.dtype)
    if images.dtype.kind == "f":
        low, high = float(images.min(initial=0)), float(images.max(initial=0))
        if low >= 0 and high <= 1:
            return np.rint(images * 255).astype(np.uint8)
        content = f"{images.dtype} from {low:g} to {high:g}"
    raise UserError(f"{source}: {name} is {content}. It must be uint8, uint16, or floats from 0 to 1.")


variant = Reader(
    what="an .npz file with images and labels, or x_train, y_train, x_test, y_test",
    typed="FILE.npz",
    accepts=lambda source: Path(source).suffix.lower() == ".npz" and Path(source).is_file(),
    splits=lambda source: tuple(_arrays(source)),
    find=_find,
)
