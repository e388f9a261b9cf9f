"""A zip archive of image files, read as it is: laid out and labelled as the folder that it would unpack to."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from frugan.data._convert import suffixes
from frugan.data.readers import Content, Found, Item, Reader, stamp
from frugan.data.readers._labels import RULES, read_labels
from frugan.data.readers._walk import choose_splits, is_hidden
from frugan.files import DAMAGED_ARCHIVE
from frugan.registry import UserError

LARGEST = 500_000_000
"""Bytes that one file may unfold to: an image has fewer."""


def _files(source: str) -> dict[str, dict[str, str]]:
    """The files of each split: their paths below its folder, and how the archive calls them."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry.filename for entry in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{source}: this is no whole zip archive ({error}). Make or fetch it again.") from None
    named = {entry.replace("\\", "/"): entry for entry in entries}  # backslashes are of old Windows programs
    whole = sorted(name for name in named if not name.endswith("/") and not any(map(is_hidden, name.split("/"))))
    folder = _common(whole)
    files = {name[len(folder) :]: named[name] for name in whole}
    with_images = {top for top, _, name in (file.partition("/") for file in files)
                   if "/" not in name and PurePosixPath(name).suffix.lower() in suffixes()}  # fmt: skip
    tops = dict.fromkeys(file.partition("/")[0] for file in files if "/" in file)
    splits = choose_splits(tops, with_images.__contains__)
    if not splits:
        return {"train": files} if files else {}
    return {
        split: {file[len(top) + 1 :]: entry for file, entry in files.items() if file.startswith(f"{top}/")}
        for split, top in splits
    }  # fmt: skip


def _common(names: Sequence[str]) -> str:
    """The one folder that holds everything, with its slash; empty if there is none."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    path = Path(source)
    files = _files(source).get(split, {})
    if not files:
        raise UserError(f"{source}: there are no files in this archive. Put images there, or name another.")
    return Found(f"archive {path.stem}", {"zip": stamp([path]), "labels": RULES}, lambda: _content(source, files))


def _content(source: str, files: dict[str, str]) -> Content:
    archive = zipfile.ZipFile(source)

    def read_list(name: str) -> bytes:
        data = _bytes(archive, files[name])
        if isinstance(data, str):
            raise UserError(f"{name} cannot be read: {data}. Correct it, or take it away to use the images alone.")
        return data

    try:
        told = read_labels(list(files), read_list)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        for name in (told.files[number] for number in numbers):
            yield Item(name, told.reasons.get(name) or _bytes(archive, files[name]))

    return Content(len(told.files), read, told.labels, told.classes, told.notes)


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes | str:
    """A file of the archive, or why it cannot be read."""
    if archive.getinfo(name).file_size > LARGEST:
        return f"unfolds to more than {LARGEST // 1_000_000} MB"
    try:
        return archive.read(name)
    except DAMAGED_ARCHIVE as error:
        return str(error)


variant = Reader(
    what="a .zip archive of such a folder, read as it is",
    typed="FILE.zip",
    accepts=lambda source: Path(source).suffix.lower() == ".zip" and Path(source).is_file(),
    splits=lambda source: tuple(_files(source)),
    find=_find,
)
