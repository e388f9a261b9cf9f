"""Arithmetic: exact float32 for judging images, whatever a caller has set; whether bf16 is faster for training; and
waiting until a device has computed.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import torch

TRIES, CLEAR = 40, 0.8
"""How often a product is timed in each precision; bf16 is faster if it takes less than this share of the time."""


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, and none of the shortcuts that matrix units take in place of float32.

    cuDNN's convolutions take the shortcut (TensorFloat32, 10 bits of mantissa) unless told otherwise.
    """
    backends: Any = torch.backends  # some of these exist only while torch runs
    units = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    before = [unit.fp32_precision for unit in units]
    try:
        for unit in units:
            unit.fp32_precision = "ieee"
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for unit, precision in zip(units, before, strict=True):
            unit.fp32_precision = precision


def wait(device: torch.device) -> None:
    """Wait until the device has computed everything that it was given. A GPU does so later; who reads a clock waits."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def has_bf16(device: torch.device) -> bool:
    """Whether this device has instructions for bf16. Without them, one product can take minutes."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def bf16_is_faster(device: torch.device) -> bool:
    """Whether this device multiplies matrices faster in bf16 than in float32."""
    return has_bf16(device) and (device.type == "cuda" or _on_this_cpu())


@functools.cache
def _on_this_cpu() -> bool:
    """Measured, once in a process, since the instructions do not tell.

    With AVX-512 bf16 alone, an AMD EPYC takes less time for a product in bf16, and an Intel Xeon 1.6 times as much.
    Of many tries the fastest count, and a gain must be clear, so that
    other work on the machine does not decide.
    """
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for _ in range(TRIES):
        for kind in seconds:
            square = torch.ones(256, 256, dtype=kind)
            began = time.perf_counter()
            square @ square
            seconds[kind] = min(seconds[kind], time.perf_counter() - began)
    return seconds[torch.bfloat16] < CLEAR * seconds[torch.float32]
