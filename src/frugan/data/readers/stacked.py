"""Stacked digits: three random images of a labelled source, as the red, green and blue channel of one image.

They test whether a generator drops modes (Metz et al. 2017, arXiv 1611.02163). Ten digits give 1000 classes: too many
to cover by chance, and a classifier of digits can tell each. Class 123 is a red 1, a green 2 and a blue 3. Which images
are combined depends on the split and the count only. They are drawn with replacement, so hardly any triple occurs
twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch

from frugan import seeds
from frugan.data import has_split, open_dataset
from frugan.data.readers import SPLITS, Content, Found, Item, Reader
from frugan.registry import UserError

COUNTS = {"train": 128_000, "test": 26_000}
"""As many triples as published comparisons train on, and as many as they draw from a generator."""

MOST = 10
"""The most classes of a source: stacking makes their third power, which soon fills a classifier's memory."""

_PREFIX = "stacked:"
_SEED = 0
_CHUNK = 1024


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes of stacked images, in the order of their numbers: ``0-0-0``, ``0-0-1`` and so on."""
    return tuple("-".join(three) for three in itertools.product(classes, repeat=3))


def _parts(source: str) -> tuple[str, int | None]:
    """The source of the single images, and the count that is asked for, if one is."""
    inner = source.removeprefix(_PREFIX)
    count, colon, rest = inner.partition(":")
    if colon and count.isdecimal():
        if int(count) < 1:
            raise UserError(f"{source}: type stacked:SOURCE or stacked:COUNT:SOURCE, with a count of 1 or more.")
        return rest, int(count)
    return inner, None


def _splits(source: str) -> tuple[str, ...]:
    inner, _ = _parts(source)
    return tuple(split for split in SPLITS if has_split(inner, split))


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    inner, asked = _parts(source)
    singles = open_dataset(inner, split=split, size=size, channels=1)  # packed, so that any of them is read at once
    labels, classes = singles.labels, singles.classes
    if labels is None or labels.ndim != 1:
        raise UserError(f"{source}: {singles.title} has no class for each image. Give a source with labels.")
    if not 2 <= len(classes) <= MOST:
        raise UserError(
            f"{source}: {singles.title} has {len(classes)} classes, but stacking takes 2 to {MOST}: it makes "
            "classes of every three of them. Give another source, e.g. stacked:glyphs."
        )
    count = asked or COUNTS[split]

    def open_() -> Content:
        draws = seeds.generator(_SEED, "stacked", split)
        rows = torch.randint(len(singles), (count, 3), generator=draws)

        def read(numbers: Sequence[int]) -> Iterator[Item]:
            for start in range(0, len(numbers), _CHUNK):
                part = numbers[start : start + _CHUNK]
                images = singles.images.index_select(0, rows[list(part)].flatten())
                triples = images.reshape(len(part), 3, *images.shape[2:]).permute(0, 2, 3, 1).numpy()
                yield from (Item(f"triple {number}", triple) for number, triple in zip(part, triples, strict=True))

        places = torch.tensor([len(classes) ** 2, len(classes), 1])
        note = f"three images of {singles.title} each, as red, green and blue"
        return Content(count, read, (labels[rows] * places).sum(1).numpy(), class_names(classes), (note,))

    identity = {"stacked": singles.content_hash, "of": singles.name, "count": count, "seed": _SEED}
    return Found(f"stacked {singles.name}", identity, open_)


variant = Reader(
    what="three random images of a labelled source in one: stacked:SOURCE, e.g. stacked:mnist",
    typed="stacked:SOURCE",
    accepts=lambda source: source.startswith(_PREFIX),
    splits=_splits,
    find=_find,
    before_sources=(_PREFIX.rstrip(":"),),
    built_in=(("stacked:glyphs", "three drawn digits in one colour image; stacked:SOURCE of any digits", MOST**3),),
)
