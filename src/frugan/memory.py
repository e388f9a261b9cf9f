"""How this process's memory is managed."""

from __future__ import annotations

import ctypes
import sys


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
