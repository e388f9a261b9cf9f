"""Claims: a folder belongs to one process at a time, also if several machines share its disk.

A claim is a file ``.lock-N`` in the folder. Whoever wants the folder makes the file with the next number, which only
one process can do; the highest number holds the folder. Numbers only grow, so that a process which was asleep cannot
mistake a new claim for the old one that it looked at.

The owner rewrites its claim every few seconds. Others judge a claim by whether it *changes* while they watch it, by
their own clock: they compare no times of different machines, need no locks across machines, and may see changes late,
as on NFS. A claim that did not change for `PATIENCE` seconds is dead, and the next number may be taken. On one machine
nobody has to wait: the system itself knows whether the owner still holds its file.

An owner that was only asleep finds the higher number, and stops (`Claim.check`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frugan import terminal
from frugan.files import is_locked, open_plain
from frugan.registry import UserError

BEAT = 5.0
"""Seconds after which an owner rewrites its claim."""

PATIENCE = 60.0
"""Seconds without a change after which the claim of another machine is dead. NFS shows changes after 60 s at the
latest with its usual settings, and at once to whoever opens the file, as is done here."""

LOOK = 0.25
"""Seconds between two looks at another's claim."""

_NAME = re.compile(r"\.lock-(\d{1,18})")


class HeldError(UserError):
    """Another process holds the folder."""

    code = 75
    """The exit code of a program that ends with it: the same command may succeed later."""


def is_claim(path: Path) -> bool:
    """Whether a file is a claim, or what is left of one."""
    return _NAME.fullmatch(path.name) is not None


def place() -> str:
    """This machine since its last start: processes in one place see each other's locks at once."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


class Claim:
    """A folder that this process holds. `claimed` makes one."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle
        self.about: dict[str, Any] = {
            "place": place(), "host": socket.gethostname(), "process": os.getpid(), "owner": secrets.token_hex(8),
            "beat": 0,
        }  # fmt: skip
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write(self.about)
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def check(self) -> None:
        """Raise OSError if the folder is no longer there, or no longer this process's."""
        with contextlib.suppress(FileNotFoundError):
            if _highest(self.path.parent) > _number(self.path):
                raise OSError(
                    errno.EBUSY, f"another process took it over, since this one showed no life for {PATIENCE:.0f} s",
                    str(self.path.parent),
                )
            if self._is_at(self.path):
                return
        raise FileNotFoundError(
            errno.ENOENT, "the folder was deleted or moved while it was used", str(self.path.parent)
        )

    def moved_to(self) -> Path | None:
        """Where the folder is now, if it was moved; None if it is where it was, was deleted, or nobody can tell."""
        try:
            if hasattr(fcntl, "F_GETPATH"):  # macOS
                named = fcntl.fcntl(self.handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")
            else:
                named = os.readlink(f"/proc/self/fd/{self.handle}".encode())
        except OSError:
            return None
        now = Path(os.fsdecode(named))
        return now.parent if self._is_at(now) and not self._is_at(self.path) else None

    def _is_at(self, path: Path) -> bool:
        """Whether the claim's file has this name now."""
        try:
            return os.path.samestat(os.fstat(self.handle), os.stat(path))
        except OSError:
            return False

    def begin(self) -> None:
        """Rewrite the claim from now on."""
        self._beating.start()

    def release(self) -> None:
        """Let the folder go. What is left of the claim keeps its number."""
        self._ended.set()
        self._beating.join()
        with contextlib.suppress(OSError):
            self._write({"free": True})
        os.close(self.handle)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self.about["beat"] += 1
            with contextlib.suppress(OSError):
                self._write(self.about)

    def _write(self, about: dict[str, Any]) -> None:
        data = (json.dumps(about) + "\n").encode()
        os.pwrite(self.handle, data, 0)
        os.ftruncate(self.handle, len(data))
        os.fsync(self.handle)  # only then do other machines see it


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold a folder, which is there. Raises HeldError if another process holds it, OSError if it cannot be written."""
    claim = _take(folder)
    claim.begin()
    try:
        yield claim
    finally:
        claim.release()


def holder(folder: Path) -> str | None:
    """On which machine the process runs that holds or held the folder last; None if it was let go, or never held."""
    about = _read(folder / f".lock-{_highest(folder)}")[1]
    return None if not about or about.get("free") else str(about.get("host"))


def _take(folder: Path) -> Claim:
    while True:
        number = _highest(folder)
        if number:
            _wait_until_free(folder / f".lock-{number}")
        mine = folder / f".lock-{number + 1}"
        try:
            handle = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        except FileExistsError:
            if _highest(folder) <= number:
                raise  # a name that is no file, such as a link
            continue  # another process was faster
        claim = Claim(mine, handle)
        if _highest(folder) == number + 1:
            for one in _claims(folder):
                if _number(one) <= number:
                    one.unlink(missing_ok=True)
            return claim
        # This process slept between its look and its claim, and others have come and gone since.
        mine.unlink(missing_ok=True)
        os.close(handle)


def _wait_until_free(path: Path) -> None:
    """Return once nobody holds this claim any more. Raises HeldError as soon as its owner shows life."""
    first, about = _read(path)
    if about.get("free"):
        return
    held = HeldError(
        f"Another process is training in {path.parent}"
        f"{' (on ' + about['host'] + ')' if about and about['host'] != socket.gethostname() else ''}. "
        "Wait until it has finished, or give another --out."
    )
    if about.get("place") == place():
        try:
            alive = is_locked(path)
        except FileNotFoundError:
            return
        if alive is not None:
            if alive:
                raise held
            return
    if about:
        terminal.tell(
            f"frugan: a process on {about['host']} has used {path.parent}. Watching for {PATIENCE:.0f} s whether it "
            "still runs."
        )  # fmt: skip
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        time.sleep(LOOK)
        now, about = _read(path)
        if about.get("free") or _highest(path.parent) != _number(path):
            return
        if now != first:
            raise held


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """What a claim holds, as bytes and read; nothing while it is being written, or if it is gone."""
    try:
        handle = open_plain(path, os.O_NOFOLLOW)
    except FileNotFoundError:
        return b"", {}
    with open(handle, "rb") as file:
        data = file.read(4096)
    with contextlib.suppress(ValueError):
        about = json.loads(data)
        if isinstance(about, dict) and (about.get("free") or "host" in about):
            return data, about
    return data, {}


def _claims(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name)]


def _number(path: Path) -> int:
    return int(path.name.removeprefix(".lock-"))


def _highest(folder: Path) -> int:
    """The highest number of a claim in a folder; 0 if there is none."""
    return max(map(_number, _claims(folder)), default=0)
