"""Features in files: rows of float32, memory-mapped.

Beside each file in the cache is a JSON file with what the features depend on, and their checksum.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from frugan import cache, files, memory

FORMAT = 2
"""Version of these files and of how features are computed. Files of another version are not used."""


def passing(parts: Iterator[Tensor]) -> Tensor | None:
    """Put all rows of `parts` (float32 ``[any count, width]``) into a temporary file, and map it. None if no rows.

    The file is deleted with the tensor.
    """
    with tempfile.TemporaryFile() as file:
        shape, _ = _write(parts, file)
        return _mapped(file, shape) if shape[0] else None


def kept(
    folder: Path, of: Mapping[str, Any], parts: Callable[[], Iterator[Tensor]], announce: Callable[[str], None]
) -> Tensor:
    """The rows in the cache folder for the key `of`. If missing or damaged, they are computed by `parts` and kept.

    `parts` must give at least one row.
    """
    of = {"format": FORMAT, **of}
    name = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:32]
    rows, facts = folder / f"{name}.f32", folder / f"{name}.json"
    stored = _read(of, rows, facts)
    if stored is not None:
        return stored
    with cache.one_at_a_time(rows), cache.optional():
        stored = _read(of, rows, facts)
        if stored is not None:
            return stored
        if facts.exists():
            announce(f"{rows} is damaged; its images are looked at again.")
        with files.whole(rows) as beside, beside.open("w+b") as file:
            shape, checksum = _write(parts(), file)
            stored = _mapped(file, shape)
        files.write(facts, json.dumps({"of": of, "shape": shape, "checksum": checksum}, indent=1) + "\n")
    if stored is None:
        stored = passing(parts())
        assert stored is not None  # there is at least one row
    return stored


def _read(of: Mapping[str, Any], rows: Path, facts: Path) -> Tensor | None:
    """The rows in the file, or None if they are not exactly those that `facts` describes."""
    try:
        known = json.loads(facts.read_text())
        with rows.open("rb") as file:
            checksum = _checksum(hashlib.file_digest(file, "sha256"), known["shape"])
            return _mapped(file, known["shape"]) if (known["of"], known["checksum"]) == (of, checksum) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(parts: Iterator[Tensor], file: IO[bytes]) -> tuple[tuple[int, int], str]:
    """Add all rows to `file`; returns their count and width, and their checksum."""
    digest, count, width = hashlib.sha256(), 0, 0
    for part in parts:
        data = part.detach().to("cpu", torch.float32).numpy().tobytes()
        file.write(data)
        digest.update(data)
        count, width = count + len(part), part.shape[1]
    file.flush()
    return (count, width), _checksum(digest, (count, width))


def _checksum(digest: Any, shape: Sequence[int]) -> str:
    """What tells rows of this digest and shape from all others."""
    digest.update(json.dumps(list(shape)).encode())
    return digest.hexdigest()


def _mapped(file: IO[bytes], shape: tuple[int, int]) -> Tensor:
    """The rows of an open file; it may be closed, removed or replaced afterwards."""
    return torch.from_numpy(np.ndarray(shape, np.float32, memory.mapped(file)))
