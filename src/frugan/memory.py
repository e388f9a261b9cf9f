"""How this process's memory is managed, and what is said where there is too little."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import mmap
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from frugan.registry import UserError

GROUPS = Path("/sys/fs/cgroup")
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
"""Where there is one, a GPU's driver asks for far more addresses than memory, so nothing may be held back."""
SPARE = 2**30
"""Bytes that a process may ask for beyond what is free: it never uses all that it asks for."""


class TooLittleError(UserError):
    """There was too little memory just then: the same command may succeed when the machine has more left."""

    code = 71


@contextlib.contextmanager
def enough() -> Iterator[None]:
    """Inside, memory that cannot be had raises UserError, which says how much was wanted and what takes less.

    If the machine might give it at another time, it is a TooLittleError.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        wanted = _wanted(error)
        if wanted is None:
            raise
        size, unit = (1e9, "GB") if wanted >= 1e8 else (1e6, "MB")
        told = "" if wanted in (0, math.inf) else f": {wanted / size:,.1f} {unit} more could not be had"
        on_card = type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be loaded; runs there are alone
        raise (UserError if on_card or wanted > _whole() else TooLittleError)(
            f"There is too little memory{told}. Smaller images (data.size), thinner networks (e.g. "
            "generator.width=0.5) and fewer images at once (batch_size) take less."
        ) from error


def _wanted(error: Exception) -> float | None:
    """How many bytes were refused, 0 if it is not said; None for another error."""
    if isinstance(error, OSError):  # by its number alone: its text has names of files
        return 0 if error.errno == errno.ENOMEM else None
    text = str(error)
    number = re.search(r"tried to allocate (\d+) bytes", text)
    if number is not None:
        return int(number[1])
    named = re.search(r"(?:Tried|Unable) to allocate ([\d.]+) ([KMGTPE]?)i?B", text)
    if named is not None:
        return float(named[1]) * 1024 ** " KMGTPE".index(named[2] or " ")
    if "Storage size calculation overflowed" in text:
        return math.inf
    return 0 if isinstance(error, MemoryError) or "out of memory" in text else None


def _whole() -> float:
    """How many bytes this process could have if nobody else had any; infinite where the system does not say."""
    try:
        machine = 1024 * sum(_kilobytes("/proc/meminfo", name) for name in ("MemTotal", "SwapTotal"))
        return min([machine, *(_most_of(group, files.limit) for group, files in _groups())])
    except (OSError, ValueError):
        return math.inf


def hold() -> None:
    """Refuse this process, and those that it starts, more memory than this machine has left now.

    Linux promises any amount, and when it cannot give what it promised it kills a process without a word. A refusal is
    told in a line (`enough`). It does nothing on other systems and on machines with a GPU.
    """
    if not sys.platform.startswith("linux") or any(driver.exists() for driver in DRIVERS):
        return
    with contextlib.suppress(OSError, ValueError):  # a system without these files keeps its own rule
        _limit(_most())


def mapped(file: IO[bytes]) -> mmap.mmap:
    """The bytes of an open file, which may be larger than what is left: only the parts that are read take memory.

    Whoever writes to them changes a copy, never the file. (Where writing is forbidden, one write to a tensor ends the
    process.) The file may be closed, removed or replaced afterwards.
    """
    if not sys.platform.startswith("linux"):
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    # Linux refuses what would be too much if all of it were written to, by two rules: the limit of `hold`, and one of
    # its own for what does not say that nothing is to be reserved.
    _raise_limit(os.fstat(file.fileno()).st_size)
    return mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE)


_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Python has it from 3.13 on; the number is that of x86 and ARM."""


def _raise_limit(size: int) -> None:
    """Let this process have `size` more bytes of addresses, if its memory is limited.

    The limit does not grow with each file that is mapped and let go: beside this one, it is at most what is left now.
    """
    import resource

    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if limit >= 0:
        with contextlib.suppress(OSError, ValueError):
            _limit(max(limit, min(limit, _most()) + size))


def _limit(size: int) -> None:
    """Limit the memory of this process and of those that it starts, in bytes, as far as the system allows."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))


def _most() -> int:
    """How many bytes this process may have in all: what it has, and what is left now. Raises as `free` does."""
    return _kilobytes("/proc/self/status", "VmData") * 1024 + free() + SPARE


def free() -> int:
    """How many bytes this process may still use: what the machine has left, and what its group of processes may have.

    Raises OSError or ValueError where the system does not say.
    """
    machine = sum(_kilobytes("/proc/meminfo", name) for name in ("MemAvailable", "SwapFree")) * 1024
    return min([machine, *(_left(group, files) for group, files in _groups())])


class _Files(NamedTuple):
    """The files of a control group with its limit and with what is used, and how pages of files that are kept, and
    count as free, stand in ``memory.stat``."""

    limit: str
    usage: str
    kept: str


_VERSIONS = {
    "": _Files("memory.max", "memory.current", "inactive_file"),
    "memory": _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def _groups() -> Iterator[tuple[Path, _Files]]:
    """The control groups that this process is in, from its own to the whole machine's. Raises OSError."""
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _, controller, own = line.split(":", 2)
        if controller in _VERSIONS:
            folder = GROUPS / controller / own.lstrip("/")
            yield from ((group, _VERSIONS[controller]) for group in (folder, *folder.parents))


def _most_of(group: Path, limit: str) -> int:
    """How many bytes a control group may use; a very large number if it has no limit."""
    text = (group / limit).read_text("utf-8").strip() if (group / limit).exists() else "max"
    return sys.maxsize if text == "max" else int(text)


def _left(group: Path, files: _Files) -> int:
    """How many bytes a control group may still use; a very large number if it has no limit."""
    most = _most_of(group, files.limit)
    if most == sys.maxsize:
        return most
    pages = re.search(rf"^{files.kept} (\d+)", (group / "memory.stat").read_text("utf-8"), re.MULTILINE)
    used = int((group / files.usage).read_text("utf-8")) - (int(pages[1]) if pages else 0)
    return max(0, most - used)


def _kilobytes(path: str, name: str) -> int:
    """A number of the system's, as it stands behind its name. Raises ValueError if it is not there."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(path).read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} has no {name}.")
    return int(found[1])


def keep() -> None:
    """Tell glibc's allocator to keep freed memory instead of returning it to the system.

    Otherwise the system hands out new memory for each large result, page by page. That took a third of a round of
    StarGAN with its large discriminator, and half of the time in which a depthwise DCGAN-64 makes 64 images. It holds
    for the whole process, so it is done only in processes of frugan's own, and in training.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    trim_threshold, mmap_max = -1, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
