"""The cache: files that can be made again, kept to save the time (packs, weights of views, features of real images).

It may be full, read-only or damaged: then things are made again, and nothing else is lost. Several users may share it,
and it may be deleted, so what one user has decided is kept elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from frugan import claims, files, terminal
from frugan.files import expanded

_instead: ContextVar[Path | None] = ContextVar("instead", default=None)


def cache_root() -> Path:
    """The folder of everything that can be made again: ``$FRUGAN_CACHE``, or ``frugan`` in ``$XDG_CACHE_HOME``.

    Without these it is ``~/.cache/frugan``; where this cannot be made, a folder of this user's for temporary files.
    """
    named = _instead.get() or _place("FRUGAN_CACHE", "XDG_CACHE_HOME", "~/.cache")
    return named if os.environ.get("FRUGAN_CACHE") or _may_be_made(named) else _elsewhere(named)


def _may_be_made(folder: Path) -> bool:
    """Whether the folder is there, or nothing is seen to hinder its making."""
    # Unlike Path.exists, this answers False where nobody may look: below another user's home.
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.exists(one))
    return there == folder.absolute() or os.access(there, os.W_OK)


@functools.cache
def _elsewhere(named: Path) -> Path:
    """A folder for temporary files that only this user may write, and a line that tells which. Raises OSError."""
    folder = Path(tempfile.gettempdir()) / f"frugan-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o022:
        folder = Path(tempfile.mkdtemp(prefix="frugan-"))  # another user made that one
    terminal.tell(
        f"frugan: {named} cannot be made, so packs of images and the like are kept in {folder}. Set FRUGAN_CACHE to "
        "choose a folder."
    )  # fmt: skip
    return folder


@contextlib.contextmanager
def cached_in(folder: Path) -> Iterator[None]:
    """Inside, the cache is this folder: for what nobody will ask for again."""
    before = _instead.set(folder)
    try:
        yield
    finally:
        _instead.reset(before)


def config_root() -> Path:
    """The folder of this user's own decisions (which code may run): ``$FRUGAN_CONFIG``, or ``frugan`` in
    ``$XDG_CONFIG_HOME``.

    Without these it is ``~/.config/frugan``.
    """
    return _place("FRUGAN_CONFIG", "XDG_CONFIG_HOME", "~/.config")


def _place(own: str, everyones: str, usual: str) -> Path:
    """The folder that the first variable names; or ``frugan`` in that of the second, or in the usual one."""
    if os.environ.get(own):
        return expanded(os.environ[own])
    base = expanded(os.environ.get(everyones) or usual)
    # The XDG base directory specification: a path that is not absolute is passed over.
    return (base if base.is_absolute() else expanded(usual)) / "frugan"


def keep(path: Path, data: bytes | str) -> None:
    """Keep a file of the cache if it can be written. If not, one line says so, and the work goes on without."""
    with optional():
        files.write(path, data)


def keep_json(path: Path, value: Any) -> None:
    """Keep a value with its checksum; see `keep`."""
    text = json.dumps(value)
    keep(path, json.dumps({"checksum": _checksum(text), "value": value}, indent=1) + "\n")


def kept_json(path: Path) -> Any:
    """The value that `keep_json` wrote; None if there is none, or if the file has changed since."""
    try:
        known = json.loads(path.read_text())
        return known["value"] if known["checksum"] == _checksum(json.dumps(known["value"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


SILENT = 5.0
"""Seconds of waiting for another process before a line says so."""


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Inside, no other process makes what will be kept at `path`, on this machine or another that shares the cache.

    Others wait, so look again inside whether it is there by now. Without a cache nobody waits.
    """
    with contextlib.ExitStack() as held:
        with optional():
            folder = cache_root() / "making" / hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
            folder.mkdir(parents=True, exist_ok=True)
            began, told = time.monotonic(), False
            while True:
                try:
                    held.enter_context(claims.claimed(folder))
                    break
                except claims.HeldError as error:
                    if not told and time.monotonic() - began > SILENT:
                        terminal.tell(f"Waiting for another process, which makes the same ({path.name}): {error}")
                        told = True
                    time.sleep(claims.LOOK)
        yield


@contextlib.contextmanager
def optional() -> Iterator[None]:
    """Inside, a cache that cannot be written is no error: one line says so, the first time."""
    try:
        yield
    except OSError as error:
        if not _told:
            _told.append(str(error))
            terminal.tell(
                f"frugan: the cache {cache_root()} cannot be written ({error.strerror or error}). What is not kept "
                "there is computed again next time. Free some space, or set FRUGAN_CACHE to a folder with enough."
            )


_told: list[str] = []


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
