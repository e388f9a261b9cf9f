"""An export's folder: it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from frugan.registry import UserError


def free(out: Path, overwrite: bool) -> Path:
    """`out`, if an export may be written there. Raises UserError otherwise."""
    out = out.expanduser()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; an export is a folder. Give another --out.")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise UserError(f"{out} is not empty. Give another --out, or --overwrite.")
    return out


@contextlib.contextmanager
def whole(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`. What it holds at the end is moved to `out`; after an error, nothing remains."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}. Give another --out.") from None
    try:
        yield new
        new.chmod(0o755)
        out.mkdir(exist_ok=True)
        for path in sorted(new.iterdir()):
            if path.is_dir() and (out / path.name).exists():
                shutil.rmtree(out / path.name)
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def files(folder: Path) -> list[Path]:
    """Every file below `folder`."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
