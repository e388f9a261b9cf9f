"""Readers: where images come from. Each public file reads one kind of source.

A reader works in two steps. `find` looks at names, sizes and times of files only and tells which images they are.
`Found.open` reads the images. So a source that was packed before is opened without reading its files again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frugan.registry import Registry

registry = Registry("data reader", "frugan.data.readers")
names = registry.names

SPLITS = ("train", "test")
# What folders and files of a split are called elsewhere; the first that is there is taken.
SPLIT_NAMES = {"train": ("train", "training"), "test": ("test", "testing", "validation", "valid", "val")}


class Item(NamedTuple):
    """One image of a source: `path` for messages; `content` is encoded bytes, a file, or uint8 pixels ``[h, w, c]``.

    If the source knows that an image cannot be used, `content` is the reason, in words.
    """

    path: str
    content: bytes | Path | np.ndarray | str


@dataclass(frozen=True)
class Content:
    """One split of a source, open for reading.

    Args:
        count: images in it, usable or not.
        read: the items with the given numbers (ascending), in that order.
        labels: int64 ``[count]`` of classes or ``[count, bits]`` of attributes, 0 or 1; None when unlabelled.
        classes: the classes' names, () where there are none.
        notes: what the user should know about how it was read.
        attributes: the names of the bits; () if there are none.
    """

    count: int
    read: Callable[[Sequence[int]], Iterator[Item]]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """One split of a source that was located but not read yet.

    Args:
        name: what it is called in titles.
        identity: plain JSON; changes whenever the images may have changed. The pack's key is made of it.
        open: reads it.
    """

    name: str
    identity: dict[str, Any] = field(repr=False)
    open: Callable[[], Content] = field(repr=False)


@dataclass(frozen=True)
class Reader:
    """One kind of source.

    Args:
        what: what it is, in a line for `frugan data list`.
        typed: what users type to use it, as shown there.
        accepts: whether a source (as typed, or a path) is of this kind.
        splits: which of `SPLITS` the source has.
        find: (source, split, size) -> one split, located but not read. The size (height, width) or None is for readers
            that draw images.
        built_in: sources that are always there: what users type, what it is, how many classes (0 for none).
        loose: whether this reader is tried only if no other reader accepts the source.
        before_folders: what may stand before a folder, with a colon between them (and a word behind it): flat:FOLDER.
        before_sources: what may stand before another source, with a colon, perhaps with a count between: stacked:mnist.
        terms: who may do what with these images, in a sentence; empty if that depends on the source.
    """

    what: str
    typed: str
    accepts: Callable[[str], bool]
    splits: Callable[[str], tuple[str, ...]]
    find: Callable[[str, str, tuple[int, int] | None], Found]
    built_in: tuple[tuple[str, str, int], ...] = ()
    before_folders: tuple[str, ...] = ()
    before_sources: tuple[str, ...] = ()
    loose: bool = False
    terms: str = ""


def find(name: str) -> Reader:
    """The reader called `name`. Raises UserError if there is none."""
    return registry.find(name)


def add(name: str, variant: Reader) -> Reader:
    """Register a reader of your own under `name`."""
    return registry.add(name, variant)


def stamp(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Absolute path, size and time of change of each file. After a file has changed, at least one differs."""
    return [(str(file.absolute()), (status := file.stat()).st_size, status.st_mtime_ns) for file in files]


def array_content(images: np.ndarray, labels: np.ndarray | None, classes: Sequence[str], source: str) -> Content:
    """The content of images that are in memory: uint8 ``[count, height, width, channels]``."""

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        return (Item(f"{source} image {number}", images[number]) for number in numbers)

    return Content(len(images), read, labels, tuple(classes) if labels is not None else ())
