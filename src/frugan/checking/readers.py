"""The contract of `frugan.data.readers`, checked on the sources that a reader says are always there."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frugan import data
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.data import readers
from frugan.data.readers import SPLITS, Reader

SIZE = (16, 16)


@dataclass(frozen=True)
class Checked:
    """A reader that is tested against its contract."""

    name: str
    ground: Ground

    @property
    def reader(self) -> Reader:
        """The reader as it is registered."""
        return readers.find(self.name)

    @functools.cached_property
    def source(self) -> str:
        """A built-in source of this reader, or our test pictures. Raises NotAsked if it has neither."""
        built_in = [source for source, *_ in self.reader.built_in]
        accepted = [source for source in (*built_in, str(self.ground.pictures)) if self.reader.accepts(source)]
        if not accepted:
            raise NotAsked("it has no built-in source to check. Check one of yours with frugan data check SOURCE.")
        return accepted[0]


def takes_its_own_sources_alone(reader: Checked) -> None:
    """It accepts its own sources and leaves the other readers' sources to them."""
    for source, *_ in reader.reader.built_in:
        if not reader.reader.accepts(source):
            raise NotKept(f"it says that '{source}' is built in, but it does not accept it.")
    others = [name for name in readers.names() if name != reader.name]
    for other in map(readers.find, others):
        for source, *_ in other.built_in:
            if reader.reader.accepts(source) and not reader.reader.loose:
                raise NotKept(f"it accepts '{source}', which belongs to another reader: accept only your own sources.")


def finds_splits_without_reading(reader: Checked) -> None:
    """It locates each split without reading it, with a name and an identity that stays while the images stay."""
    splits = reader.reader.splits(reader.source)
    if not splits or not set(splits) <= set(SPLITS):
        raise NotKept(f"'{reader.source}' has the splits {splits!r}, but only {' and '.join(SPLITS)} are allowed.")
    for split in splits:
        one, other = (reader.reader.find(reader.source, split, SIZE) for _ in range(2))
        if json.dumps(one.identity, sort_keys=True) != json.dumps(other.identity, sort_keys=True):
            raise NotKept(
                f"found twice, '{reader.source}' ({split}) has two identities, so it would be packed anew each time: "
                "make the identity from facts that change only with the images, e.g. "
                "frugan.data.readers.stamp(files)."
            )


def reads_what_it_says(reader: Checked) -> None:
    """It reads as many images as it counts, always the same ones, each with its label."""
    for split in reader.reader.splits(reader.source):
        content = reader.reader.find(reader.source, split, SIZE).open()
        numbers = sorted({0, content.count // 2, content.count - 1})
        one, other = (list(content.read(numbers)) for _ in range(2))
        if len(one) != len(numbers):
            raise NotKept(f"asked for {len(numbers)} images it gives {len(one)}.")
        for mine, theirs in zip(one, other, strict=True):
            if not isinstance(mine.content, (bytes, Path, np.ndarray, str)):
                raise NotKept(
                    f"'{mine.path}' is read as a {type(mine.content).__name__}: bytes, a path, or uint8 pixels."
                )
            if isinstance(mine.content, np.ndarray) and (mine.content.dtype != np.uint8 or mine.content.ndim != 3):
                raise NotKept(f"'{mine.path}' is {mine.content.dtype} {mine.content.shape}: uint8 [h, w, c] is wanted.")
            if not np.array_equal(np.asarray(mine.content), np.asarray(theirs.content)):
                raise NotKept(f"'{mine.path}' is another image when it is read again.")
        labels = content.labels
        if labels is not None:
            names = content.attributes or content.classes
            if len(labels) != content.count or labels.dtype != np.int64:
                raise NotKept(
                    f"labels are {labels.dtype} {labels.shape}; int64 [{content.count}] or [.., bits] is wanted."
                )
            if labels.ndim == 1 and not 0 <= labels.min() <= labels.max() < len(names):
                raise NotKept(
                    f"labels reach from {labels.min()} to {labels.max()}, and there are {len(names)} classes."
                )


def opens_as_a_data_set(reader: Checked) -> None:
    """Its images can be packed, and opening the pack again gives the same images."""
    split = reader.reader.splits(reader.source)[0]
    one, other = (
        data.open_dataset(reader.source, split=split, size=SIZE[0], channels=1, limit=40) for _ in range(2)
    )
    if one.content_hash != other.content_hash or not len(one):
        raise NotKept("opened twice it has two hashes.")


WHERE = "frugan.data.readers, Reader"

CONTRACT = Contract("data reader", readers.names, Checked, (
    Requirement(takes_its_own_sources_alone, f"{WHERE}.accepts"),
    Requirement(finds_splits_without_reading, f"{WHERE}.find"),
    Requirement(reads_what_it_says, "frugan.data.readers, Content", (finds_splits_without_reading,)),
    Requirement(opens_as_a_data_set, "frugan.data", (reads_what_it_says,)),
))  # fmt: skip
