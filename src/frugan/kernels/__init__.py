"""Kernels: different ways to compute the layers that take most of the time, and the choice between them.

A layer never names a kernel. It gives `apply` a `Call`, which says what to compute and how torch's own functions do it
(the plain form), and the tensors. A kernel says whether it can compute the call. Kernels change no parameters and no
names, and equal the plain form up to rounding (docs/precision.md).

Outside a run the plain rule holds: torch's functions compute every call. Grouped layers on a CPU are computed in
float32 even under autocast, since torch has no fast way in bf16. Inside ``with choices.active()`` each call gets the
fastest kernel that can compute it, which is measured at the first use and kept for this machine, or the kernel that was
asked for. The choices are state: they are saved and restored with a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frugan.registry import Registry, UserError, suggest

registry = Registry("kernel", "frugan.kernels")
names = registry.names

LEAST_ROUNDS = 500  # below, compiling and trying out may take longer than it saves
Plain = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


class Sliding(NamedTuple):
    """The settings of the operations ``convolution``, ``transposed``, ``grouped`` and ``grouped_transposed``.

    The last two have channels in groups. `rows` and `columns` are padding (before, after); for a transposed layer, they
    are cropped from its full output.
    """

    stride: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    groups: int

    def output_size(self, images: Tensor, weight: Tensor) -> tuple[int, int]:
        """Height and width of the output of a layer that is not transposed."""
        pads = (self.rows, self.columns)
        sides = zip(images.shape[2:], weight.shape[2:], self.stride, pads, strict=True)
        height, width = ((size + sum(pad) - kernel) // step + 1 for size, kernel, step, pad in sides)
        return height, width


FULL = ("convolution", "transposed")
"""The operations without groups. Most of them have one kernel that takes them, torch's own."""


class Norm(NamedTuple):
    """The settings of the operation ``instance_norm``; with `rectify`, a ReLU comes after it."""

    eps: float
    rectify: bool


class Call(NamedTuple):
    """What a layer computes: the operation, its settings, and its plain form, a function of (images, weight, bias)."""

    operation: str
    settings: Sliding | Norm
    plain: Plain


@dataclass(frozen=True)
class Kernel:
    """One way to compute calls.

    Args:
        takes: (call, images, weight) -> whether this kernel can compute the call on this machine.
        run: (call, images, weight, bias) -> the output, equal to that of the plain form up to rounding.
    """

    name: str
    takes: Callable[[Call, Tensor, Tensor | None], bool]
    run: Callable[[Call, Tensor, Tensor | None, Tensor | None], Tensor]


def find(name: str) -> Kernel:
    """The kernel called `name`. Raises UserError with the nearest name."""
    return registry.find(name)


def add(name: str, kernel: Kernel) -> Kernel:
    """Register a kernel of your own. It is tried for every call that it `takes`."""
    return registry.add(name, kernel)


def apply(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute a call with the kernel that is chosen for it."""
    choices = _active.get()
    kernel = by_rule(call, images) if choices is None else choices.kernel(call, images, weight)
    return kernel.run(call, images, weight, bias)


def by_rule(call: Call, images: Tensor) -> Kernel:
    """The kernel of a call by the plain rule, without measuring."""
    return find("float32" if slow_in_half(call, images) else "plain")


def slow_in_half(call: Call, images: Tensor) -> bool:
    """Whether torch is slow for a call in autocast's precision: true for grouped convolutions on a CPU."""
    grouped = call.operation.startswith("grouped")
    return grouped and images.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def computed(images: Tensor) -> torch.dtype:
    """The precision that a layer computes in: autocast's if it is on, else that of its input."""
    device = images.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype


@contextlib.contextmanager
def towards_images() -> Iterator[None]:
    """Inside, only gradients for images are needed, so kernels need not compute those for weights.

    Torch tells only its own functions which gradients are needed. This has no effect on a GPU, where other threads
    compute the gradients.
    """
    before = _towards_images.set(True)
    try:
        yield
    finally:
        _towards_images.reset(before)


def wanted(weight: Tensor) -> bool:
    """Whether the gradient for `weight` is needed. It always is for computed weights: they may depend on images."""
    return not (_towards_images.get() and weight.is_leaf)


Watcher = Callable[[str, tuple[Tensor, ...], int, float], None]
"""Called with an operation, what it read and wrote, its multiply-accumulates (0: none to speak of) and its seconds."""


@contextlib.contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Inside, `by` is called after each call of a compiled function, since torch's own tools do not see those calls."""
    before = watcher.set(by)
    try:
        yield
    finally:
        watcher.reset(before)


def resolve(mode: str, device: torch.device, rounds: int) -> str:
    """Turn "auto" into "measured" for a long run on a machine with a compiler, else into "plain".

    Other modes stay as they are. The cache has no influence, so equal runs begin alike.
    """
    from frugan.kernels import _compiler

    if mode != "auto":
        return mode
    worth = device.type == "cpu" and rounds >= LEAST_ROUNDS and _compiler.compiler() is not None
    return "measured" if worth else "plain"


class Choices:
    """Which kernel computes which call; something with state, like a network.

    Args:
        mode: "plain" for the plain rule; "measured" for the fastest kernel that takes a call; or a kernel's name, to
            use it for every call that it takes. ("auto" must be resolved first: `resolve`.)

    Raises UserError for another mode.
    """

    def __init__(self, mode: str) -> None:
        accepted = ("plain", "measured", *names())
        if mode not in accepted:
            raise UserError(f"kernels={mode} is unknown. {suggest(mode, ('auto', *accepted))}")
        self.mode = mode
        self.chosen: dict[str, str] = {}
        self.times: dict[str, Mapping[str, float]] = {}
        self.used: list[str] = []
        self._ready: dict[tuple[Any, ...], Kernel] = {}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside, this object chooses the kernel of each call."""
        before = _active.set(self)
        try:
            yield
        finally:
            _active.reset(before)

    def kernel(self, call: Call, images: Tensor, weight: Tensor | None) -> Kernel:
        """The kernel for a call. In the mode "measured", its first use takes time: the kernels are measured."""
        last = images.is_contiguous(memory_format=torch.channels_last) if images.dim() == 4 else False
        shape = None if weight is None else tuple(weight.shape)
        key = (call.operation, tuple(images.shape), shape, call.settings, images.dtype, computed(images),
               images.device.type, last)  # fmt: skip
        kernel = self._ready.get(key)
        if kernel is None:
            kernel = self._ready[key] = self._choose(_describe(key), call, images, weight)
        return kernel

    def _choose(self, key: str, call: Call, images: Tensor, weight: Tensor | None) -> Kernel:
        rule = by_rule(call, images)
        if self.mode == "plain":
            return rule
        asked = names() if self.mode == "measured" else [self.mode]
        able = [kernel for kernel in map(find, asked) if kernel.takes(call, images, weight)]
        if call.operation in FULL and able in ([], [rule]):
            return rule  # most full layers: there is nothing to choose, and nothing to tell
        self.used.append(key)
        if self.mode == "measured":
            name = self.chosen.get(key) or self._measured(key, able, call, images, weight)
        else:
            name = self.mode
        kernel = next((one for one in able if one.name == name), rule)
        self.chosen[key] = kernel.name
        return kernel

    def _measured(self, key: str, able: list[Kernel], call: Call, images: Tensor, weight: Tensor | None) -> str:
        from frugan.kernels import _trial

        if len(able) == 1:
            return able[0].name
        self.times[key] = _trial.milliseconds(key, able, call, images, weight)
        return min(self.times[key], key=self.times[key].__getitem__)

    def circumstances(self) -> dict[str, str | None]:
        """What the last bits of results depend on: mode and compiler. Empty in the mode "plain"."""
        from frugan.kernels import _compiler

        compiler = _compiler.compiler()
        return {} if self.mode == "plain" else {"kernels": self.mode, "compiler": compiler and compiler[1]}

    def state_dict(self) -> dict[str, Any]:
        """The kernels that were chosen so far."""
        return {"chosen": dict(self.chosen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the kernels that were chosen before. Other calls choose their kernel when they first run."""
        self.chosen, self._ready = dict(state["chosen"]), {}


def _describe(key: tuple[Any, ...]) -> str:
    """A call's key in words, the same in every process."""
    operation, shape, weight, settings, given, dtype, device, last = key
    types = [str(one).removeprefix("torch.") for one in (given, dtype)]
    kernel = "" if weight is None else f" weight {'x'.join(map(str, weight))}"
    rest = " ".join(f"{name}={value}" for name, value in settings._asdict().items()).replace(", ", ",")
    layout = "channels_last" if last else "contiguous"
    return f"{operation} {'x'.join(map(str, shape))}{kernel} {rest} {types[0]}>{types[1]} {layout} {device}"


_active: ContextVar[Choices | None] = ContextVar("kernels", default=None)
_towards_images: ContextVar[bool] = ContextVar("towards_images", default=False)
watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
