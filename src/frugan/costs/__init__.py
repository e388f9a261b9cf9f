"""What a network costs: parameters, multiply-accumulates, activation memory, and time on this machine.

`cost` counts almost without computing: the network runs once with its convolutions and matrix products left out (which
starts faster than torch's tensors without data). It follows the formulas of the plain form: a convolution makes
H_out W_out C_out (C_in / groups) K^2 multiply-accumulates, a transposed one H_in W_in C_in (C_out / groups) K^2, a
dense layer in x out; norms, activations, additions and resizing are free.
`latency` measures, because fewer multiply-accumulates are a hypothesis and the clock decides.

Any torch module will do. One that computes attention says so by a method ``macs_attention(input_shape) -> int``, the
multiply-accumulates of its products for a whole input of that shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from frugan.costs._tensors import all_tensors, arguments, dtype_of, duplicate, is_shape
from frugan.costs._timing import Latency, latencies, latency, machine, processor
from frugan.registry import UserError

__all__ = [
    "Call", "Cost", "Latency", "LayerCost", "Observation", "cost", "duplicate", "latencies", "latency", "machine",
    "observe", "parameters", "priced", "processor", "table",
]  # fmt: skip

RUNNING = ("running_mean", "running_var")
INSIDE = "parametrizations"  # where torch keeps the weights of a parametrised layer


@dataclass(frozen=True)
class LayerCost:
    """One layer: its place in the module, the role it was built for, and what it adds to the totals.

    `output` is the shape without the batch, None if the layer did not run. Parameters that an earlier layer shares are
    counted there.
    """

    name: str
    role: str | None
    kind: str
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    in_channels: int | None
    out_channels: int | None
    output: tuple[int, ...] | None
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The cost of one network.

    `parameters` are weights, trainable or frozen, and running means and variances; `trainable` those that an optimiser
    may change; `buffers` the elements of all other buffers (counters, spectral vectors, reference batches). `macs` are
    multiply-accumulates per image of convolutions and dense layers; `macs_attention` those that modules declare;
    `macs_flop_counter` is the cross-check, torch's flop counter halved. `activation_bytes` is the size in float32, per
    image, of all that the layers put out; an in-place layer or a view adds nothing.
    """

    parameters: int
    trainable: int
    buffers: int
    macs: int
    macs_attention: int
    macs_flop_counter: int
    activation_bytes: int
    layers: tuple[LayerCost, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self, *, layers: bool = False) -> dict[str, Any]:
        """For JSON; with `layers`, one dictionary per layer."""
        record = asdict(self)
        if not layers:
            del record["layers"]
        return record

    def __str__(self) -> str:
        rows = [("layer", "role", "kind", "kernel", "channels", "output", "parameters", "MACs")]
        for layer in self.layers:
            rows.append((
                layer.name or "(itself)", layer.role or "", layer.kind, _sizes(layer.kernel),
                "" if layer.in_channels is None else f"{layer.in_channels} -> {layer.out_channels}",
                _sizes(layer.output), f"{layer.parameters:,}", f"{layer.macs:,}",
            ))
        rows.append(("total", "", "", "", "", "", f"{self.parameters:,}", f"{self.macs:,}"))
        return "\n".join([table(rows, right=2), *(f"note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class Call:
    """One run of one module inside a network: shapes of its first input and output, and the elements it newly made."""

    name: str
    module: nn.Module
    input: tuple[int, ...]
    output: tuple[int, ...]
    made: int


@dataclass(frozen=True)
class Observation:
    """What happened when a network ran once: every call in order, the shapes it gave back, and torch's own count."""

    batch: int
    calls: list[Call]
    outputs: list[tuple[int, ...]]
    flops: int


def cost(module: nn.Module, *inputs: Any) -> Cost:
    """Count what `module` costs per image; the module stays as it is.

    Args:
        module: any torch module.
        inputs: what it is called with: tensors, shapes with their batch (``(1, 3, 64, 64)``), or a dict of such for
            keyword arguments.

    Raises UserError if the module does not run on them.
    """
    return priced(module, observe(module, *inputs))


def priced(module: nn.Module, seen: Observation) -> Cost:
    """The cost of `module` by what was seen when it ran."""
    macs: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    attention = made = 0
    for call in seen.calls:
        macs[call.name] = macs.get(call.name, 0) + _formula(call)
        shapes[call.name] = call.output[1:]
        made += call.made
        declared = getattr(call.module, "macs_attention", None)
        attention += declared(call.input) if callable(declared) else 0

    layers: list[LayerCost] = []
    counted: set[int] = set()
    trainable = buffers = 0
    idle: list[str] = []
    for name, sub in module.named_modules():
        if INSIDE in name.split("."):
            continue
        weights, running, others = _owned(sub, counted)
        trainable += sum(weight.numel() for weight in weights if weight.requires_grad)
        buffers += sum(buffer.numel() for buffer in others)
        parameters = sum(tensor.numel() for tensor in (*weights, *running))
        multiplies = isinstance(sub, (_ConvNd, nn.Linear))
        if multiplies and name not in shapes:
            idle.append(name)
        if parameters or multiplies:
            ran = macs.get(name, 0)
            layers.append(_row(module, name, sub, shapes.get(name), parameters, _per_image(ran, seen.batch)))
    order = {call.name: place for place, call in reversed(list(enumerate(seen.calls)))}
    layers.sort(key=lambda layer: order.get(layer.name, len(order) + len(seen.calls)))

    total = _per_image(sum(macs.values()), seen.batch)
    attended, counter = _per_image(attention, seen.batch), _per_image(seen.flops // 2, seen.batch)
    notes = []
    if total + attended != counter:
        notes.append(
            f"torch's flop counter sees {counter:,} multiply-accumulates, the formulas {total + attended:,}: "
            "a product or convolution outside of a layer, or a layer that computes in another form."
        )
    if idle:
        notes.append(f"did not run, so only their parameters count: {', '.join(idle)}.")
    return Cost(
        parameters=sum(layer.parameters for layer in layers), trainable=trainable, buffers=buffers, macs=total,
        macs_attention=attended, macs_flop_counter=counter, activation_bytes=_per_image(4 * made, seen.batch),
        layers=tuple(layers), notes=tuple(notes),
    )


def parameters(module: nn.Module) -> int:
    """How many parameters a module holds by the project's way of counting: weights, running means and variances."""
    counted: set[int] = set()
    total = 0
    for sub in module.modules():
        weights, running, _ = _owned(sub, counted)
        total += sum(tensor.numel() for tensor in (*weights, *running))
    return total


def observe(module: nn.Module, *inputs: Any) -> Observation:
    """Run a copy of `module` once, its products left out, and say what ran with which shapes.

    Raises UserError if it does not run on `inputs` (see `cost`).
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"Only a torch module has a cost, and this is a {type(module).__name__}; give it an nn.Module.")
    positional, keyword = arguments(inputs)
    device = next((tensor.device for tensor in all_tensors(module)), torch.device("cpu"))
    copied = duplicate(module, share=True)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return _run(copied, positional, keyword, device)
    except Exception as error:
        given = ", ".join(_described(value) for value in (*positional, *keyword.values()))
        reason = (str(error) or type(error).__name__).splitlines()[0]  # torch adds every signature it knows below
        raise UserError(
            f"{type(module).__name__} does not run on {given}: {reason}. Give what it is called with, "
            "tensors or shapes with their batch, e.g. (1, 3, 64, 64)."
        ) from error


def table(rows: Sequence[Sequence[str]], *, right: int) -> str:
    """Rows of text as aligned columns, the last `right` of them to the right; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = len(widths) - right
    rule = ["-" * width for width in widths]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _run(module: nn.Module, positional: list[Any], keyword: dict[str, Any], device: torch.device) -> Observation:
    dtype = dtype_of(module)
    given = [_filled(value, device, dtype) for value in positional]
    named = {name: _filled(value, device, dtype) for name, value in keyword.items()}
    batch = next((value.shape[0] for value in _tensors((given, named)) if value.dim()), 1)
    calls: list[Call] = []

    def record(name: str) -> Callable[..., None]:
        def hook(sub: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            taken, made = list(_tensors((args, kwargs))), list(_tensors(output))
            if not made:
                return
            leaf = not any(child != INSIDE for child, _ in sub.named_children())
            new = sum(tensor.numel() for tensor in made if not _reuses(tensor, taken)) if leaf else 0
            calls.append(Call(name, sub, tuple(taken[0].shape) if taken else (), tuple(made[0].shape), new))

        return hook

    for name, sub in module.named_modules():
        if INSIDE not in name.split("."):
            sub.register_forward_hook(record(name), with_kwargs=True)
    counting = _Counting()
    with torch.no_grad(), counting:
        output = module.eval()(*given, **named)
    return Observation(
        batch=max(batch, 1), calls=calls, outputs=[tuple(tensor.shape) for tensor in _tensors(output)],
        flops=counting.flops,
    )


class _Counting(TorchDispatchMode):
    """Inside, torch's flop formulas are added up; convolutions and matrix products give zeros of the right shape.

    torch's own `FlopCounterMode` applies the same formulas but loads the compiler for it, which takes seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else the first operation loads the compiler, only to keep it out

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = _without_multiplying(func, args)
        if output is None:
            output = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=output)
        return output


def _without_multiplying(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """Zeros in the shape that a convolution or a matrix product has; None for anything else, and for mistakes."""
    aten = torch.ops.aten
    if func is aten.convolution.default:
        images, weight, _, stride, padding, dilation, transposed, extra, groups = args
        sizes = zip(images.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True)
        if transposed:
            channels, wanted = weight.shape[1] * groups, weight.shape[0]
            out = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in sizes]
        else:
            channels, wanted = weight.shape[0], weight.shape[1] * groups
            out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in sizes]
        if images.shape[1] == wanted and min(out) > 0:
            return images.new_zeros(images.shape[0], channels, *out)
    elif func in (aten.mm.default, aten.bmm.default, aten.addmm.default):
        one, other = args[-2:]
        if one.shape[-1] == other.shape[-2]:
            return one.new_zeros(*one.shape[:-1], other.shape[-1])
    return None


def _formula(call: Call) -> int:
    layer = call.module
    if isinstance(layer, _ConvTransposeNd):
        return math.prod(call.input) * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
    if isinstance(layer, _ConvNd):
        return math.prod(call.output) * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return math.prod(call.output) * layer.in_features
    return 0


def _row(
    module: nn.Module, name: str, sub: nn.Module, output: tuple[int, ...] | None, parameters: int, macs: int
) -> LayerCost:
    convolution = isinstance(sub, _ConvNd)
    wide = ("in_channels", "out_channels") if convolution else ("in_features", "out_features")
    role, path = None, name.split(".")
    for end in range(len(path), 0, -1):  # the nearest module around it that was built for a role
        role = role or getattr(module.get_submodule(".".join(path[:end])), "role", None)
    return LayerCost(
        name=name, role=role if isinstance(role, str) else None, kind=type(sub).__name__.removeprefix("Parametrized"),
        kernel=tuple(sub.kernel_size) if convolution else None, stride=tuple(sub.stride) if convolution else None,
        in_channels=getattr(sub, wide[0], None), out_channels=getattr(sub, wide[1], None), output=output,
        parameters=parameters, macs=macs,
    )


def _owned(sub: nn.Module, counted: set[int]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Weights, running statistics and other buffers of `sub` itself that were not met before."""
    homes = [sub]
    if INSIDE in dict(sub.named_children()):
        homes += list(sub.get_submodule(INSIDE).modules())
    kinds: tuple[list[Tensor], list[Tensor], list[Tensor]] = [], [], []
    for home in homes:
        named = [(0, tensor) for tensor in home._parameters.values()]
        named += [(1 if name in RUNNING else 2, tensor) for name, tensor in home._buffers.items()]
        for kind, tensor in named:
            if tensor is not None and id(tensor) not in counted:
                counted.add(id(tensor))
                kinds[kind].append(tensor)
    return kinds


def _filled(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return torch.zeros(tuple(value), device=device, dtype=dtype) if is_shape(value) else value


def _described(value: Any) -> str:
    if isinstance(value, Tensor) or is_shape(value):
        return f"an input {tuple(value.shape if isinstance(value, Tensor) else value)}"
    return repr(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def _reuses(tensor: Tensor, given: list[Tensor]) -> bool:
    """Whether `tensor` is one of the inputs, changed in place perhaps, or a view of one."""
    bases = {id(source if source._base is None else source._base) for source in given}
    return id(tensor if tensor._base is None else tensor._base) in bases


def _per_image(total: int, batch: int) -> int:
    return round(total / batch) if total % batch else total // batch


def _sizes(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " x ".join(map(str, shape))
