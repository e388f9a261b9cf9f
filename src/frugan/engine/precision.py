"""The device and the precision that a run computes with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import torch

from frugan.arithmetic import bf16_is_faster
from frugan.registry import UserError, suggest

PRECISIONS = ("auto", "float32", "bf16")

def choose_device(name: str | None) -> torch.device:
    """The device of that name; without a name, the best one. Under `torchrun`, it is this process's own card.

    Raises UserError as `device_called` does, and for devices without float64, which metrics and penalties need.
    """
    chosen = device_called(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type not in ("cpu", "cuda"):
        why = "it computes no float64, which metrics need" if chosen.type == "mps" else "it was never tried"
        raise UserError(f"--device {name}: frugan does not run there, since {why}. Use cpu or cuda.")
    if chosen.type == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return chosen


def device_called(name: str) -> torch.device:
    """The device of that name, whether frugan trains there or not.

    Raises UserError for an unknown name, for torch's meta, whose tensors hold no numbers, and for a CUDA card that the
    machine lacks.
    """
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type == "meta":
        raise UserError(f"There is no device '{name}'. Choose from: cpu, cuda, cuda:0, ...")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no CUDA device on this machine. Leave --device out.")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        cards = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
        raise UserError(f"--device {name}: this machine has no such card. Choose from: cpu, {cards}.")
    return chosen


def resolve(precision: str, device: torch.device) -> str:
    """ "auto" becomes bf16 where the hardware computes it faster than float32, else float32."""
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision '{precision}'. {suggest(precision, PRECISIONS)}")
    if precision != "auto":
        return precision
    return "bf16" if bf16_is_faster(device) else "float32"


def autocast(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[object]]:
    """The context in which rounds are played."""
    if precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
