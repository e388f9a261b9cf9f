"""The arithmetic that images are judged with: float32 throughout, whatever a caller has set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


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
