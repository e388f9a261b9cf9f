"""How this process's memory is managed, and what is said where there is too little."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator

from frugan.registry import UserError


@contextlib.contextmanager
def enough() -> Iterator[None]:
    """Inside, memory that cannot be had raises UserError, which says how much was wanted and what takes less."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        wanted = _wanted(error)
        if wanted is None:
            raise
        raise UserError(
            f"There is too little memory: {wanted} at once could not be had. Smaller images (data.size), thinner "
            "networks (e.g. generator.width=0.5) and fewer images at once (batch_size) take less."
        ) from error


def _wanted(error: Exception) -> str | None:
    """How much memory was refused, in words; None for another error. torch has a type of its own for GPUs alone."""
    text = str(error)
    number = re.search(r"tried to allocate (\d+) bytes", text)
    if number is not None:
        return f"{int(number[1]) / 1e9:,.1f} GB"
    named = re.search(r"(?:Tried|Unable) to allocate ([\d.]+ \w+)", text)
    if named is not None:
        return named[1]
    beyond = isinstance(error, MemoryError) or "out of memory" in text or "Storage size calculation overflowed" in text
    return "what was asked for" if beyond else None


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
