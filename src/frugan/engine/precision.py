"""The device and the precision that a run computes with."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable

import torch

from frugan.registry import UserError, suggest

PRECISIONS = ("auto", "float32", "bf16")


def choose_device(name: str | None) -> torch.device:
    """The device of that name; without a name, the best one. Under `torchrun`, it is this process's own card.

    Raises UserError for an unknown name, for CUDA on a machine without it, and for devices without float64, which
    metrics and penalties need.
    """
    try:
        chosen = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise UserError(f"There is no device '{name}'. Choose from: cpu, cuda, cuda:0, ...") from None
    if chosen.type not in ("cpu", "cuda", "meta"):
        why = "it computes no float64, which metrics need" if chosen.type == "mps" else "it was never tried"
        raise UserError(f"--device {name}: frugan does not run there, since {why}. Use cpu or cuda.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no CUDA device on this machine. Leave --device out.")
    if chosen.type == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return chosen


def resolve(precision: str, device: torch.device) -> str:
    """ "auto" becomes bf16 where the hardware computes it faster than float32, else float32."""
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision '{precision}'. {suggest(precision, PRECISIONS)}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bf16" if device.type == "cpu" and bf16_is_faster() else "float32"


@functools.cache
def bf16_is_faster() -> bool:
    """Whether this machine's CPU multiplies matrices faster in bf16 than in float32. Asked once in a process.

    It is measured, since the instructions do not tell: with AVX-512 bf16 alone, an AMD EPYC takes less time for a
    product in bf16, and an Intel Xeon 1.6 times as much. Without any such instructions one takes minutes.
    """
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return False
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for _ in range(5):
        for kind in seconds:
            square = torch.ones(256, 256, dtype=kind)
            began = time.perf_counter()
            square @ square
            seconds[kind] = min(seconds[kind], time.perf_counter() - began)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def autocast(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[object]]:
    """The context in which rounds are played."""
    if precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
