"""Running a network once to see what it does: which layers ran, with which shapes, and what was multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugan.costs._batch import images_of, may_hold, steps_first
from frugan.costs._counting import AttentionCalls, Counter, Place, storage
from frugan.costs._formulas import LAYERS, Images, Shape, Taken, has_formula, images, work
from frugan.costs._tensors import all_tensors, arguments, dtype_of, duplicate, is_shape, tensors_in
from frugan.registry import UserError

INSIDE = "parametrizations"  # where torch keeps the weights of a parametrised layer


@dataclass(frozen=True)
class Call:
    """One run of one module inside a network.

    Shapes of its first input and output, the elements it newly made, the multiply-accumulates that it made by itself,
    for all images, and how many images it was given, if it is a layer that knows.
    """

    name: str
    module: nn.Module
    input: Shape
    output: Shape
    made: int
    macs: int = 0
    attention: int = 0
    images: Images | None = None


@dataclass(frozen=True)
class Observation:
    """What happened when a network ran once.

    `batch` is the number of images it was called with, `calls` every run of a module in order, `outputs` the shapes it
    gave back. `seen` holds, for each module, what the operations multiplied there; `unknown` the operations of which
    nobody knows; `attended` the attention that a module called as a function. `touched` are the modules whose weights
    were read, and `steps_first` the layers that took for steps of sequences what was taken for the images.
    """

    batch: int
    calls: list[Call]
    outputs: list[Shape]
    multiplied: Mapping[str, Mapping[str, int]]
    unknown: Mapping[str, set[str]]
    attended: Mapping[str, int]
    touched: frozenset[str]
    steps_first: tuple[str, ...]


def observe(module: nn.Module, *inputs: Any, batch: int | None = None) -> Observation:
    """Run a copy of `module` once, its products left out, and say what ran with which shapes.

    Args:
        batch: how many images the inputs hold; found out if left out.

    Raises UserError if it does not run on `inputs` (see `frugan.cost`), or if how many images they hold is not clear.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"frugan.cost needs a torch module (nn.Module), but a {type(module).__name__} was given.")
    if batch is not None and (type(batch) is not int or batch < 1):
        raise UserError(f"batch={batch!r}: say how many images the inputs hold, e.g. batch=1.")
    positional, keyword = arguments(inputs)
    device = next((tensor.device for tensor in all_tensors(module)), torch.device("cpu"))
    described = ", ".join(_described(value) for value in (*positional, *keyword.values()))
    copied = duplicate(module, share=True)
    watch = _Watch(copied)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            given, outputs = watch.run(positional, keyword, device)
    except UserError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]  # torch adds every signature it knows below
        raise UserError(
            f"{type(module).__name__} fails with {described}: {reason}. Give the inputs that it needs: tensors, or "
            "shapes that begin with the batch, e.g. (1, 3, 64, 64)."
        ) from error
    if any(0 in shape for shape in given):
        raise UserError(f"{described}: this holds no images. Give one at least, e.g. (1, 3, 64, 64).")
    if batch is not None and not may_hold(batch, given, watch.images):
        raise UserError(f"batch={batch}: {described} holds neither so many images nor a multiple. Leave batch out.")
    counted = batch or images_of(given, outputs, watch.images)
    if counted is None:
        made = ", ".join(map(str, outputs)) or "no tensor"
        raise UserError(
            f"It is unclear how many images {type(module).__name__} was called with: with {described} it returns "
            f"{made}. Say it with batch=..., e.g. batch=1 for an image without a batch axis."
        )
    counter = watch.counter
    return Observation(
        batch=counted, calls=watch.calls, outputs=outputs, multiplied=counter.multiplied, unknown=counter.unknown,
        attended=counter.attended,
        touched=frozenset(
            name.partition(f".{INSIDE}")[0] for name, sub in copied.named_modules()
            if any(storage(weight) in counter.touched for weight in sub.parameters(recurse=False))
        ),
        steps_first=tuple(
            name for name, calls in watch.images.items() if batch is None and steps_first(calls, counted)
        ),
    )  # fmt: skip


class _Watch:
    """Hooks and modes around one run of a module, and what they saw."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.calls: list[Call] = []
        self.images: dict[str, list[Images]] = {}
        self.counter = Counter(module)
        for name, sub in module.named_modules():
            if isinstance(sub, torch.jit.ScriptModule):  # takes no hooks; its products belong to what is around it
                continue
            place = Place(name, has_formula(sub), INSIDE in name.split("."))
            sub.register_forward_pre_hook(self._entering(place))
            sub.register_forward_hook(self._leaving(place), with_kwargs=True, always_call=True)

    def run(
        self, positional: list[Any], keyword: dict[str, Any], device: torch.device
    ) -> tuple[list[Shape], list[Shape]]:
        """The shapes of all tensors that go in and come out."""
        dtype = dtype_of(self.module)
        given = [_filled(value, device, dtype) for value in positional]
        named = {name: _filled(value, device, dtype) for name, value in keyword.items()}
        with torch.no_grad(), _layer_by_layer(), self.counter, AttentionCalls(self.counter, self.images):
            output = self.module.eval()(*given, **named)
        return [tuple(tensor.shape) for tensor in tensors_in((given, named))], [
            tuple(tensor.shape) for tensor in tensors_in(output)
        ]

    def _entering(self, place: Place) -> Callable[..., None]:
        def hook(sub: nn.Module, args: Any) -> None:
            self.counter.running.append(place)

        return hook

    def _leaving(self, place: Place) -> Callable[..., None]:
        def hook(sub: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self.counter.running.pop()
            made = list(tensors_in(output))
            if not made or place.makes_weights:
                return
            given = list(tensors_in((args, kwargs)))
            taken = Taken(args, kwargs, tuple(made[0].shape))
            # What the layers inside put out was counted there; those inside a layer with a formula do not run.
            leaf = isinstance(sub, LAYERS) or not any(child != INSIDE for child, _ in sub.named_children())
            new = sum(tensor.numel() for tensor in made if not _reuses(tensor, given)) if leaf else 0
            known = images(sub, taken)
            # What a layer makes of a learnt constant is no image.
            if known is not None and storage(given[0]) not in self.counter.weights:
                self.images.setdefault(place.name, []).append(known)
            self.calls.append(Call(place.name, sub, taken.shape, taken.output, new, *work(sub, taken), known))

        return hook


@contextmanager
def _layer_by_layer() -> Iterator[None]:
    """Inside, transformer layers call the layers in them; their fast path would run all at once, out of sight."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _filled(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return torch.zeros(tuple(value), device=device, dtype=dtype) if is_shape(value) else value


def _described(value: Any) -> str:
    if isinstance(value, Tensor) or is_shape(value):
        return f"an input {tuple(value.shape if isinstance(value, Tensor) else value)}"
    return repr(value)


def _reuses(tensor: Tensor, given: list[Tensor]) -> bool:
    """Whether `tensor` is one of the inputs, changed in place perhaps, or a view of one."""
    bases = {id(source if source._base is None else source._base) for source in given}
    return id(tensor if tensor._base is None else tensor._base) in bases
