"""How long a network takes on this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frugan.arithmetic import wait
from frugan.costs._observing import observe
from frugan.costs._tensors import all_tensors, arguments, dtype_of, duplicate, is_shape


@dataclass(frozen=True)
class Latency:
    """How long one forward takes, in milliseconds for the whole batch: median, quartiles, and 5 to 95 % of the repeats.

    `machine` names the processor or the card and torch's version; `threads` is how many threads torch used on the CPU.
    """

    batch: int
    median_ms: float
    quartiles_ms: tuple[float, float]
    range_ms: tuple[float, float]
    images_per_second: float
    repeats: int
    threads: int
    precision: str
    device: str
    machine: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"batch {self.batch}: {self.median_ms:.2f} ms (quartiles {self.quartiles_ms[0]:.2f} to "
            f"{self.quartiles_ms[1]:.2f}), {self.images_per_second:,.0f} images/s, {self.precision}, "
            f"{self.threads} threads, {self.machine}"
        )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch uses so many threads, and so does what is opened in a runtime."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def latency(
    module: nn.Module, *inputs: Any, batches: Sequence[int] = (1, 64), repeats: int = 50, warm_up: int = 10,
    device: str | torch.device | None = None, seconds: float = 30.0,
) -> list[Latency]:
    """Measure the time of a forward in evaluation mode, without gradients; one `Latency` per batch size.

    Args:
        inputs: as for `cost`; their batch is replaced by each of `batches`, and what has none (a single time step, a
            table of words beside the images) is given as it is.
        device: where to measure. If left out: where the module is.
        seconds: about how long each batch size may take. A slow network gets fewer repeats, but at least five.
    """
    arms = {"": (module, *inputs)}
    return latencies(arms, batches=batches, repeats=repeats, warm_up=warm_up, device=device, seconds=seconds)[""]


def latencies(
    arms: Mapping[str, tuple[Any, ...]], *, batches: Sequence[int] = (1, 64), repeats: int = 50, warm_up: int = 10,
    device: str | torch.device | None = None, seconds: float = 30.0,
) -> dict[str, list[Latency]]:
    """Measure several networks in turn (A B A B ...), so that other work on the machine slows all of them alike.

    Args:
        arms: name -> (module, *inputs), as for `latency`. The other arguments are the same; `seconds` is for all
            together.
    """
    latencies: dict[str, list[Latency]] = {name: [] for name in arms}
    with contextlib.ExitStack() as stack, torch.inference_mode():
        stack.enter_context(torch.random.fork_rng(devices=[]))
        ready = {}
        for name, (module, *inputs) in arms.items():
            here = next((tensor.device for tensor in all_tensors(module)), torch.device("cpu"))
            there = here if device is None else torch.device(device)
            placed = module if there.type == here.type else duplicate(module).to(there)
            stack.enter_context(_evaluating(placed))
            ready[name] = placed, there, arguments(tuple(inputs)), _batch(module, inputs)
        for batch in batches:
            runs = {}
            for name, (module, there, (positional, keyword), given) in ready.items():
                generator = torch.Generator().manual_seed(0)
                enlarge = _enlarger(given, batch, there, dtype_of(module), generator)
                named = {key: enlarge(value) for key, value in keyword.items()}
                runs[name] = _timer(module, [enlarge(value) for value in positional], named, there)
            for name, milliseconds in _in_turn(runs, repeats, warm_up, seconds).items():
                module, there, *_ = ready[name]
                latencies[name].append(_summary(milliseconds, batch, there, dtype_of(module)))
    return latencies


def processor() -> str:
    """The processor's name and its number of cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def machine(device: torch.device | str = "cpu") -> str:
    """The processor or the card, and torch's version. Every measured time has to state them."""
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, torch {torch.__version__}"


def _in_turn(
    runs: dict[str, Callable[[], float]], repeats: int, warm_up: int, seconds: float
) -> dict[str, list[float]]:
    started = time.perf_counter()
    for _ in range(warm_up):
        for run in runs.values():
            run()
        if time.perf_counter() - started > seconds / 5:
            break
    times: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(repeats):
        if done >= 5 and time.perf_counter() - started > seconds:
            break
        for name, run in runs.items():
            times[name].append(run())
    return times


def _timer(
    module: nn.Module, positional: list[Any], keyword: dict[str, Any], device: torch.device
) -> Callable[[], float]:
    def run() -> float:
        wait(device)
        started = time.perf_counter()
        module(*positional, **keyword)
        wait(device)
        return 1000 * (time.perf_counter() - started)

    return run


def _batch(module: nn.Module, inputs: Sequence[Any]) -> int:
    """How many images the inputs hold. Raises UserError if that is not clear."""
    positional, keyword = arguments(tuple(inputs))
    shapes = [tuple(one.shape) if isinstance(one, Tensor) else one for one in (*positional, *keyword.values())]
    firsts = {shape[0] for shape in shapes if is_shape(shape)}
    return firsts.pop() if len(firsts) == 1 else observe(module, *inputs).batch


def _enlarger(
    given: int, batch: int, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> Callable[[Any], Any]:
    """What makes inputs of `given` images ones of `batch`."""

    def enlarge(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.dim() == 0 or len(value) != given:
                return value.to(device)
            return value[torch.arange(batch, device=value.device) % max(given, 1)].to(device)
        if is_shape(value):
            shape = (batch, *value[1:]) if value[0] == given else tuple(value)
            return torch.randn(shape, generator=generator).to(device, dtype)
        return value

    return enlarge


def _summary(milliseconds: list[float], batch: int, device: torch.device, dtype: torch.dtype) -> Latency:
    points = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.double)
    low, first, median, third, high = torch.quantile(torch.tensor(milliseconds, dtype=torch.double), points).tolist()
    return Latency(
        batch=batch, median_ms=median, quartiles_ms=(first, third), range_ms=(low, high),
        images_per_second=1000 * batch / median, repeats=len(milliseconds), threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix("torch."), device=str(device), machine=machine(device),
    )


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and every submodule's own mode again afterwards."""
    modes = {sub: sub.training for sub in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for sub, mode in modes.items():
            sub.training = mode
