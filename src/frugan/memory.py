"""How this process's memory is managed."""

from __future__ import annotations

import ctypes
import sys


def keep() -> None:
    """Tell glibc's allocator to keep freed memory instead of giving it back and faulting it in again.

    Each large result is new memory otherwise, which the system hands out page by page: a third of a round of StarGAN
    with its large discriminator, half of what a depthwise DCGAN-64 takes for 64 images. It holds for the whole process,
    so it is done where that is frugan's own, and in training.
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
