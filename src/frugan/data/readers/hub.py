"""A data set of the Hugging Face Hub by its name. Needs the extra `data`.

The source is `hub:owner/name` or `hub:owner/name:configuration`.

Once packed, a data set is used without asking the Hub again: what is known of it is kept beside the packs, in `hub` and
`known`. Delete all three to fetch a newer version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frugan.cache import cache_root, keep_json, kept_json
from frugan.data.readers import SPLIT_NAMES, Content, Found, Item, Reader
from frugan.data.readers._features import Numbered, bits, columns, labelled, numbered
from frugan.registry import UserError

_ROWS = 256  # read from the table at once


def _parts(source: str) -> tuple[str, str | None]:
    """The data set's name and its configuration."""
    name, _, configuration = source.removeprefix("hub:").partition(":")
    if not name:
        raise UserError(f"{source}: name the data set, e.g. hub:ylecun/mnist")
    return name, configuration or None


def _datasets(source: str) -> Any:
    try:
        import datasets  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise UserError(f"{source}: to read from the Hub, install: pip install \"frugan[data]\"") from error
    return datasets


def _theirs(source: str) -> dict[str, str]:
    """Our splits -> what the data set calls them."""
    name, configuration = _parts(source)
    remembered = cache_root() / "hub" / f"{name.replace('/', '--')}--{configuration or 'default'}.json"
    called = kept_json(remembered)
    if called is None:
        datasets = _datasets(source)
        try:
            called = list(datasets.get_dataset_split_names(name, configuration))
        except Exception as error:  # no network, no such name, several configurations: the library's words say which
            raise UserError(f"{source}: the Hub's data set cannot be reached: {error}") from error
        keep_json(remembered, called)
    names_of = {split: next((name for name in names if name in called), None) for split, names in SPLIT_NAMES.items()}
    if not any(names_of.values()):
        raise UserError(
            f"{source} has the splits {', '.join(called)}, but frugan needs one called train or test."
        )
    return {split: theirs for split, theirs in names_of.items() if theirs is not None}


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    return Found(f"hub {source.removeprefix('hub:')}", {"hub": list(_parts(source))}, lambda: _content(source, split))


def _content(source: str, split: str) -> Content:
    datasets = _datasets(source)
    name, configuration = _parts(source)
    theirs = _theirs(source)[split]
    try:
        table = datasets.load_dataset(name, configuration, split=theirs)
    except Exception as error:  # as above
        raise UserError(f"{source} cannot be downloaded: {error}") from error
    chosen = columns(source, table.column_names, table.features.to_dict(), {})
    told, attributes = Numbered(None, (), ()), ()
    if chosen.label is not None:
        told = numbered(list(table[chosen.label]), chosen.classes)
    elif chosen.attributes:
        known, attributes = bits({name: list(table[name]) for name in chosen.attributes}, chosen.attributes)
        told = told._replace(labels=known if attributes else None)
    table = table.cast_column(chosen.image, datasets.Image(decode=False))

    def rows(numbers: Sequence[int]) -> Iterator[Item]:
        for start in range(0, len(numbers), _ROWS):
            some = numbers[start : start + _ROWS]
            for number, cell in zip(some, table.select(some)[chosen.image], strict=True):
                where = f"{theirs} row {number}"
                # Data sets of loose files keep only their paths, in the library's own cache.
                yield Item(where, cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]))

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        return labelled(rows(numbers), numbers, told.missing, chosen.label)

    return Content(len(table), read, told.labels, told.classes, told.notes, attributes)


variant = Reader(
    what="a data set of the Hugging Face Hub by its name: hub:owner/name",
    typed="hub:OWNER/NAME",
    accepts=lambda source: source.startswith("hub:"),
    splits=lambda source: tuple(_theirs(source)),
    find=_find,
)
