"""How every file is written: beside its place, flushed to the disk, then renamed. So a file with its name is whole.

Whatever ends a program, the file that was there before stays. What a killed program leaves beside is removed by the
next one that writes there. Links are not followed: in a folder that came from somebody else, they could point anywhere.
(A folder that a user names may be a link.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
import types
import typing
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from frugan.registry import UserError

_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}(\.\w+)?")
NEW = 5.0
"""Seconds for which a temporary file may be without its lock, since it was just made."""
OLD = 86_400.0
"""Seconds after which it is left over, where a file system has no locks that could tell."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to, with the same ending. Afterwards that file becomes `path`, unless it failed.

    Raises OSError, with `path` as its file name, if it cannot be written.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        beside = _beside(path.parent, path.suffix)
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _lock(handle)
            yield beside
            flush(beside)
            os.replace(beside, path)
        finally:
            os.close(handle)
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is removed afterwards, unless it was renamed; also if this program is killed."""
    parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(parent)
    beside.mkdir()
    handle = os.open(beside, os.O_RDONLY)
    try:
        _lock(handle)
        yield beside
    finally:
        os.close(handle)
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to write into. Afterwards all that it holds stands in `path`, or nothing if it failed.

    Files and folders of other names that are in `path` already stay there; a folder of the same name is replaced as a
    whole. `path` may be a link to a folder.
    """
    to = Path(os.path.realpath(path))
    with _named(path):
        if not to.is_dir():
            with temporary_folder(to.parent) as beside:
                yield beside
                beside.rename(to)
            return
        # Within it, since it may be a mount point: that cannot be replaced, and nothing can be renamed into it.
        with temporary_folder(to) as beside, temporary_folder(to) as before:
            yield beside
            _move(beside, to, before)


def _move(made: Path, to: Path, before: Path) -> None:
    """Move all that is in `made` to `to`. What has the same name there goes to `before`, and comes back if it fails.

    There is a file of each old or new name at every moment (of a folder there is none for a moment). A file that was
    replaced cannot come back where the file system gives a file no second name.
    """
    with contextlib.ExitStack() as undo:
        for new in sorted(made.iterdir()):
            there, old = to / new.name, before / new.name
            if new.is_dir() and there.is_dir():  # no system replaces a folder that holds something
                there.rename(old)
                undo.callback(old.rename, there)
            if os.path.lexists(there):
                with contextlib.suppress(OSError):
                    os.link(there, old, follow_symlinks=False)
                    undo.callback(os.replace, old, there)
                os.replace(new, there)
            else:
                os.replace(new, there)
                undo.callback(os.replace, there, new)
        undo.pop_all()


def write(path: Path, data: bytes | str) -> None:
    """Write a file as a whole."""
    with whole(path) as beside:
        beside.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def append(path: Path, line: str) -> None:
    """Add a line. One that was cut short before it, as by a full disk, stays a line of its own."""
    with _named(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with open(handle, "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
            data = ("\n" if cut else "") + line + "\n"
            if file.write(data.encode()) < len(data.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Found(dict[str, Any]):
    """A JSON object of a file. A key that it lacks is said to be missing in that file."""

    path: Path

    def __missing__(self, key: str) -> NoReturn:
        raise UserError(f"{self.path} is damaged or of another version: it has no '{key}'. Put back a good copy of it.")


def parse_json(text: str, path: Path) -> Any:
    """A JSON value of a file, its objects as `Found`. Raises ValueError."""

    def found(pairs: list[tuple[str, Any]]) -> Found:
        made = Found(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"'{next(key for key in keys if keys.count(key) > 1)}' stands in it twice")
        made.path = path
        return made

    try:
        return json.loads(text, object_pairs_hook=found)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


DAMAGED_ARCHIVE = (OSError, ValueError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged or encrypted .zip or .npz raises, or one that is packed in a way that Python does not know."""


def read_json(path: Path) -> Any:
    """The JSON value in a plain file. Raises UserError if it is no JSON, OSError if it cannot be read."""
    try:
        return parse_json(read_bytes(path).decode(), path)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Put back a good copy of it.") from None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` and ``~NAME`` as the folder that they stand for. Raises UserError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        first = Path(path).parts[0]
        why = "this user has no home folder" if first == "~" else f"there is no user {first[1:]}"
        raise UserError(
            f"{os.fspath(path)}: {why}. Give a whole path, such as /data/runs, or set HOME. (The cache's folder is "
            "FRUGAN_CACHE, that of your decisions FRUGAN_CONFIG.)"
        ) from None


REFUSED = 74
"""The exit code of a run of a comparison that could not be saved; see `PlaceError`."""

AS_JOB = "FRUGAN_JOB"
"""The variable that is set for the runs of a comparison, which looks at how they end."""


class PlaceError(UserError):
    """What should hold a file refused it just then, as a full disk does: the same command may succeed later.

    A comparison tells this end from a failure of the run by its exit code. For people it is a mistake as any other.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = REFUSED if os.environ.get(AS_JOB) else UserError.code


def read_bytes(path: Path) -> bytes:
    """What a plain file holds; see `open_plain`."""
    with open(open_plain(path), "rb") as file:
        return file.read()


def open_plain(path: Path, flags: int = 0) -> int:
    """Open a file for reading. Raises UserError for what is no plain file, as a pipe, which may never end; OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise UserError(f"{path} is no plain file. Remove it, or put a good copy of the file in its place.")


def check(value: Any, kind: Any, where: str) -> None:
    """Check a JSON value of a file against a type: a TypedDict, list[...], dict[str, ...], ... | None, or a plain one.

    What a TypedDict does not name is not looked at. Keys that the value lacks are for `Found` to tell.

    Raises UserError, which says `where` there is something else.
    """
    if isinstance(kind, types.UnionType):
        if value is not None:
            check(value, typing.get_args(kind)[0], where)
        return
    fields = typing.get_type_hints(kind) if typing.is_typeddict(kind) else {}
    of = dict if fields else typing.get_origin(kind) or kind
    if of is Any:
        return
    if not isinstance(value, (int, float) if of is float else of) or (isinstance(value, bool) and of is not bool):
        raise UserError(f"{where} is {value!r:.60}, but must be {_KINDS[of]}. Put back a good copy of the file.")
    (inner,) = typing.get_args(kind)[-1:] or (Any,)
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        check(item, fields.get(key, Any) if fields else inner, f"{where}: {key}")


_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a map"}


@contextlib.contextmanager
def readable(path: Path) -> Iterator[Path]:
    """A name for a plain file that is there: libraries not written in Python refuse names that are no UTF-8."""
    handle = open_plain(path)
    try:
        yield Path(f"/dev/fd/{handle}") if any("\ud800" <= letter <= "\udfff" for letter in str(path)) else path
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a name is one of those that files have until they are whole."""
    return _TEMPORARY.fullmatch(path.name) is not None


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what is half written, as by a killed program."""
    return all(map(is_temporary, folder.iterdir()))


def clear(folder: Path) -> None:
    """Remove what killed programs have left in a folder."""
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for one in left:
        with contextlib.suppress(OSError):
            if _is_left(one):
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()


def _beside(parent: Path, suffix: str = "") -> Path:
    """A new name in a folder, after clearing it."""
    clear(parent)
    name = f".tmp-{secrets.token_hex(8)}{suffix}"
    return parent / (name if _TEMPORARY.fullmatch(name) else name.removesuffix(suffix))


def _is_left(path: Path) -> bool:
    """Whether nobody writes a temporary file or folder any more."""
    age = time.time() - path.lstat().st_mtime
    if age < NEW or path.is_symlink():
        return age >= NEW
    held = is_locked(path)
    return age >= OLD if held is None else not held


def is_locked(path: Path) -> bool | None:
    """Whether a process of this machine holds a lock on a file or folder; None if that cannot be told.

    Raises OSError if it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        # Shared, so that two that ask at the same time do not take each other for the owner.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an OSError name the file that was asked for, not the one beside it."""
    try:
        yield
    except OSError as error:
        parts = () if not isinstance(error.filename, (str, bytes, Path)) else Path(os.fsdecode(error.filename)).parts
        if error.errno is not None and (error.filename is None or any(map(_TEMPORARY.fullmatch, parts[-2:]))):
            error.filename, error.filename2 = str(path), None
        raise
