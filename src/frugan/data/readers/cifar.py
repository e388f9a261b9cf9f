"""The binary version of CIFAR-10 and CIFAR-100.

A record is the label (CIFAR-100: coarse, then fine; the fine one is used) and 3,072 bytes: red, green and blue planes
of 32 x 32. The Python version is refused: it is a pickle, which can run code when it is read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frugan.data.readers import SPLITS, Content, Found, Reader, array_content, stamp
from frugan.registry import UserError

_PIXELS = 3 * 32 * 32
_UNPACKED = ("cifar-10-batches-bin", "cifar-100-binary")  # what the archives unpack to
_PICKLED = {"cifar-10-batches-py": "data_batch_1", "cifar-100-python": "train"}
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _folder(path: Path) -> Path:
    return next((path / name for name in _UNPACKED if (path / name).is_dir()), path)


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each split of either data set, if its training files are there or its test file."""
    folder = _folder(path)
    batches = sorted(folder.glob("data_batch_[0-9]*.bin"))
    if batches or (folder / "test_batch.bin").is_file():
        files = {"train": batches, "test": [folder / "test_batch.bin"]}
    elif (folder / "fine_label_names.txt").is_file():
        files = {"train": [folder / "train.bin"], "test": [folder / "test.bin"]}
    else:
        return {}
    return {split: parts for split, parts in files.items() if parts and all(part.is_file() for part in parts)}


def _pickled(path: Path) -> Path | None:
    """The folder of the Python version, if that is what `path` is or holds."""
    for name, file in _PICKLED.items():
        for folder in (path, path / name):
            meta = "batches.meta" if name == "cifar-10-batches-py" else "meta"
            if (folder / file).is_file() and (folder / meta).is_file():
                return folder
    return None


def _splits(source: str) -> tuple[str, ...]:
    path = Path(source)
    files = _files(path)
    if not files:
        raise UserError(
            f"{source}: {_pickled(path)} is the Python version of CIFAR, a pickle, which could run code when it "
            "is read. Use the binary version (cifar-10-binary.tar.gz, unpacked), or --data hub:uoft-cs/cifar10"
        )
    return tuple(split for split in SPLITS if split in files)


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    path = Path(source)
    files = _files(path)[split]
    hundred = files[0].name in ("train.bin", "test.bin")
    name = "cifar100" if hundred else "cifar10"
    return Found(f"binary {name}", {"cifar": stamp(files)}, lambda: _content(files, hundred))


def _content(files: list[Path], hundred: bool) -> Content:
    head = 2 if hundred else 1
    names_file = files[0].with_name("fine_label_names.txt" if hundred else "batches.meta.txt")
    names = names_file.read_text().split() if names_file.is_file() else _CIFAR10
    parts = []
    for file in files:
        data = np.fromfile(file, np.uint8)
        if len(data) == 0 or len(data) % (head + _PIXELS):
            raise UserError(
                f"{file} is damaged: {len(data):,} bytes are not a whole number of records of {head + _PIXELS:,} "
                "bytes. Download it again."
            )
        parts.append(data.reshape(-1, head + _PIXELS))
    records = np.concatenate(parts)
    labels = records[:, head - 1].astype(np.int64)
    if labels.max() >= len(names):
        raise UserError(
            f"{files[0]} is damaged: it has the label {labels.max()}, but there are only {len(names)} class names. "
            "Download it again."
        )
    images = records[:, head:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return array_content(images, labels, names, files[0].name)


variant = Reader(
    what="CIFAR-10 or CIFAR-100, binary version",
    typed="FOLDER",
    # The Python version is accepted in order to be refused with a reason.
    accepts=lambda source: bool(_files(Path(source))) or _pickled(Path(source)) is not None,
    splits=_splits,
    find=_find,
)
