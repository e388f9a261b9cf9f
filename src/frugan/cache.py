"""The cache: what can be made again, kept so that it need not be (packs, weights of views, features of real images).

Several processes may share it, so nothing in it bears its name before it is whole. What one user has decided lies
elsewhere: users may share a cache, and it may be deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def cache_root() -> Path:
    """The folder of everything that can be made again: ``$FRUGAN_CACHE``, or ``~/.cache/frugan``."""
    return Path(os.environ.get("FRUGAN_CACHE") or Path.home() / ".cache" / "frugan").expanduser()


def config_root() -> Path:
    """The folder of what this user has decided: ``$FRUGAN_CONFIG``, or ``~/.config/frugan``."""
    return Path(os.environ.get("FRUGAN_CONFIG") or Path.home() / ".config" / "frugan").expanduser()


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The name of a file beside `path` to be written inside; afterwards it becomes `path`, unless writing failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
