"""A source as typed becomes what is read: its reader, its folder, its split, and what is asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from frugan.data import readers
from frugan.data._named import NAMED, locate
from frugan.data.pack import Wanted, readable
from frugan.data.readers import SPLITS, Found, Reader
from frugan.files import expanded
from frugan.registry import UserError, suggest

Size = Annotated[int | Sequence[int], "the side in pixels, such as 64, or height and width, such as (48, 64)"]
"""The size that images are brought to."""

Classes = Annotated[Sequence[str | int], "a list of classes, such as ['7', '9']"]
"""Classes by name or number."""

_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def wanted_of(
    size: Size | None, channels: int | None, only: Classes, limit: int | None
) -> Wanted:
    """What is asked for, checked before any file is opened."""
    sides = () if size is None else (size, size) if isinstance(size, int) else tuple(size)
    if size is not None and (len(sides) != 2 or min(sides) < 1):
        raise UserError(f"data.size={size}: give the side in pixels, e.g. 64, or height and width, e.g. [48,64].")
    if channels not in (None, 1, 3):
        raise UserError(f"data.channels={channels}: give 1 (grey) or 3 (red, green, blue).")
    if limit is not None and limit < 1:
        raise UserError(f"data.limit={limit}: give a number of images, 1 or more.")
    return Wanted((sides[0], sides[1]) if sides else None, channels, tuple(only), limit)


def find(source: str, split: str, size: tuple[int, int] | None, cache: Path | None) -> Found:
    """One split of a source, found by its reader. Raises UserError if there is no such source or split."""
    check_split(split)
    place, name, reader = _resolve(source, cache)
    splits = readable(lambda: reader.splits(place), source)
    if split not in splits:
        others = f"only {', '.join(splits)}" if splits else "and no others"
        raise UserError(
            f"{source} has no {split} images, {others}. Add them as this kind of source needs "
            f"them ({reader.what}), or use another split."
        )
    found = readable(lambda: reader.find(place, split, size), source)
    return found if name is None else dataclasses.replace(found, name=name)


def has_split(source: str, split: str) -> bool:
    """Whether the source has images of that split (``test``: held out). Raises UserError if there is no such source."""
    check_split(split)
    place, _, reader = _resolve(source, None)
    return split in readable(lambda: reader.splits(place), source)


def check_split(split: str) -> None:
    """Raise UserError for a split that no source can have."""
    if split not in SPLITS:
        raise UserError(f"There is no split called '{split}'. {suggest(split, SPLITS)}")


def _resolve(source: str, cache: Path | None) -> tuple[str, str | None, Reader]:
    """The source as its reader takes it (a named one as its folder), its own name if it has one, and the reader."""
    if source.endswith(":") and not Path(source).exists():  # as of "flat:$PHOTOS" where nothing is in PHOTOS
        raise UserError(f"{source}: nothing stands behind the colon. Type what is meant, e.g. {source}FOLDER")
    name = source if source in NAMED else None
    place = locate(name, cache) if name else source if ":" in source else str(expanded(source))
    kinds = {kind: readers.find(kind) for kind in readers.names()}
    taking = readable(lambda: [kind for kind, one in kinds.items() if not one.loose and one.accepts(place)], source)
    if len(taking) > 1:
        raise UserError(
            f"{source}: this folder holds {' and '.join(taking)} files, so it is unclear which are meant. Give "
            "one file."
        )
    taking = taking or [kind for kind, reader in kinds.items() if reader.loose and reader.accepts(place)]
    if not taking:
        raise _unknown(source, place, list(kinds.values()))
    return place, name, kinds[taking[0]]


def _unknown(source: str, place: str, kinds: Sequence[Reader]) -> UserError:
    path = Path(place)
    if path.is_file() and path.suffix.lower() in _ARCHIVES:
        return UserError(
            f"{source} is an archive, and only .zip archives are read as they are. Unpack it and give the "
            f"folder, e.g. --data {path.with_suffix('')}"
        )
    if path.exists():
        return UserError(
            f"{source}: frugan cannot read this kind of file. It reads: "
            f"{'; '.join(kind.what for kind in kinds)}."
        )
    if "/" in source:
        return UserError(
            f"{source}: there is no such file or folder. Correct it. If a run's images were moved, say where they are "
            "now: frugan train ... --data FOLDER, or frugan evaluate RUN --real FOLDER."
        )
    named = [*NAMED, *(entry[0] for kind in kinds for entry in kind.built_in)]
    return UserError(f"{source}: there is no file, folder or named source like this. {suggest(source, named)}")
