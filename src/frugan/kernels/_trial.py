"""A quick trial of kernels: each computes a call forward and backward a few times, and the fastest time counts.

Times are kept in the cache for each machine, version of torch and number of threads. So all runs and all arms of a
comparison choose alike, however busy the machine is at the moment.
"""

from __future__ import annotations

import contextvars
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan.arithmetic import wait
from frugan.cache import cache_root, keep_json, kept_json, one_at_a_time
from frugan.kernels import _compiler

if TYPE_CHECKING:
    from frugan.kernels import Call, Kernel

REPEATS = 3
SHORT, SHORT_REPEATS = 30.0, 15  # milliseconds; a short call is easily disturbed for its whole length
HOPELESS = 3.0  # times the fastest, and not short itself: not tried again


def milliseconds(
    key: str, kernels: Sequence[Kernel], call: Call, images: Tensor, weight: Tensor | None
) -> Mapping[str, float]:
    """The shortest time of each kernel for a call like this one, from the cache or measured now."""
    path = _path()
    with one_at_a_time(path):  # two trials at once would measure each other, and might choose differently
        kept = kept_json(path) or {}
        times = kept.get(key)
        if times is None or not set(times) >= {kernel.name for kernel in kernels}:
            # In a context of its own: around it gradients of images alone may be wanted.
            times = kept[key] = contextvars.Context().run(_measured, kernels, call, images, weight)
            keep_json(path, kept)
    able = {kernel.name for kernel in kernels}
    return {name: value for name, value in times.items() if name in able}


def _path() -> Path:
    of = (torch.__version__, torch.get_num_threads(), _compiler.fingerprint())
    return cache_root() / "kernels" / f"times-{hashlib.sha256(repr(of).encode()).hexdigest()[:16]}.json"


@torch.inference_mode(False)  # also where a network is only sampled: the choice is the same
def _measured(kernels: Sequence[Kernel], call: Call, images: Tensor, weight: Tensor | None) -> dict[str, float]:
    random = torch.Generator(images.device).manual_seed(0)
    like = torch.empty_like(images).normal_(generator=random).requires_grad_()
    wanted = [like]
    if weight is not None:
        weight = torch.empty_like(weight).normal_(generator=random).requires_grad_()
        wanted.append(weight)

    def once(kernel: Kernel) -> float:
        began = time.perf_counter()
        with torch.enable_grad():
            made = kernel.run(call, like, weight, None)
        with torch.autocast(images.device.type, enabled=False):
            torch.autograd.grad(made, wanted, torch.ones_like(made))
        wait(images.device)
        return 1000 * (time.perf_counter() - began)

    least = {kernel.name: once(kernel) for kernel in kernels}
    for number in range(SHORT_REPEATS):
        best = min(least.values())
        for kernel in kernels:
            mine = least[kernel.name]
            if number == 0 or mine < SHORT or (number < REPEATS and mine < HOPELESS * best):
                least[kernel.name] = min(mine, once(kernel))
    return {name: round(value, 4) for name, value in least.items()}
