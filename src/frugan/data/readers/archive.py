"""A zip archive of image files, read as it is: laid out and labelled as the folder that it would unpack to."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from frugan.data.readers import SPLIT_NAMES, SPLITS, Content, Found, Item, Reader, stamp
from frugan.data.readers._labels import RULES, read_labels
from frugan.data.readers._walk import LEFT_BY_SYSTEMS
from frugan.registry import UserError

LARGEST = 500_000_000
"""Bytes that one file may unfold to: an image has fewer."""


def _names(source: str) -> dict[str, list[str]]:
    """The files of each split, by their whole names in the archive."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{source}: this is no whole zip archive ({error}). Make or fetch it again.") from None
    names = sorted(name for name in entries if not any(map(_hidden, name.split("/"))))
    folder = _common(names)
    inside = {name[len(folder) :].partition("/")[0].lower() for name in names if "/" in name[len(folder) :]}
    called = {split: next((one for one in SPLIT_NAMES[split] if one in inside), None) for split in SPLITS}
    if called["train"] is None:
        return {"train": names} if names else {}
    return {
        split: [name for name in names if name[len(folder) :].lower().startswith(f"{one}/")]
        for split, one in called.items() if one is not None
    }  # fmt: skip


def _hidden(part: str) -> bool:
    return part.startswith(".") or part.lower() in LEFT_BY_SYSTEMS


def _common(names: Sequence[str]) -> str:
    """The one folder that holds everything, with its slash; empty if there is none."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    path = Path(source)
    names = _names(source).get(split, [])
    if not names:
        raise UserError(f"{source}: there are no files in this archive. Put images there, or name another.")
    return Found(f"archive {path.stem}", {"zip": stamp([path]), "labels": RULES}, lambda: _content(source, names))


def _content(source: str, names: list[str]) -> Content:
    archive = zipfile.ZipFile(source)
    folder = _common(names)

    def read_list(name: str) -> bytes:
        data = _bytes(archive, folder + name)
        if isinstance(data, str):
            raise UserError(f"{name} cannot be read: {data}. Correct it, or take it away to use the images alone.")
        return data

    try:
        told = read_labels([name[len(folder) :] for name in names], read_list)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        for name in (told.files[number] for number in numbers):
            yield Item(name, told.reasons.get(name) or _bytes(archive, folder + name))

    return Content(len(told.files), read, told.labels, told.classes, told.notes)


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes | str:
    """A file of the archive, or why it cannot be read."""
    if archive.getinfo(name).file_size > LARGEST:
        return f"unfolds to more than {LARGEST // 1_000_000} MB"
    try:
        return archive.read(name)
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:  # encrypted, or damaged
        return str(error)


variant = Reader(
    what="a .zip archive of such a folder, read as it is",
    typed="FILE.zip",
    accepts=lambda source: Path(source).suffix.lower() == ".zip" and Path(source).is_file(),
    splits=lambda source: tuple(_names(source)),
    find=_find,
)
