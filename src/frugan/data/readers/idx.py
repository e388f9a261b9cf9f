"""IDX files, the format of MNIST and of its successors (EMNIST, Fashion-MNIST, KMNIST), gzipped or not.

EMNIST's images are transposed in their files; they are turned back here. Its letters' labels are 1 to 26 in the files
and 0 to 25 here. A folder may hold several sets (`emnist-letters-...`, `emnist-digits-...`): the set with the folder's
name is used, or the set whose images file is given.
"""

from __future__ import annotations

import gzip
import os
import re
import string
import zlib
from pathlib import Path

import numpy as np

from frugan.data.readers import SPLITS, Content, Found, Reader, array_content, stamp
from frugan.registry import UserError

_IMAGES = re.compile(r"(?P<set>.*?)-?(?P<split>train|t10k|test)-images[-.]idx3-ubyte(\.gz)?")
_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # EMNIST's 47: letters alike in both cases are one
_CLASSES = {
    "emnist-letters": string.ascii_uppercase,
    "emnist-byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "emnist-bymerge": _MERGED,
    "emnist-balanced": _MERGED,
}


def _sets(path: Path) -> dict[str, dict[str, Path]]:
    """Set -> split -> file of images; of a file's folder, the set of that file."""
    only = None
    if path.is_file():
        match = _IMAGES.fullmatch(path.name)
        if match is None:
            return {}
        only, path = match["set"], path.parent
    sets: dict[str, dict[str, Path]] = {}
    # A folder of loose images is asked too, and may hold many: names only.
    for name in sorted(name for name in os.listdir(path) if "images" in name) if path.is_dir() else ():
        match = _IMAGES.fullmatch(name)
        if match and only in (None, match["set"]):
            split = "train" if match["split"] == "train" else "test"
            sets.setdefault(match["set"], {}).setdefault(split, path / name)
    return sets


def _set(source: str) -> tuple[str, dict[str, Path]]:
    path = Path(source)
    sets = _sets(path)
    if len(sets) == 1:
        return next(iter(sets.items()))
    if path.absolute().name in sets:
        return path.absolute().name, sets[path.absolute().name]
    files = [next(iter(splits.values())).name for splits in sets.values()]
    raise UserError(
        f"{source} holds several data sets ({', '.join(sets)}). Give a file of one of them, e.g. "
        f"{path / files[0]}"
    )


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    name, files = _set(source)
    images = files[split]
    labels = _labels_file(images)
    title = name or (Path(source).parent if Path(source).is_file() else Path(source)).absolute().name
    identity = {"idx": stamp([images] if labels is None else [images, labels]), "set": name}
    return Found(f"idx {title}", identity, lambda: _content(name, images, labels))


def _labels_file(images: Path) -> Path | None:
    """The labels beside `images`, gzipped or not, whichever way the images are."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    return next((file for file in (images.with_name(name), images.with_name(f"{name}.gz")) if file.is_file()), None)


def _content(name: str, images_file: Path, labels_file: Path | None) -> Content:
    images = _read(images_file, axes=3)
    if name.startswith("emnist"):
        images = images.transpose(0, 2, 1)
    images = images[..., None]
    if labels_file is None:
        return array_content(images, None, (), images_file.name)
    labels = _read(labels_file, axes=1).astype(np.int64)
    if len(labels) != len(images):
        raise UserError(
            f"{labels_file} holds {len(labels)} labels for {len(images)} images. Download both files again."
        )
    if name == "emnist-letters":
        labels -= 1
    classes = _CLASSES.get(name) or [str(number) for number in range(labels.max(initial=9) + 1)]
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(f"{labels_file} has labels outside the {len(classes)} classes of {name}. Download it again.")
    return array_content(images, labels, classes, images_file.name)


def _read(file: Path, axes: int) -> np.ndarray:
    """The bytes of an IDX file. Raises UserError if it is none, or shorter than it says."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} is damaged: it cannot be unpacked ({error}). Download it again.") from error
    header = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) < header:
        raise UserError(
            f"{file} should be an IDX file of bytes with {axes} axes, by its name, but it is not. Download it again."
        )
    shape = np.frombuffer(data, ">u4", count=axes, offset=4).astype(int)
    if len(data) != header + shape.prod():
        raise UserError(
            f"{file} is damaged: it has {len(data):,} bytes, but its header says {header + shape.prod():,}. Download "
            "it again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


variant = Reader(
    what="IDX files of MNIST and EMNIST, gzipped or not",
    typed="FOLDER or FILE",
    accepts=lambda source: bool(_sets(Path(source))),
    splits=lambda source: tuple(split for split in SPLITS if split in _set(source)[1]),
    find=_find,
)
