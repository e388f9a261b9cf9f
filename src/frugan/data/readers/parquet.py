"""Parquet files, laid out like the image data sets on the Hugging Face Hub. Needs the extra `data`.

There is a column of images: encoded bytes, alone or as a struct of bytes and path. There may be a column of labels,
whose names are in the schema's metadata, or several columns of attributes. A folder holds `train.parquet` and
`test.parquet`, or shards that begin with the split's name (`train-00000-of-00004.parquet`), at its top or in `data/`. A
single file is train.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frugan.data.readers import SPLIT_NAMES, SPLITS, Content, Found, Item, Reader, stamp
from frugan.data.readers._features import Numbered, bits, columns, labelled, numbered
from frugan.registry import UserError


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each split, in order."""
    if path.is_file():
        return {"train": [path]} if path.suffix == ".parquet" else {}
    shards = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    files = {}
    for split in SPLITS:
        for name in SPLIT_NAMES[split]:
            mine = [shard for shard in shards if shard.stem == name or shard.stem.startswith((f"{name}-", f"{name}_"))]
            if mine:
                files[split] = mine
                break
    return files or ({"train": shards} if shards else {})


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    path = Path(source)
    files = _files(path)[split]
    name = path.stem if path.is_file() else path.absolute().name
    return Found(f"parquet {name}", {"parquet": stamp(files)}, lambda: _content(source, files))


def _content(source: str, files: list[Path]) -> Content:
    parquet = _pyarrow_parquet(source)
    try:
        tables = [parquet.ParquetFile(file) for file in files]
    except Exception as error:  # pyarrow's own classes, which cannot be named without importing it
        raise UserError(f"{source}: cannot be read as parquet: {error}") from error
    schema = tables[0].schema_arrow
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    types = {field.name: str(field.type) for field in schema}
    chosen = columns(source, schema.names, metadata.get("info", {}).get("features", {}), types)

    def values(column: str) -> list[Any]:
        return [value for table in tables for value in table.read([column]).column(0).to_pylist()]

    told, attributes = Numbered(None, (), ()), ()
    if chosen.label is not None:
        told = numbered(values(chosen.label), chosen.classes)
    elif chosen.attributes:
        known, attributes = bits({name: values(name) for name in chosen.attributes}, chosen.attributes)
        told = told._replace(labels=known if attributes else None)

    def read(numbers: Sequence[int]) -> Iterator[Item]:
        return labelled(_rows(files, tables, chosen.image, numbers), numbers, told.missing, chosen.label)

    count = sum(table.metadata.num_rows for table in tables)
    return Content(count, read, told.labels, told.classes, told.notes, attributes)


def _rows(files: list[Path], tables: list[Any], column: str, numbers: Sequence[int]) -> Iterator[Item]:
    """The rows with the given (ascending) numbers, one row group in memory at a time."""
    first, at = 0, 0  # number of the row group's first row; place in `numbers`
    for file, table in zip(files, tables, strict=True):
        for group in range(table.num_row_groups):
            count, end = table.metadata.row_group(group).num_rows, at
            while end < len(numbers) and numbers[end] < first + count:
                end += 1
            if end > at:
                wanted = [number - first for number in numbers[at:end]]
                cells = table.read_row_group(group, [column]).column(0).take(wanted).to_pylist()
                for number, value in zip(numbers[at:end], cells, strict=True):
                    yield _item(f"{file.name} row {number}", value)
            first, at = first + count, end


def _item(where: str, value: Any) -> Item:
    """A cell: encoded bytes, or a struct of bytes and path; the path is for messages, nothing else is read."""
    if isinstance(value, dict):
        where = f"{where} ({value['path']})" if value.get("path") else where
        value = value.get("bytes")
    return Item(where, value if isinstance(value, bytes) else b"")


def _pyarrow_parquet(source: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{source}: to read parquet, install: pip install \"frugan[data]\"") from error
    return pyarrow.parquet


variant = Reader(
    what="a .parquet file, or a folder with train.parquet and test.parquet (Hugging Face layout)",
    typed="FOLDER or FILE.parquet",
    accepts=lambda source: bool(_files(Path(source))),
    splits=lambda source: tuple(_files(Path(source))),
    find=_find,
)
