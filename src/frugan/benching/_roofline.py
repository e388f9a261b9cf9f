"""The machine's roofline, the operations of a round, and how near each comes to it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


SLOW = 0.1
"""Seconds: a product of matrices that takes longer says enough about the machine."""


class Roofline(NamedTuple):
    """What the machine can do: multiply-accumulates a second by precision, and bytes a second read and written."""

    macs: Mapping[str, float]
    bytes: float

    def best(self, other: Roofline) -> Roofline:
        """The higher of two measurements, number by number."""
        macs = {name: max(peak, other.macs[name]) for name, peak in self.macs.items()}
        return Roofline(macs, max(self.bytes, other.bytes))


@dataclass(frozen=True)
class Hot:
    """One kind of operation of a round: all calls with the same shapes. `seconds` a round; `share` of the roofline.

    `calls` are a mean: 0.25 if a penalty makes one in every fourth round.
    The share is None for operations that the roofline counts as free.
    """

    operation: str
    shapes: str
    calls: float
    seconds: float
    share: float | None


def measured(precisions: Sequence[str], device: torch.device) -> Roofline:
    """The machine's roofline in these precisions and in float32, which sampling always uses."""
    return Roofline({name: _product(name, device) for name in dict.fromkeys((*precisions, "float32"))}, _copy(device))


def _product(precision: str, device: torch.device, sizes: Sequence[int] = (256, 512, 1024, 2048)) -> float:
    """Multiply-accumulates a second in a large product of matrices.

    Two libraries can compute it, so it is measured twice: as a product, and as a convolution one pixel wide
    (channels-last). On some processors the second is twice as fast in float32; without it a layer could come out
    faster than the roofline.

    The product grows until it takes `SLOW` seconds: a processor without bf16 would need a minute for the largest.
    """
    import torch
    from torch.nn import functional

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    channels = 512
    images = torch.ones(4, channels, 64, 64, dtype=kind, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 1, 1, dtype=kind, device=device)
    with torch.no_grad():
        peak = images.numel() * channels / _fastest(lambda: functional.conv2d(images, weight), device)
        for size in sizes:
            one, other = (torch.ones(size, size, dtype=kind, device=device) for _ in range(2))
            seconds = _fastest(functools.partial(torch.mm, one, other), device)
            peak = max(peak, size**3 / seconds)
            if seconds > SLOW:
                break
    return peak


def _copy(device: torch.device, size: int = 64 << 20) -> float:
    """Bytes a second, read and written together, in a copy too large for any cache."""
    import torch

    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _fastest(lambda: target.copy_(source), device)


def _fastest(run: Callable[[], object], device: torch.device, repeats: int = 9, patience: float = 4.0) -> float:
    """Seconds of the fastest run: a peak is the best that was ever reached, however busy the machine was.

    It is repeated until `patience` seconds are over.
    """
    from frugan.arithmetic import wait

    times: list[float] = []
    while len(times) < repeats and sum(times) < patience:
        started = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - started)
    return min(times)


@dataclass
class Operation:
    """All calls of one kind of operation: seconds they took, and seconds they would take at the roofline."""

    calls: float = 0
    seconds: float = 0.0
    ideal: float = 0.0


def count(run: Callable[[], object], roofline: Roofline, times: int = 1) -> dict[tuple[str, str], Operation]:
    """Run once to warm up, then so many `times`, counting every operation by its name and shapes: the mean of a run."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from frugan.kernels import watched

    operations: dict[tuple[str, str], Operation] = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            started = time.perf_counter()
            out = func(*args, **(kwargs or {}))
            taken = time.perf_counter() - started
            made = out if isinstance(out, tuple) else (out,)
            tensors = tuple(value for value in (*args, *made) if isinstance(value, torch.Tensor))
            note(func.overloadpacket.__name__, tensors, _macs(func.overloadpacket, args, out), taken)
            return out

    def note(name: str, tensors: Sequence[Tensor], macs: float, taken: float) -> None:
        shapes = " ".join("x".join(map(str, value.shape)) for value in tensors[:3])
        kind = "bf16" if any(value.dtype is torch.bfloat16 for value in tensors) else "float32"
        entry = operations.setdefault((name, f"{shapes} {kind}"), Operation())
        entry.calls += 1
        entry.seconds += taken
        if macs:
            moved = sum(value.numel() * value.element_size() for value in tensors)
            entry.ideal += max(macs / roofline.macs[kind], moved / roofline.bytes)

    run()
    with Watch(), watched(note):
        for _ in range(times):
            run()
    return {
        key: Operation(one.calls / times, one.seconds / times, one.ideal / times) for key, one in operations.items()
    }


def _macs(operation: Any, args: Sequence[Any], out: Any) -> float:
    """Multiply-accumulates of one call; 0 for what is neither a convolution nor a product of matrices."""
    import torch
    from torch.utils.flop_counter import flop_registry

    aten = torch.ops.aten
    if operation is aten.convolution:
        image, weight, transposed = args[0], args[1], args[6]
        return (image if transposed else out).numel() * weight[0].numel()
    if operation is aten.convolution_backward:
        # The gradient of the input and that of the weight take as many as the forward each. (The counter of torch
        # takes grouped layers for full ones here.)
        gradient, image, weight, transposed, mask = *args[:3], args[7], args[10]
        return (image if transposed else gradient).numel() * weight[0].numel() * (mask[0] + mask[1])
    formula = flop_registry.get(operation)
    return 0 if formula is None else formula(*args, out_val=out) / 2


def hottest(operations: Mapping[tuple[str, str], Operation], most: int = 12) -> tuple[Hot, ...]:
    slowest = sorted(operations.items(), key=lambda item: -item[1].seconds)[:most]
    return tuple(
        Hot(name, shapes, one.calls, one.seconds, one.ideal / one.seconds if one.ideal else None)
        for (name, shapes), one in slowest
    )
