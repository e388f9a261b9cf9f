"""The cache: files that can be made again, kept to save the time (packs, weights of views, features of real images).

Several processes may share it, so a file gets its name only when it is complete. Several users may share it, and it may
be deleted, so what one user has decided is kept elsewhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_instead: ContextVar[Path | None] = ContextVar("instead", default=None)


def cache_root() -> Path:
    """The folder of everything that can be made again: ``$FRUGAN_CACHE``, or ``~/.cache/frugan``."""
    usual = os.environ.get("FRUGAN_CACHE") or Path.home() / ".cache" / "frugan"
    return _instead.get() or Path(usual).expanduser()


@contextlib.contextmanager
def cached_in(folder: Path) -> Iterator[None]:
    """Inside, the cache is this folder: for what nobody will ask for again."""
    before = _instead.set(folder)
    try:
        yield
    finally:
        _instead.reset(before)


def config_root() -> Path:
    """The folder of this user's own decisions (which code may run): ``$FRUGAN_CONFIG``, or ``~/.config/frugan``."""
    return Path(os.environ.get("FRUGAN_CONFIG") or Path.home() / ".config" / "frugan").expanduser()


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to. Afterwards that file is renamed to `path`, unless writing failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
