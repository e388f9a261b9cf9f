"""Data: where real images come from. Any source is packed into bytes once, and batches are read from the pack.

A source is a string: `glyphs` (built in), a folder or file, `hub:owner/name`, or a named data set such as `mnist`,
which is searched for on this machine. If a source is missing, an error says where it was searched for; another source
is never used instead. `docs/data.md` lists all sources and the rules for converting unusual images.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from frugan import seeds, terminal
from frugan.arguments import Name, Source, strict
from frugan.batch import ImageShape
from frugan.countdown import counter
from frugan.data import readers
from frugan.data._absolute import absolute, paths
from frugan.data._attributes import groups_of, numbers_of
from frugan.data._balance import check_balance
from frugan.data._convert import Skipped, is_image
from frugan.data._holdout import check_holdout, usual_holdout
from frugan.data._look import Look, look
from frugan.data._named import NAMED, find_folder
from frugan.data._sources import Classes, Size, check_split, find, has_split, wanted_of
from frugan.data.batches import Batches
from frugan.data.pack import (
    Conversion,
    Pack,
    Progress,
    Wanted,
    attributes_hash,
    class_numbers,
    content_hash,
    convert_all,
    open_content,
    open_pack,
    renumber,
)
from frugan.data.readers import SPLITS, Content, Item
from frugan.data.readers._walk import walk
from frugan.files import expanded
from frugan.registry import UserError

__all__ = [
    "Batches", "CheckReport", "Dataset", "Look", "Named", "NamedImages", "Skipped", "SourceInfo",
    "absolute", "check", "check_balance", "contact_sheet", "has_split", "look", "open_dataset", "paths", "read_images",
    "sources", "tell_packing", "terms_of", "usual_holdout",
]  # fmt: skip

Attributes = Annotated[Sequence[str], "a list of names, such as ['Male', 'Young']"]
"""Attributes by name."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a source, packed and open for reading.

    Args:
        name: what it is called in titles, e.g. ``glyphs-digits``, ``mnist``, ``folder cats``.
        split: ``train`` or ``test``.
        shape: of one image.
        images: uint8 ``[count, channels, height, width]``, mapped from the pack.
        labels: int64 ``[count]`` of classes, or ``[count, bits]`` of attributes, each 0 or 1; None when unlabelled.
        classes: the classes' names, () where there are none.
        content_hash: 16 hex digits over image bytes, labels and shape.
        skipped: images of the source that could not be used.
        notes: what the user should know about how it was read (images enlarged, labels missing).
        folder: of the pack, with its manifest; None for what was never packed.
        attributes: the bits' names, () where there are none.
        exclusive: groups of bits, by number, of which an image has at most one.
        finer: the same images, larger, row by row; None if they were not asked for.
    """

    name: str
    split: str
    shape: ImageShape
    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    content_hash: str
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    attributes: tuple[str, ...] = ()
    exclusive: tuple[tuple[int, ...], ...] = ()
    finer: Dataset | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def title(self) -> str:
        """Name, split, count and hash: the heading of everything that is made with it."""
        return f"{self.name} ({self.split}, {len(self.images)} images, {self.content_hash[:8]})"

    @property
    def conditions(self) -> int:
        """The size of a network's condition for these data: how many classes or attributes; 0 when unlabelled."""
        return len(self.attributes or self.classes)

    def only(self, classes: Sequence[int | str]) -> Dataset:
        """The images of some classes, by number or name, in memory. New labels are positions in `classes`.

        Raises:
            UserError: a class does not exist, there are no labels, or the labels are attributes (then use `only` of
                `open_dataset`).
        """
        if self.attributes:
            raise UserError(
                f"{self.title} has attributes instead of classes. Choose images by attribute with open_dataset(..., "
                "only=...)."
            )
        chosen = class_numbers(self.title, self.classes, classes)
        if self.labels is None or not chosen:
            raise UserError(f"{self.title}: no class was named. Name one or more of {', '.join(self.classes)}.")
        labels = renumber(self.labels.numpy(), chosen)
        kept = np.flatnonzero(labels >= 0)
        if not len(kept):
            raise UserError(f"{self.title} has no image of the classes {', '.join(map(str, classes))}.")
        images = self.images.index_select(0, torch.from_numpy(kept))
        names = tuple(self.classes[number] for number in chosen)
        return dataclasses.replace(
            self,
            name=f"{self.name}[{','.join(names)}]",
            images=images,
            labels=torch.from_numpy(labels[kept]),
            classes=names,
            folder=None,
            content_hash=content_hash([images.numpy()], labels[kept], images.shape),
            finer=None if self.finer is None else self.finer.only(classes),
        )

    def evenly(self, count: int, seed: int = 0) -> Dataset:
        """So many of the images, as equally many of each class as can be, in their order. In memory, not packed.

        They are the first ones of each class in a random order of all images that follows from `seed`. So with a
        larger count the images of a smaller one are among them. If the classes cannot have equally many, some that
        also follow from `seed` have one more (25 of ten classes: five of two, five of three).

        Raises:
            UserError: there are no classes, fewer images are asked for than there are classes, or more than a class
                can give.
        """
        if self.labels is None or self.attributes:
            what = "attributes instead of classes" if self.attributes else "no labels"
            raise UserError(
                f"even_limit={count}: equally many images of each class are asked for, but {self.title} has {what}. "
                "Give class subfolders or a source with labels (frugan data list), or no even_limit (even_limit=null)."
            )
        classes = len(self.classes)
        if count < classes:
            raise UserError(
                f"even_limit={count}: {self.title} has {classes} classes, so give {classes} images or more, one "
                "of each class."
            )
        order = torch.randperm(len(self), generator=seeds.generator(seed, "even limit"))
        more = torch.randperm(classes, generator=seeds.generator(seed, "even limit", "more"))[: count % classes]
        wanted = torch.full((classes,), count // classes)
        wanted[more] += 1
        there = self.labels.bincount(minlength=classes)
        if (there < wanted).any():
            short = int((wanted - there).argmax())
            raise UserError(
                f"even_limit={count}: that is {int(wanted[short])} images of each class, but {self.title} has "
                f"only {int(there[short])} of '{self.classes[short]}'. Give {int(there.min()) * classes} or fewer."
            )
        labels = self.labels[order]
        chosen = [order[labels == number][: int(wanted[number])] for number in range(classes)]
        rows = torch.cat(chosen).sort().values
        images, kept = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        return dataclasses.replace(
            self,
            name=f"{self.name}[{count} even, seed {seed}]",
            images=images,
            labels=kept,
            folder=None,
            content_hash=content_hash([images.numpy()], kept.numpy(), images.shape),
            finer=None if self.finer is None else self.finer.evenly(count, seed),
        )

    def masked(self) -> Dataset:
        """The same images without their labels; what classes there are is still known."""
        return dataclasses.replace(self, labels=None)


@dataclass(frozen=True)
class SourceInfo:
    """A source as `frugan data list` shows it: what it is, how many classes, how to get it, and where it is."""

    name: str
    what: str
    classes: int | None
    get: str
    found: str | None


class Named(NamedTuple):
    """One image: its path in its source, bytes ``[channels, height, width]``, and its class if it has one.

    `own_size` is the height and width that it had before it was resized. Of one that cannot be used `pixels` and
    `own_size` are None, and there is a `reason`.
    """

    path: str
    pixels: np.ndarray | None
    own_size: tuple[int, int] | None
    label: str | None
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """The result of `check`, which reads every image of a source.

    Args:
        title: the source's name and split.
        total: images in it.
        usable: how many of them can be used.
        skipped: the others, each with its reason.
        shapes: (shape as converted, how many), the most frequent first.
        enlarged: how many are smaller than the size that was asked for.
        notes: what the user should know about how the source is read.
    """

    title: str
    total: int
    usable: int
    skipped: tuple[Skipped, ...]
    shapes: tuple[tuple[ImageShape, int], ...]
    enlarged: int
    notes: tuple[str, ...]


def tell_packing(source: str, announce: Callable[[str], None] = terminal.tell) -> Progress:
    """A `Progress` that says how far the packing of a source is and the time left, every few seconds."""
    return counter(announce, f"Packing {source} (once)")


@strict
def open_dataset(
    source: Source,
    *,
    split: Name = "train",
    size: Size | None = None,
    channels: int | None = None,
    only: Classes = (),
    attributes: Attributes = (),
    exclusive: Sequence[Sequence[str]] = (),
    limit: int | None = None,
    even_limit: int | None = None,
    limit_seed: int = 0,
    finer: int = 1,
    holdout: int = 0,
    allow_unusable: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Open one split of a source; if it is not packed yet, it is packed first.

    Args:
        source: see the top of `frugan.data`.
        split: ``train`` or ``test`` (held out).
        size: side, or (height, width); None keeps the size that all images share.
        channels: 1 or 3; None keeps grey images grey.
        only: classes to take, by name or number; the first one gets label 0, and so on. For a source with attributes:
            what every image must have, e.g. ``("glasses", "not hat")``.
        attributes: which attributes are used as labels, in this order. If left out: all, in the source's order.
        exclusive: groups of attributes of which an image has at most one, e.g. hair colours. Groups without any
            attribute of this source are ignored.
        limit: use at most this many images: a random choice, but always the same one.
        even_limit: use so many images, as equally many of each class as can be; `limit_seed` says which.
        finer: also read the images at so many times `size`, which must then be given (`Dataset.finer`).
        holdout: of a source without a test split, hold out so many images (of the classes in `only`): a random draw,
            always the same one. They are its test split then, and the limits apply to the others.
        allow_unusable: go on where more than 5 % of the images cannot be used.
        cache: folder instead of ``$FRUGAN_CACHE`` or ``~/.cache/frugan``.
        progress: called now and then while packing, with the images done and the total.

    Raises:
        UserError: the source, split, class or attribute does not exist, or its images cannot be used. It says what to
            do.
    """
    wanted = wanted_of(size, channels, only, limit)
    if holdout:
        check_split(split)
        check_holdout(source, holdout)
        wanted = dataclasses.replace(wanted, holdout=holdout, held=split == "test")
    found = find(source, "train" if holdout else split, wanted.size, cache)
    packed = open_pack(found, split, wanted, allow_unusable=allow_unusable, cache=cache, progress=progress)
    labels, hash_ = _labels(packed, attributes)
    names = tuple(attributes) or packed.attributes
    whole = Dataset(
        name=packed.name,
        split=split,
        shape=packed.shape,
        images=packed.images,
        labels=labels,
        classes=packed.classes,
        content_hash=hash_,
        skipped=packed.skipped,
        notes=packed.notes,
        folder=packed.folder,
        attributes=names,
        exclusive=groups_of(packed.name, packed.attributes, names, exclusive),
    )
    if finer > 1:
        if wanted.size is None:
            raise UserError(f"data.finer={finer}: give a size too, such as size=32; finer images are larger by this.")
        height, width = wanted.size
        larger = open_dataset(
            source, split=split, size=(finer * height, finer * width), channels=channels, only=only,
            attributes=attributes, limit=limit, holdout=holdout, allow_unusable=allow_unusable, cache=cache,
            progress=progress,
        )  # fmt: skip
        assert len(larger) == len(whole)  # whether an image can be used does not depend on the size
        whole = dataclasses.replace(whole, finer=larger)
    return whole if even_limit is None else whole.evenly(even_limit, limit_seed)


def _labels(packed: Pack, attributes: Sequence[str]) -> tuple[Tensor | None, str]:
    """The labels that are asked for, and the content hash with them."""
    if not attributes:
        return packed.labels, packed.content_hash
    chosen = numbers_of(packed.name, packed.attributes, packed.classes, attributes)
    assert packed.labels is not None  # there are attributes
    labels = packed.labels[:, chosen].contiguous()
    return labels, attributes_hash(packed.images_hash, labels.numpy(), packed.images.shape)


def sources() -> list[SourceInfo]:
    """All kinds of sources: built-in ones, named data sets with their folders on this machine, and kinds of files."""
    kinds = [readers.find(name) for name in readers.names()]
    built_in = [
        SourceInfo(name, what, classes or None, "nothing to get", "built in")
        for kind in kinds for name, what, classes in kind.built_in
    ]
    named = []
    for name, known in NAMED.items():
        folder = find_folder(name)
        place = None if folder is None else str(folder)
        named.append(SourceInfo(name, known.what, known.classes or None, known.get, place))
    own = [SourceInfo(kind.typed, kind.what, None, "yours", None) for kind in kinds if not kind.built_in]
    return [*built_in, *named, *own]


def terms_of(source: str) -> str:
    """Who may do what with the images of a source, as typed, in a sentence; empty if frugan does not know."""
    name = source.partition(":")[0]
    if name in NAMED:
        return NAMED[name].terms
    return next((kind.terms for kind in map(readers.find, readers.names()) if kind.terms and kind.accepts(source)), "")


class NamedImages(Iterator[Named]):
    """Images that are read one by one; `len` tells how many there are in all."""

    def __init__(self, count: int, images: Iterator[Named]) -> None:
        self._count, self._images = count, images

    def __len__(self) -> int:
        return self._count

    def __next__(self) -> Named:
        return next(self._images)


@strict
def read_images(
    source: Source, *, size: Size | None, channels: int, split: Name | None = None, whole: bool = False,
    only: Classes = (), holdout: int = 0, cache: Path | None = None,
) -> NamedImages:
    """The images of a source, or of one image file, each by its path and with its class; nothing is packed.

    They are converted as those that a network is trained on. A `size` of None keeps the size of each.

    Args:
        split: ``train`` or ``test``; if left out, test where the source has it.
        whole: all that is there is wanted, whatever it is for: every file of a folder, or else every split.
        only, holdout: as of `open_dataset`. What is held out is the test split.

    Raises UserError at once if there is no such source, split or file, or if it is an empty folder. An image that
    cannot be used comes with the reason.
    """
    wanted = wanted_of(size, channels, only, None)
    path = expanded(source)
    if path.is_file() and is_image(path):
        return NamedImages(1, _read(_content_of([path]), [0], wanted))
    if whole and path.is_dir():
        files = [path / name for name, _, _ in walk(path)]
        if not files:
            raise UserError(f"{source}: there are no files in this folder. Put images there, or name another folder.")
        return NamedImages(len(files), _read(_content_of(files), range(len(files)), wanted))
    if holdout:
        check_split(split or "test")
        check_holdout(source, holdout)
        wanted = dataclasses.replace(wanted, holdout=holdout, held=split != "train")
        split = "train"
    if split is None and not whole:
        split = "test" if has_split(source, "test") else "train"
    splits = [split] if split else [one for one in SPLITS if has_split(source, one)]
    opened = [open_content(find(source, one, wanted.size, cache), wanted) for one in splits]
    read = chain.from_iterable(_read(content, numbers, wanted) for content, numbers in opened)
    return NamedImages(sum(len(numbers) for _, numbers in opened), read)


def _content_of(files: Sequence[Path]) -> Content:
    """Image files as they are given, without labels."""
    return Content(len(files), lambda numbers: (Item(str(files[number]), files[number]) for number in numbers))


def _read(content: Content, numbers: Sequence[int], wanted: Wanted) -> Iterator[Named]:
    labels = None if content.attributes else content.labels  # of all classes, also where some were chosen
    for number, conversion in zip(numbers, convert_all(content, numbers, wanted), strict=True):
        yield _named(conversion, None if labels is None else content.classes[int(labels[number])])


def _named(conversion: Conversion, label: str | None) -> Named:
    pixels, own_size = conversion.converted[:2] if conversion.converted else (None, None)
    return Named(conversion.path, pixels, own_size, label, conversion.reason)


@strict
def check(
    source: Source,
    *,
    split: Name = "train",
    size: Size | None = None,
    channels: int | None = None,
    only: Classes = (),
    limit: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every image of a source without packing it, and report. Arguments are as for `open_dataset`.

    Raises:
        UserError: the source, split or class does not exist. Unusable images raise nothing; they are reported.
    """
    wanted = wanted_of(size, channels, only, limit)
    found = find(source, split, wanted.size, cache)
    content, numbers = open_content(found, wanted)
    shapes: Counter[ImageShape] = Counter()
    skipped, enlarged = [], 0
    for place, conversion in enumerate(convert_all(content, numbers, wanted)):
        if conversion.converted is None:
            skipped.append(Skipped(conversion.path, conversion.reason))
        else:
            shapes[ImageShape(*conversion.converted.pixels.shape)] += 1
            enlarged += conversion.converted.enlarged
        if progress is not None:
            progress(place + 1, len(numbers))
    return CheckReport(
        title=f"{found.name} ({split})",
        total=len(numbers),
        usable=shapes.total(),
        skipped=tuple(skipped),
        shapes=tuple(shapes.most_common()),
        enlarged=enlarged,
        notes=content.notes,
    )


def contact_sheet(dataset: Dataset, rows: int = 8, columns: int = 8, seed: int = 0) -> Image.Image:
    """A picture of random images of the data set, in a grid. If there are too few, the rest of the grid is black."""
    channels, height, width = dataset.shape
    drawn = torch.randperm(len(dataset), generator=seeds.generator(seed, "contact sheet"))[: rows * columns]
    sheet = torch.zeros((rows * columns, channels, height, width), dtype=torch.uint8)
    sheet[: len(drawn)] = dataset.images.index_select(0, drawn)
    grid = sheet.reshape(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(rows * height, columns * width, channels).numpy()
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
