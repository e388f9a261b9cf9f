"""What a network costs: parameters, multiply-accumulates, activation memory, and time on this machine.

`cost` computes almost nothing: the network runs once, with its convolutions and matrix products replaced by zeros (this
starts faster than torch's tensors without data). It counts by these formulas, whatever kernel computes a layer: a
convolution makes
H_out W_out C_out (C_in / groups) K^2 multiply-accumulates, a transposed one H_in W_in C_in (C_out / groups) K^2, a
dense layer in x out, a bilinear one in1 x in2 x out, a recurrent one as many as it has weights at each step. Attention
makes its projections. Its scores, queries x keys x width, and its values, as many again, are counted apart, as
`macs_attention`. Norms, activations, additions, resizing and all other work by element cost nothing (docs/precision.md,
"Counting"). `latency` measures the time, since fewer multiply-accumulates do not always mean a faster network.

Any torch module will do. A module that multiplies outside of layers says how much by a method ``macs(input_shape) ->
int``. One that computes attention by hand has ``macs_attention(input_shape) -> int``. Both count the whole input of
that shape, without what the layers inside the module make. Where the formulas and torch's flop counter disagree, the
count has a doubt (`Cost.doubts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from frugan.costs._formulas import FREE, LAYERS, has_formula
from frugan.costs._observing import INSIDE, Call, Observation, observe
from frugan.costs._tensors import duplicate
from frugan.costs._timing import Latency, cores, latencies, latency, machine, processor, threads

__all__ = [
    "Call", "Cost", "Latency", "LayerCost", "Observation", "cores", "cost", "duplicate", "latencies", "latency",
    "machine", "observe", "parameters", "priced", "processor", "table", "threads",
]  # fmt: skip

RUNNING = ("running_mean", "running_var")
WIDTHS = (
    ("in_channels", "out_channels"), ("in_features", "out_features"), ("in1_features", "out_features"),
    ("input_size", "hidden_size"), ("embed_dim", "embed_dim"),
)  # fmt: skip
"""What layers call the width of what they take and of what they put out."""
NAMED = 5
"""How many modules a note names before it counts the rest."""


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
    macs_attention: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of one network.

    `parameters` counts weights, trainable or frozen, and running means and variances; `trainable` counts those that an
    optimiser may change; `buffers` counts the elements of all other buffers (counters, spectral vectors, reference
    batches). `macs` are multiply-accumulates per image of products with weights, `macs_attention` those of attention;
    tables show `all_macs`, their sum. `macs_flop_counter` is a second count to compare with: torch's flop counter,
    halved. `activation_bytes` is the size of all outputs of layers per image, in float32; an in-place layer or a view
    adds nothing.

    `doubts` say why the multiply-accumulates may be wrong. It is empty if they can be trusted. `notes` hold the doubts
    and what else a reader should know.
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
    doubts: tuple[str, ...] = ()

    @property
    def all_macs(self) -> int:
        """Multiply-accumulates per image, attention among them."""
        return self.macs + self.macs_attention

    @property
    def shown_macs(self) -> str:
        """`all_macs` in words, with a question mark if there are doubts."""
        return f"{self.all_macs:,}{' ?' if self.doubts else ''}"

    def within(self, name: str) -> dict[str, int]:
        """``{"parameters", "macs", "macs_attention"}`` of one module inside, with all that is in it."""
        inside = [layer for layer in self.layers if f"{layer.name}.".startswith(f"{name}.")]
        return {
            count: sum(getattr(layer, count) for layer in inside) for count in ("parameters", "macs", "macs_attention")
        }

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
                _sizes(layer.output), f"{layer.parameters:,}", f"{layer.macs + layer.macs_attention:,}",
            ))
        rows.append(("total", "", "", "", "", "", f"{self.parameters:,}", self.shown_macs))
        return "\n".join([table(rows, right=2), *(f"note: {note}" for note in self.notes)])


def cost(module: nn.Module, *inputs: Any, batch: int | None = None) -> Cost:
    """Count what `module` costs per image. The module is not changed.

    Args:
        module: any torch module.
        inputs: what it is called with: tensors, shapes with their batch (``(1, 3, 64, 64)``), or a dict of such for
            keyword arguments.
        batch: how many images the inputs hold. If left out, it is the length of the first axis. Single numbers (time
            steps) are ignored, and the layers tell if an image has no batch axis.

    Raises UserError if the module does not run on the inputs, or if it is not clear how many images they hold.
    """
    return priced(module, observe(module, *inputs, batch=batch))


def priced(module: nn.Module, observation: Observation) -> Cost:
    """The cost of `module`, from the observation of one run."""
    work: dict[str, list[int]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    made = 0
    for call in observation.calls:
        done = work.setdefault(call.name, [0, 0])
        done[0] += call.macs
        done[1] += call.attention
        shapes[call.name] = _without_batch(call)
        made += call.made
    for name, attention in observation.attended.items():
        work.setdefault(name, [0, 0])[1] += attention

    layers: list[LayerCost] = []
    counted: set[int] = set()
    trainable = buffers = 0
    kinds = dict(module.named_modules())
    for name, sub in kinds.items():
        if INSIDE in name.split("."):
            continue
        weights, running, others = _owned(sub, counted)
        trainable += sum(weight.numel() for weight in weights if weight.requires_grad)
        buffers += sum(buffer.numel() for buffer in others)
        held = sum(tensor.numel() for tensor in (*weights, *running))
        done = [_per_image(count, observation.batch) for count in work.get(name, (0, 0))]
        if held or any(done) or isinstance(sub, LAYERS):
            layers.append(_row(kinds, name, shapes.get(name), held, *done))
    order = {call.name: place for place, call in reversed(list(enumerate(observation.calls)))}
    layers.sort(key=lambda layer: order.get(layer.name, len(order) + len(observation.calls)))

    both = {name: sum(done) for name, done in work.items()}
    doubts = tuple(_doubts(module, observation, both))
    macs, attention = (_per_image(sum(done[kind] for done in work.values()), observation.batch) for kind in (0, 1))
    return Cost(
        parameters=sum(layer.parameters for layer in layers), trainable=trainable, buffers=buffers, macs=macs,
        macs_attention=attention, macs_flop_counter=_per_image(_count_multiplied(observation), observation.batch),
        activation_bytes=_per_image(4 * made, observation.batch), layers=tuple(layers), doubts=doubts,
        notes=(*doubts, *_notes(module, observation, both)),
    )


def parameters(module: nn.Module) -> int:
    """How many parameters a module has. Running means and variances count as well as weights."""
    counted: set[int] = set()
    total = 0
    for sub in module.modules():
        weights, running, _ = _owned(sub, counted)
        total += sum(tensor.numel() for tensor in (*weights, *running))
    return total


def table(rows: Sequence[Sequence[str]], *, right: int) -> str:
    """Rows of text as aligned columns; the last `right` columns are aligned right. The first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = len(widths) - right
    rule = ["-" * width for width in widths]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _doubts(module: nn.Module, observation: Observation, work: Mapping[str, int]) -> Iterator[str]:
    """Why the multiply-accumulates of `work` may be wrong; `work` is what each module multiplies by itself."""
    kinds, apart, batch = dict(module.named_modules()), _apart(observation, work), observation.batch
    if apart:
        outside = []
        for name in apart:
            multiplied = observation.multiplied.get(name, {})
            products = ", ".join(f"{what} {_per_image(macs, batch):,}" for what, macs in multiplied.items() if macs)
            if has_formula(kinds[name]):
                formula = _per_image(work.get(name, 0), batch)
                outside.append(f"{_called(name, kinds)} computes something else than its formula ({formula:,}; "
                               f"seen: {products or 'nothing'})")  # fmt: skip
            else:
                outside.append(f"{_called(name, kinds)} multiplies outside of a layer ({products})")
        yield (
            f"torch's flop counter sees {_per_image(_count_multiplied(observation), batch):,} multiply-accumulates, "
            f"but the formulas give {_per_image(sum(work.values()), batch):,}: {_first(outside, '; ')}. Give such a "
            "module a method macs(input_shape) -> int (or macs_attention) that counts what it multiplies outside of "
            "layers."
        )
    if observation.unknown:
        listed = [
            f"{', '.join(sorted(operations))} in {_called(name, kinds)}"
            for name, operations in observation.unknown.items()
        ]
        yield f"frugan cannot count the multiply-accumulates of some operations: {_first(listed)}."
    if observation.steps_first:
        listed = [_called(name, kinds) for name in observation.steps_first]
        yield (
            f"the length of the first axis, {batch}, was taken for the number of images, but {_first(listed)} uses it "
            "for time steps (batch_first=False). Say how many images there are, with batch=...."
        )


def _apart(observation: Observation, work: Mapping[str, int]) -> list[str]:
    """The modules in which the formulas and the operations that ran do not agree."""
    return [
        name for name in dict.fromkeys((*work, *observation.multiplied))
        if work.get(name, 0) != sum(observation.multiplied.get(name, {}).values())
    ]  # fmt: skip


def _notes(module: nn.Module, observation: Observation, work: Mapping[str, int]) -> Iterator[str]:
    """What else a reader should know: what has no formula, what did not run, what was divided unevenly."""
    kinds = dict(module.named_modules())
    ran, doubted = {call.name for call in observation.calls}, {*_apart(observation, work), *observation.unknown}
    holding = [name for name, sub in kinds.items() if INSIDE not in name.split(".") and _holds_weights(sub)]
    without = [
        _called(name, kinds) for name in holding
        if name in ran - doubted and not has_formula(kinds[name]) and not isinstance(kinds[name], FREE)
    ]  # fmt: skip
    if without:
        yield f"some modules with weights have no formula, so they count as free: {_first(without)}."
    idle = [name for name in holding if name not in ran | observation.touched and isinstance(kinds[name], LAYERS)]
    if idle:
        yield f"some layers did not run, so only parameters count: {', '.join(name or '(itself)' for name in idle)}."
    counts = (sum(call.macs for call in observation.calls), sum(call.attention for call in observation.calls))
    if any(count % observation.batch for count in counts):
        yield (
            f"some work is done once for all {observation.batch} images, so the cost of one depends on their number. "
            "Give one image to get the cost of one."
        )


def _holds_weights(module: nn.Module) -> bool:
    """Whether a module holds weights itself, perhaps in a list of them or parametrised."""
    lists = (nn.ParameterList, nn.ParameterDict)  # these never run; what holds them does
    inner = [child for name, child in module.named_children() if isinstance(child, lists) or name == INSIDE]
    own = any(parameter is not None for parameter in module._parameters.values())
    return not isinstance(module, lists) and (own or any(True for child in inner for _ in child.parameters()))


def _called(name: str, modules: Mapping[str, nn.Module]) -> str:
    """A module by its name and class."""
    kind = type(modules[name]).__name__.removeprefix("Parametrized")
    return f"'{name}' ({kind})" if name else kind


def _first(listed: Sequence[str], between: str = ", ") -> str:
    """The first few of a list, and how many more there are."""
    more = [f"and {len(listed) - NAMED} more"] if len(listed) > NAMED else []
    return between.join([*listed[:NAMED], *more])


def _count_multiplied(observation: Observation) -> int:
    return sum(sum(products.values()) for products in observation.multiplied.values())


def _without_batch(call: Call) -> tuple[int, ...]:
    axis = 0 if call.images is None else call.images.axis
    return call.output if axis is None else (*call.output[:axis], *call.output[axis + 1 :])


def _row(
    modules: Mapping[str, nn.Module], name: str, output: tuple[int, ...] | None, parameters: int, macs: int,
    macs_attention: int,
) -> LayerCost:
    sub = modules[name]
    convolution = isinstance(sub, _ConvNd)
    wide = next((names for names in WIDTHS if hasattr(sub, names[0]) and hasattr(sub, names[1])), None)
    role, path = None, name.split(".")
    for end in range(len(path), 0, -1):  # the nearest module around it that was built for a role
        role = role or getattr(modules[".".join(path[:end])], "role", None)
    return LayerCost(
        name=name, role=role if isinstance(role, str) else None, kind=type(sub).__name__.removeprefix("Parametrized"),
        kernel=tuple(sub.kernel_size) if convolution else None, stride=tuple(sub.stride) if convolution else None,
        in_channels=None if wide is None else getattr(sub, wide[0]),
        out_channels=None if wide is None else getattr(sub, wide[1]), output=output,
        parameters=parameters, macs=macs, macs_attention=macs_attention,
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


def _per_image(total: int, batch: int) -> int:
    return round(total / batch) if total % batch else total // batch


def _sizes(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " x ".join(map(str, shape))
