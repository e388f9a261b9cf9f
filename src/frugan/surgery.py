"""Rewrite the convolutions of any torch module, ours or the user's, into a family.

`swap` gives a new module; the one it was given stays untouched. It rewrites what a family can build, that is layers
that keep, divide or multiply the image size exactly, and names everything else with the reason it was left.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from frugan import convs
from frugan.arguments import Name, Names, names_in, strict
from frugan.convs import ConvFamily, Pads
from frugan.costs import Cost, Observation, duplicate, observe, parameters, priced, table
from frugan.registry import UserError, check_options, suggest

KINDS = ("same", "down", "up")
VALID = "valid"  # a convolution padded too little to keep or divide the size exactly, perhaps by a layer before it

Chooser = str | Sequence[str] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class SwapRow:
    """One convolution: what it was, what it became, or why it was left. MACs are per image, None without inputs."""

    name: str
    was: str
    became: str | None
    reason: str | None
    parameters_before: int
    parameters_after: int
    macs_before: int | None = None
    macs_after: int | None = None


@dataclass(frozen=True)
class SwapReport:
    """What `swap` did, layer by layer, and what it did to the whole; `str(report)` is a table."""

    family: str
    rows: tuple[SwapRow, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int | None
    macs_after: int | None
    notes: tuple[str, ...]

    @property
    def changed(self) -> tuple[SwapRow, ...]:
        """The layers that were rewritten."""
        return tuple(row for row in self.rows if row.became is not None)

    @property
    def left(self) -> tuple[SwapRow, ...]:
        """The layers that were not, each with its reason."""
        return tuple(row for row in self.rows if row.became is None)

    def __str__(self) -> str:
        rows = [("layer", "was", "became", "parameters", "MACs")]
        for row in self.rows:
            rows.append((
                row.name or "(itself)", row.was, row.became or f"left: {row.reason}",
                _change(row.parameters_before, row.parameters_after), _change(row.macs_before, row.macs_after),
            ))
        rows.append((
            "whole network", "", f"{len(self.changed)} of {len(self.rows)} rewritten",
            _change(self.parameters_before, self.parameters_after), _change(self.macs_before, self.macs_after),
        ))
        return "\n".join([table(rows, right=2), *(f"note: {note}" for note in self.notes)])


class Swapped(NamedTuple):
    """The rewritten module and the report of what was rewritten."""

    module: nn.Module
    report: SwapReport


@strict
def swap(
    module: nn.Module, family: Name | ConvFamily, *, inputs: Any = None, batch: int | None = None,
    layers: Chooser | None = None, kinds: Names = KINDS, minimum_channels: int = 0, keep_first: bool = False,
    keep_last: bool = False, start_afresh: bool = False, **options: Any,
) -> Swapped:
    """A copy of `module` whose convolutions are rebuilt by `family`, with a report.

    Args:
        module: any torch module; it is not changed.
        family: the name of a family (``"depthwise"``) or a family of one's own.
        inputs: what the module is called with (as for `frugan.cost`; several as a list). With them, every layer's
            output shape is checked by running both, and the report has the multiply-accumulates.
        batch: how many images the inputs hold; worked out if left out (see `frugan.cost`).
        layers: which layers: names or patterns (``"block.*"``), or a function of name and layer; all if left out.
        kinds: which kinds: any of "same", "down", "up", and, if named, "valid": convolutions that are padded less than
            these are, as those after a layer that pads by reflection.
        minimum_channels: leave layers with fewer input or output channels than this.
        keep_first, keep_last: leave the first or the last convolution (in running order if `inputs` are given). Keep
            the last one of a generator: split, it costs quality (docs/families.md).
        start_afresh: agree to lose trained weights, since new layers start from their initialisation.
        options: the family's options, and ``inner_norm``, ``inner_bias``.

    Raises UserError for unknown names and options, for a module that looks trained (unless `start_afresh`), and if
    the rewritten module does not give the shapes of the original.
    """
    chosen = _family(family, options)
    kinds = names_in(kinds)
    for kind in kinds:
        if kind not in (*KINDS, VALID):
            raise UserError(f"There is no kind of layer called '{kind}'. {suggest(kind, (*KINDS, VALID))}")
    evidence = _trained(module)
    if evidence and not start_afresh:
        raise UserError(
            f"This module looks trained ({evidence}). A swap builds new layers, so what the replaced layers have "
            "learnt is lost. If you want that, call swap(..., start_afresh=True)."
        )

    before = None if inputs is None else observe(module, inputs, batch=batch)
    convolutions = {name: layer for name, layer in module.named_modules() if isinstance(layer, _ConvNd)}
    if before is not None:  # running order, then those that did not run
        ran = dict.fromkeys(call.name for call in before.calls if call.name in convolutions)
        convolutions = {name: convolutions[name] for name in dict.fromkeys((*ran, *convolutions))}
    wanted = _wanted(convolutions, layers)
    ends = {*(list(convolutions)[:1] if keep_first else ()), *(list(convolutions)[-1:] if keep_last else ())}
    owners = _owners(module)

    copy = duplicate(module)
    rows: list[SwapRow] = []
    fresh: dict[nn.Module, nn.Module] = {}
    for name, layer in convolutions.items():
        count = parameters(layer)
        built: nn.Module | str
        if name not in wanted:
            built = "not among the layers asked for"
        elif name in ends:
            built = "the first or last layer, kept as asked"
        elif min(layer.in_channels, layer.out_channels) < minimum_channels:
            built = f"fewer than {minimum_channels} channels"
        elif any(len(owners[id(tensor)]) > 1 for tensor in layer.parameters()):
            built = "its weights are shared with another layer"
        else:
            built = _rebuilt(name, layer, chosen, kinds)
        if isinstance(built, str):
            rows.append(SwapRow(name, _described(layer), None, built, count, count))
        else:
            fresh[copy.get_submodule(name)] = built
            rows.append(SwapRow(name, _described(layer), chosen.name, None, count, parameters(built)))
    copy = _replaced(copy, fresh)

    notes = []
    if fresh and evidence:
        notes.append(f"the module looked trained ({evidence}); the new layers start afresh, as agreed.")
    elif fresh:
        notes.append("the new layers start afresh; whether the module had been trained is not known.")
    if not fresh:
        notes.append("no layer was rewritten.")
    report = SwapReport(chosen.name, tuple(rows), parameters(module), parameters(copy), None, None, tuple(notes))
    if before is not None:
        report = _compare(module, copy, before, inputs, report)
    return Swapped(copy, report)


def _family(family: str | ConvFamily, options: dict[str, Any]) -> ConvFamily:
    """The family with its options; what a swap keeps (kernel, stride, padding) cannot be set."""
    chosen = convs.find(family) if isinstance(family, str) else family
    accepted = {**chosen.accepted(), **convs.SEAM}
    return chosen.with_options(**check_options(f"swap to '{chosen.name}'", {**chosen.options, **options}, accepted))


def _rebuilt(name: str, layer: _ConvNd, family: ConvFamily, kinds: tuple[str, ...]) -> nn.Module | str:
    """The family's layer in place of `layer`, or why there is none."""
    read = _read(layer)
    if isinstance(read, str):
        return read
    kind, padding = read
    if kind not in kinds:
        hint = f" (kernel {layer.kernel_size[0]}, padding {padding}); add it to kinds" if kind == VALID else ""
        return f"a layer of kind '{kind}', which was not asked for{hint}"
    if kind == VALID:
        kind = "same" if layer.stride[0] == 1 else "down"
    builder = convs.Layers([("*", family)])
    built = getattr(builder, kind)(
        getattr(layer, "role", name), layer.in_channels, layer.out_channels, layer.kernel_size[0],
        stride=layer.stride[0], bias=layer.bias is not None, padding=padding, padding_mode=layer.padding_mode,
    )
    declined = builder.choices[0].declined
    if declined:
        return f"declined: {declined}"
    return built.to(layer.weight.device, layer.weight.dtype).train(layer.training)


def _read(layer: _ConvNd) -> tuple[str, Pads] | str:
    """The kind of `layer` and its padding (before, after), or why no family rebuilds it."""
    if parametrize.is_parametrized(layer) or layer._forward_pre_hooks or "weight" not in layer._parameters:
        return "its weight is computed from others (weight or spectral norm), or it has hooks"
    if layer._forward_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return "it has hooks, which would be lost"
    if type(layer) not in (nn.Conv2d, nn.ConvTranspose2d, convs.Convolution, convs.Transposed):
        return f"{type(layer).__name__} is not a plain two-dimensional convolution"
    (high, wide), (down, across) = layer.kernel_size, layer.stride
    if high != wide or down != across:
        return f"its kernel {high} x {wide} or its stride {down} x {across} is not square"
    if any(step != 1 for step in layer.dilation):
        return f"dilation {layer.dilation[0]} x {layer.dilation[1]}"
    if layer.groups != 1:
        return f"{layer.groups} groups already"
    if high == 1:
        return "1 x 1"
    rows, columns = _padding(layer)
    if rows != columns:
        return f"its padding {rows} x {columns} differs by axis"
    total = sum(rows)
    if isinstance(layer, nn.ConvTranspose2d):
        if total != high - down:
            return f"it does not enlarge the image {down} times exactly (kernel {high}, padding {rows})"
        # Of stride 1 it is a convolution with its kernel turned round, so what was cropped before is padded after.
        return ("up", rows) if down > 1 else ("same", (rows[1], rows[0]))
    if total >= high:
        return f"it makes the image larger (kernel {high}, padding {rows})"
    if total < high - down:
        return VALID, rows
    return ("down" if down > 1 else "same"), rows


def _padding(layer: _ConvNd) -> tuple[Pads, Pads]:
    """Rows and columns of padding (before, after); of a transposed layer, what is cropped from the full output."""
    if isinstance(layer, (convs.Convolution, convs.Transposed)):
        return layer.rows, layer.columns
    if isinstance(layer.padding, str):
        totals = [size - 1 if layer.padding == "same" else 0 for size in layer.kernel_size]
        high, wide = ((total // 2, total - total // 2) for total in totals)
    else:
        extra = layer.output_padding if isinstance(layer, nn.ConvTranspose2d) else (0, 0)
        high, wide = ((pad, pad - more) for pad, more in zip(layer.padding, extra, strict=True))
    return high, wide


def _wanted(convolutions: dict[str, _ConvNd], layers: Chooser | None) -> set[str]:
    if layers is None or layers == "all":
        return set(convolutions)
    if callable(layers):
        return {name for name, layer in convolutions.items() if layers(name, layer)}
    wanted: set[str] = set()
    for pattern in (layers,) if isinstance(layers, str) else layers:
        matches = fnmatch.filter(convolutions, pattern)
        if not matches:
            raise UserError(f"This module has no convolution called '{pattern}'. {suggest(pattern, convolutions)}")
        wanted.update(matches)
    return wanted


def _owners(module: nn.Module) -> dict[int, set[int]]:
    """Of every parameter, the modules that hold it."""
    owners: dict[int, set[int]] = {}
    for sub in module.modules():
        for tensor in sub._parameters.values():
            owners.setdefault(id(tensor), set()).add(id(sub))
    return owners


def _replaced(module: nn.Module, fresh: dict[nn.Module, nn.Module]) -> nn.Module:
    """`module` with each key of `fresh` replaced, at every place where it is held."""
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child in fresh:
                parent._modules[name] = fresh[child]
    return fresh.get(module, module)


def _trained(module: nn.Module) -> str | None:
    """A sign that a module was trained, in words, or None."""
    for name, sub in module.named_modules():
        if getattr(sub, "frugan_trained", False):
            return "it comes from a training run"
        counter = getattr(sub, "num_batches_tracked", None)
        if isinstance(counter, torch.Tensor) and not counter.is_meta and counter.item() > 0:
            return f"'{name}' has seen {counter.item()} batches"
        for statistics, start in (("running_mean", 0), ("running_var", 1)):
            kept = getattr(sub, statistics, None)
            if isinstance(kept, torch.Tensor) and not kept.is_meta and bool((kept != start).any()):
                return f"'{name}' has another {statistics} than a new norm"
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            return f"'{name}' has a gradient"
    return None


def _compare(module: nn.Module, copy: nn.Module, before: Observation, inputs: Any, report: SwapReport) -> SwapReport:
    """Compare the output shapes of every layer and of the whole; returns the report with multiply-accumulates."""
    try:
        after = observe(copy, inputs, batch=before.batch)
    except UserError as error:
        raise UserError(
            f"After the swap to '{report.family}' the module fails, so some part of it uses the weights of a "
            f"convolution directly. Swap all layers but that one: layers=lambda name, layer: name != 'NAME' ({error})"
        ) from error
    shapes = {call.name: call.output for call in after.calls}
    for call in before.calls:
        if shapes.get(call.name, call.output) != call.output:
            raise UserError(
                f"The family '{report.family}' returns {shapes[call.name]} at '{call.name}', but the original returns "
                f"{call.output}. A family must keep the shapes of the standard one."
            )
    if before.outputs != after.outputs:
        raise UserError(
            f"After the swap to '{report.family}' the module returns {after.outputs} instead of {before.outputs}. To "
            "find the layer that causes this, swap all but one: layers=lambda name, layer: name != 'NAME'"
        )
    old, new = priced(module, before), priced(copy, after)
    rows = tuple(
        replace(row, macs_before=_macs(old, row.name), macs_after=_macs(new, row.name)) for row in report.rows
    )
    doubts = [f"the multiply-accumulates may be wrong: {doubt}" for doubt in new.doubts]
    notes = (*report.notes, *doubts)
    return replace(report, rows=rows, macs_before=old.all_macs, macs_after=new.all_macs, notes=notes)


def _macs(cost: Cost, name: str) -> int:
    """The multiply-accumulates of the layer called `name` and of all inside it."""
    inside = f"{name}." if name else ""
    layers = [layer for layer in cost.layers if layer.name == name or layer.name.startswith(inside)]
    return sum(layer.macs + layer.macs_attention for layer in layers)


def _described(layer: _ConvNd) -> str:
    kernel = " x ".join(map(str, layer.kernel_size))
    stride = "" if all(step == 1 for step in layer.stride) else f" / {layer.stride[0]}"
    return f"{type(layer).__name__} {layer.in_channels} -> {layer.out_channels}, {kernel}{stride}"


def _change(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return ""
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"
