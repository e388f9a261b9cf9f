"""A network rebuilt for speed: norms folded into the layers before them, pairs merged, the fastest kernels chosen.

`fuse` gives a copy that computes the same images to rounding (1e-4 of their range in float32), for sampling and
nothing else: it is in evaluation mode and its parameters are no longer those of the architecture.

- A weight that is computed whenever it is read (under spectral norm) is computed once.
- A batch norm directly after a convolution or dense layer is one gain and one shift for each channel: both go into the
  layer's weight and bias.
- A K x 1 and a 1 x K convolution with nothing between them are one K x K convolution. That is more multiply-accumulates
  in one layer instead of two; which is faster is measured. Pairs with a bias between them are
  left, since the result would differ at the image's border.
- Nearest upsampling and a layer of stride 1 after it: several taps of its kernel fall on the same pixel of the
  smaller image, so they are added up beforehand. A 3 x 3 layer becomes four of 2 x 2 on the smaller image, one for each
  of the four pixels that one pixel becomes: 4 products instead of 9. A 1 x 1 layer is put before the upsampling. Which
  is faster is measured.
- Grouped layers and instance norms are computed by the kernels that are fastest here (`frugan.kernels`), in
  channels-last layout.

For other runtimes, which have kernels of their own, `folded` only folds norms, and `REWRITES` are the exact changes of
layers that may be faster there.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from frugan.arithmetic import wait
from frugan.convs import Convolution, Transposed
from frugan.costs import duplicate
from frugan.kernels import Choices

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
REPEATS = 5
PASSED_ON = ("image", "image_range", "latents", "classes", "multiple", "norms_follow_truncation")


@dataclass(frozen=True)
class FuseReport:
    """What `fuse` did, with the milliseconds of both ways: apart, and in one layer.

    Attributes:
        folded: the batch norms that went into the layers before them.
        merged, left: pairs of layers that were merged, and those that were not.
        joined, apart: upsamplings that were joined to their layers, and those that were not.
    """

    folded: tuple[str, ...]
    merged: dict[str, tuple[float, float]]
    left: dict[str, tuple[float, float]]
    joined: dict[str, tuple[float, float]]
    apart: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        lines = [f"batch norms folded: {len(self.folded)}"]
        for word, pairs in (("merged", self.merged), ("left as a pair", self.left)):
            lines += [f"{name}: {word} (pair {one:.3g} ms, merged {two:.3g} ms)" for name, (one, two) in pairs.items()]
        for word, pairs in (("joined its layer", self.joined), ("left before its layer", self.apart)):
            lines += [f"{name}: {word} (apart {one:.3g} ms, joined {two:.3g} ms)" for name, (one, two) in pairs.items()]
        return "\n".join(lines)


class Fused(nn.Module):
    """A fused network, called like the original; `report` says what was done."""

    def __init__(self, network: nn.Module, report: FuseReport, choices: Choices) -> None:
        super().__init__()
        self.network, self.report, self.choices = network, report, choices
        for name in PASSED_ON:
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, *inputs: Any) -> Tensor:
        with self.choices.active():
            return self.network(*(_last(value) if isinstance(value, Tensor) else value for value in inputs))


@torch.no_grad()
def fuse(module: nn.Module, *inputs: Any, pairs: bool | None = None, upsamplings: bool | None = None) -> Fused:
    """A copy of `module` for inference that gives the same results faster. Batch norms are always folded into layers.

    Args:
        inputs: tensors to call it with. Speed is measured on them, so use the batch size that you will use later.
        pairs: merge a K x 1 and a 1 x K layer into one. True: all that can be; False: none; left out: where it is
            faster.
        upsamplings: join an upsampling to the layer after it. True, False or left out: as for `pairs`.
    """
    network, norms = folded(module)
    network = network.to(memory_format=torch.channels_last)  # pyrefly: ignore
    choices = Choices("measured")
    with choices.active():  # forms are compared as they will be computed
        merged, left = _replaced(network, dict(_pairs(network)), _merged, inputs, pairs)
        joined, apart = _replaced(network, dict(_upsamplings(network)), Phases, inputs, upsamplings)
    return Fused(network, FuseReport(norms, merged, left, joined, apart), choices)


@torch.no_grad()
def folded(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `module` for inference, its weights computed and its batch norms folded; the names of those norms."""
    network = duplicate(module).eval().requires_grad_(False)
    _compute_weights(network)
    return network, tuple(_fold_all(network))


Times = dict[str, tuple[float, float]]


def _replaced(
    network: nn.Module, modules: dict[str, nn.Sequential], make: Callable[[nn.Sequential], nn.Module],
    inputs: tuple[Any, ...], wanted: bool | None,
) -> tuple[Times, Times]:  # fmt: skip
    """Replace modules by what `make` builds, where that is faster (`wanted`: all or none).

    Returns the times of those replaced and of those left.
    """
    replaced: Times = {}
    left: Times = {}
    given = _inputs_of(network, list(modules), inputs)
    for name in given:
        plain, one = modules[name], make(modules[name]).to(memory_format=torch.channels_last)  # pyrefly: ignore
        times = _in_turn(plain, one, given[name])
        better = times[1] < times[0] if wanted is None else wanted
        (replaced if better else left)[name] = times
        if better:
            _put(network, name, one)
    return replaced, left


def _last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def _compute_weights(network: nn.Module) -> None:
    """Put the values of parametrised weights in the place of what they are computed from.

    By hand: torch's `remove_parametrizations` changes a class, which the network that was copied shares.
    """
    for part in list(network.modules()):
        if parametrize.is_parametrized(part):
            values = {name: getattr(part, name).detach() for name in part.parametrizations}  # type: ignore[union-attr]
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            for name, value in values.items():
                part.register_parameter(str(name), nn.Parameter(value, requires_grad=False))


def _fold_all(network: nn.Module) -> Iterator[str]:
    """Fold every batch norm that directly follows a layer; the names of those norms."""
    for name, body in list(network.named_modules()):
        if type(body) is not nn.Sequential:
            continue
        children = list(body.named_children())
        for (_, before), (at, norm) in itertools.pairwise(children):
            layer = _end(before)
            if layer is not None and isinstance(norm, _BatchNorm) and norm.running_mean is not None:
                _fold(layer, norm)
                setattr(body, at, nn.Identity())
                yield f"{name}.{at}".lstrip(".")


def _end(module: nn.Module) -> Any:
    """The last layer of a module, if a norm can be folded into it."""
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    return module if isinstance(module, LAYERS) and not module._forward_hooks else None


def _fold(layer: Any, norm: _BatchNorm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    gain = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = (0 if norm.bias is None else norm.bias) - mean * gain
    weight = layer.weight
    if isinstance(layer, nn.ConvTranspose2d):  # [in, out / groups, h, w]
        grouped = weight.view(layer.groups, -1, *weight.shape[1:]) * gain.view(layer.groups, 1, -1, 1, 1)
        weight = grouped.view_as(weight)
    else:
        weight = weight * gain.view(-1, *(1 for _ in weight.shape[1:]))
    bias = shift if layer.bias is None else layer.bias * gain + shift
    layer.weight, layer.bias = (nn.Parameter(value, requires_grad=False) for value in (weight, bias))


def _pairs(network: nn.Module) -> Iterator[tuple[str, nn.Sequential]]:
    """K x 1 and 1 x K layers with nothing between them, which one layer can replace exactly."""
    for name, body in network.named_modules():
        if type(body) is nn.Sequential and len(body) == 2 and name:
            one, two = _both(body)
            alike = type(one) is type(two) and type(one) in (Convolution, Transposed) and one.groups == two.groups == 1
            if not alike or (one.bias is not None and bool(one.bias.any())):
                continue
            apart = one.kernel_size[1] == two.kernel_size[0] == one.stride[1] == two.stride[0] == 1
            still = one.columns == two.rows == (0, 0)
            if apart and still and getattr(one, "padding_mode", "zeros") == "zeros":
                yield name, body


def _both(pair: nn.Sequential) -> tuple[Any, Any]:
    return pair[0], pair[1]


def _merged(pair: nn.Sequential) -> nn.Module:
    """One layer that computes what a pair does."""
    tall, wide = _both(pair)
    settings = {
        "stride": (tall.stride[0], wide.stride[1]), "rows": tall.rows, "columns": wide.columns,
        "bias": wide.bias is not None,
    }
    kernel = (tall.kernel_size[0], wide.kernel_size[1])
    one = type(tall)(tall.in_channels, wide.out_channels, kernel, **settings)
    first, second = tall.weight[..., 0].double(), wide.weight[:, :, 0].double()
    sums = "imh,mow->iohw" if isinstance(tall, Transposed) else "mih,omw->oihw"
    with torch.no_grad():
        one.weight.copy_(torch.einsum(sums, first, second))
        if wide.bias is not None:
            one.bias.copy_(wide.bias)
    return one.to(wide.weight.device, wide.weight.dtype).eval().requires_grad_(False)


def _upsamplings(network: nn.Module) -> Iterator[tuple[str, nn.Sequential]]:
    """Nearest upsamplings with the layer after them, brought together in a module of their own."""
    for name, body in list(network.named_modules()):
        if type(body) is not nn.Sequential:
            continue
        for (at, before), (after, _) in itertools.pairwise(list(body.named_children())):
            place, layer = _start(body, after)
            factor = before.scale_factor if type(before) is nn.Upsample and before.mode == "nearest" else None
            if factor not in (2, 2.0, (2, 2), (2.0, 2.0)) or not _keeps_size(layer):
                continue
            together = nn.Sequential(before, layer)
            setattr(body, at, nn.Identity())
            _put(body, place, together)
            yield f"{name}.{place}".lstrip("."), together


def _start(body: nn.Module, name: str) -> tuple[str, Any]:
    """The first layer of a child, by its name in `body`."""
    module = body.get_submodule(name)
    while type(module) is nn.Sequential and len(module):
        first = next(iter(module._modules))
        name, module = f"{name}.{first}", module[0]
    return name, module


def _keeps_size(layer: Any) -> bool:
    if type(layer) is not Convolution or layer._forward_hooks:
        return False
    even = all(sum(pads) == size - 1 for pads, size in zip((layer.rows, layer.columns), layer.kernel_size, strict=True))
    return even and layer.stride == layer.dilation == (1, 1) and layer.padding_mode == "zeros"


class Phases(nn.Module):
    """Nearest upsampling by 2 and a convolution that keeps the size, computed on the smaller image.

    Along an axis pixel 2 i + p of the result is sum over t of w[t] x[i + floor((p + t - before) / 2)]: taps that fall
    on the same pixel are added up, which leaves a smaller kernel for each phase p. Zeros around the larger image are
    zeros around the smaller one.
    """

    def __init__(self, together: nn.Sequential) -> None:
        super().__init__()
        _, layer = _both(together)
        rows, columns = (
            _taps(size, pads[0]) for size, pads in zip(layer.kernel_size, (layer.rows, layer.columns), strict=True)
        )
        self.row_phases, self.column_phases = len(rows), len(columns)
        self.layers = nn.ModuleList()
        for (down, high), (right, wide) in itertools.product(rows, columns):
            taps = torch.einsum("oihw,ha,wb->oiab", layer.weight.double(), high.double(), wide.double())
            tall, broad = taps.shape[2:]
            one = Convolution(
                layer.in_channels, layer.out_channels, (tall, broad), groups=layer.groups,
                rows=(-down, tall - 1 + down), columns=(-right, broad - 1 + right), bias=layer.bias is not None,
            )  # fmt: skip
            one.weight, one.bias = nn.Parameter(taps.to(layer.weight)), layer.bias
            self.layers.append(one)
        self.to(layer.weight.device, layer.weight.dtype).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, 2 h, 2 w]``."""
        made = [layer(images) for layer in self.layers]
        count, channels, height, width = made[0].shape
        size = (count, channels, 2 * height, 2 * width)
        out = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
        for row, column in itertools.product(range(2), range(2)):
            number = (row % self.row_phases) * self.column_phases + column % self.column_phases
            out[:, :, row::2, column::2] = made[number]
        return out


def _taps(size: int, before: int) -> list[tuple[int, Tensor]]:
    """For each phase of an axis the offset of its first tap, and which taps of the kernel each of its taps adds up.

    One phase for a kernel of 1, which sees the same pixel from both.
    """
    phases = []
    for phase in range(1 if size == 1 else 2):
        offsets = [(phase + tap - before) // 2 for tap in range(size)]
        first = offsets[0]
        adds = torch.zeros(size, offsets[-1] - first + 1)
        for tap, offset in enumerate(offsets):
            adds[tap, offset - first] = 1
        phases.append((first, adds))
    return phases


class SubPixel(nn.Module):
    """A transposed convolution as a convolution of the small image, whose channels become the pixels of the large one.

    Along an axis pixel s i + p of a transposed layer's output is sum over t of w[t] x[i + (p + before - t) / s], over
    those taps t that s divides. So each phase p is a convolution of its own, and all together are one with s x s times
    as many channels (Shi et al. 2016, arXiv 1609.05158). Exact; it makes more products where the kernel is no multiple
    of the stride.
    """

    def __init__(self, layer: Transposed) -> None:
        super().__init__()
        (high, wide), groups = layer.stride, layer.groups
        rows, columns = (
            _phases(size, crop[0], stride)
            for size, crop, stride in zip(layer.kernel_size, (layer.rows, layer.columns), layer.stride, strict=True)
        )
        # How much longer an axis becomes than s times as long: so many more pixels are made, and the rest is cut off.
        beyond = [
            size - step - sum(crop)
            for size, step, crop in zip(layer.kernel_size, layer.stride, (layer.rows, layer.columns), strict=True)
        ]
        more = [max(0, -(-length // step)) for length, step in zip(beyond, layer.stride, strict=True)]
        self.factor = layer.stride
        self.rest = [length - step * added for length, step, added in zip(beyond, layer.stride, more, strict=True)]
        (down, vertical), (right, horizontal) = rows, columns
        grouped = layer.weight.unflatten(0, (groups, -1)).double()  # [groups, in, out, h, w]
        taps = torch.einsum("giohw,pah,qbw->gopqiab", grouped, vertical.double(), horizontal.double())
        tall, broad = taps.shape[-2:]
        self.layer = Convolution(
            layer.in_channels, layer.out_channels * high * wide, (tall, broad), groups=groups,
            rows=(-down, tall - 1 + down + more[0]), columns=(-right, broad - 1 + right + more[1]),
            bias=layer.bias is not None,
        )  # fmt: skip
        self.layer.weight = nn.Parameter(taps.flatten(0, 3).to(layer.weight))
        if layer.bias is not None:
            self.layer.bias = nn.Parameter(layer.bias.repeat_interleave(high * wide))
        self.to(layer.weight.device).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[n, in, h, w]`` to ``[n, out, h', w']``, as the layer that it was made from."""
        (high, wide), made = self.factor, self.layer(images)
        if high == wide:
            made = nn.functional.pixel_shuffle(made, high)
        else:
            made = made.unflatten(1, (-1, high, wide)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        return made if self.rest == [0, 0] else nn.functional.pad(made, (0, self.rest[1], 0, self.rest[0]))


def merge_pairs(network: nn.Module) -> list[str]:
    """Replace every pair of a K x 1 and a 1 x K layer that one layer can replace exactly; their names."""
    return _replace_all(network, dict(_pairs(network)), _merged)


def split_into_pixels(network: nn.Module, *, grouped_only: bool = False) -> list[str]:
    """Replace transposed layers by their `SubPixel` form, all or those with groups; their names."""
    layers = {
        name: layer for name, layer in network.named_modules()
        if isinstance(layer, Transposed) and (layer.groups > 1 or not grouped_only) and max(layer.stride) > 1
    }  # fmt: skip
    return _replace_all(network, layers, SubPixel)


def _replace_all(network: nn.Module, modules: dict[str, Any], make: Callable[[Any], nn.Module]) -> list[str]:
    for name, module in modules.items():
        _put(network, name, make(module))
    return list(modules)


REWRITES: dict[str, Callable[[nn.Module], list[str]]] = {
    "pairs merged": merge_pairs,
    "grouped transposed layers as sub-pixels": lambda network: split_into_pixels(network, grouped_only=True),
    "transposed layers as sub-pixels": split_into_pixels,
}
"""Exact changes of a folded network's layers, of which some may be faster in another runtime. Each changes the network
that it is given, and returns the names of what it replaced."""


def _phases(size: int, before: int, stride: int) -> tuple[int, Tensor]:
    """The offset of the first tap of all phases of an axis, and which taps each phase has: ``[phases, taps, size]``."""
    places = [(phase, (phase + before - tap) // stride, tap) for phase in range(stride) for tap in range(size)
              if (phase + before - tap) % stride == 0]  # fmt: skip
    first, last = min(at for _, at, _ in places), max(at for _, at, _ in places)
    taps = torch.zeros(stride, last - first + 1, size)
    for phase, at, tap in places:
        taps[phase, at - first, tap] = 1
    return first, taps


def _inputs_of(network: nn.Module, names: list[str], inputs: tuple[Any, ...]) -> dict[str, Tensor]:
    """The input of each of these modules when the network is called once."""
    given_to: dict[str, Tensor] = {}

    def watching(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, given: given_to.update({name: given[0]})

    hooks = [network.get_submodule(name).register_forward_pre_hook(watching(name)) for name in names]
    try:
        if names:
            network(*(_last(value) if isinstance(value, Tensor) else value for value in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return given_to


def _in_turn(one: nn.Module, other: nn.Module, images: Tensor) -> tuple[float, float]:
    """The least milliseconds of each of two modules, called in turn, after a first call that is not timed."""

    def milliseconds(module: nn.Module) -> float:
        began = time.perf_counter()
        module(images)
        wait(images.device)
        return 1000 * (time.perf_counter() - began)

    least = [float("inf"), float("inf")]
    for number in range(REPEATS + 1):
        for which, module in enumerate((one, other)):
            taken = milliseconds(module)
            if number:
                least[which] = min(least[which], taken)
    return least[0], least[1]


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
