"""What torch runs: products counted by operation and module, and mostly left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from frugan.costs._formulas import Images, attention_of, has_formula
from frugan.costs._tensors import all_tensors, tensors_in

ATTENTION = "scaled_dot_product_attention"
_aten = torch.ops.aten


class Place(NamedTuple):
    """A module that is running: its name, whether its own work has a formula, and whether it only makes weights."""

    name: str
    has_formula: bool
    makes_weights: bool = False


class Counter(TorchDispatchMode):
    """Inside, multiply-accumulates are added up; convolutions and matrix products give zeros of the right shape.

    It applies the formulas of torch's own `FlopCounterMode`, which loads the compiler and takes seconds, and some for
    operations that torch has none for. A product belongs to the innermost running module that has a formula, or else to
    the innermost one.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.running = [Place("", has_formula(module))]
        """The module itself, before and after its forward too, and those that are running in it."""
        self.multiplied: dict[str, dict[str, int]] = {}
        """Module -> what multiplied -> multiply-accumulates."""
        self.unknown: dict[str, set[str]] = {}
        """Module -> operations that may multiply and have no formula."""
        self.attended: dict[str, int] = {}
        """Module without a formula -> multiply-accumulates of attention that it called as a function."""
        self.touched: set[int] = set()
        """The storages that operations read."""
        self._attending = False
        self.weights = {storage(tensor): tensor for tensor in all_tensors(module)}
        """Storage -> a tensor of weights, or of what was made of weights alone; kept, so that no image comes to lie
        there."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else the first operation loads the compiler, only to keep it out

    @property
    def place(self) -> Place:
        """Where what runs now belongs to."""
        return next((place for place in reversed(self.running) if place.has_formula), self.running[-1])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = [storage(tensor) for tensor in tensors_in((args, kwargs))]
        self.touched.update(read)
        output = _without_multiplying(func, args)
        if output is None:
            output = func(*args, **kwargs)
        of_weights = bool(read) and all(one in self.weights for one in read)
        if of_weights:
            self.weights |= {storage(tensor): tensor for tensor in tensors_in(output)}
        if not self.running[-1].makes_weights:
            self._count(func, args, kwargs, output, of_weights)
        return output

    def _count(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, of_weights: bool
    ) -> None:
        packet = func._overloadpacket
        name, of_torch = packet.__name__, flop_registry.get(packet)
        macs = None
        if of_torch is not None:
            try:
                macs = of_torch(*args, **kwargs, out_val=output) // 2
            except (AssertionError, TypeError, ValueError):  # torch's formula takes no such shapes
                macs = None
        elif packet in _OURS and not of_weights:  # spectral norms multiply weights with vectors, once for all images
            macs = _OURS[packet](args, output)
        elif of_weights or (func.namespace in _FAMILIAR and not _MULTIPLIES.search(name)):
            return
        if macs is None:
            self.unknown.setdefault(self.place.name, set()).add(f"{func.namespace}.{name}")
        else:
            tally = self.multiplied.setdefault(self.place.name, {})
            spoken = ATTENTION if self._attending else _SPOKEN.get(name, name)
            tally[spoken] = tally.get(spoken, 0) + macs

    @contextmanager
    def attention(self) -> Iterator[None]:
        """Inside, products are those of attention."""
        self._attending = True
        try:
            yield
        finally:
            self._attending = False


class AttentionCalls(TorchFunctionMode):
    """Inside, a call of torch's attention function by a module that has no formula is counted by that of attention.

    What such a call runs is a product like any other in some of its forms, so it has to be known by its name. Queries
    without a batch axis are those of one image, which is noted in `images`.
    """

    def __init__(self, counter: Counter, images: dict[str, list[Images]]) -> None:
        super().__init__()
        self._counter, self._images = counter, images

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        with self._counter.attention():
            output = func(*args, **kwargs)
        place = self._counter.place
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :]))[:3]
        if query.dim() == 2:
            self._images.setdefault(place.name, []).append(Images(1, None, tuple(query.shape)))
        if not place.has_formula:
            attended = self._counter.attended
            attended[place.name] = attended.get(place.name, 0) + attention_of(query, key, value, output)
        return output


def storage(tensor: Tensor) -> int:
    """Which memory a tensor lies in, alike for all views of it."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _without_multiplying(func: Any, args: tuple[Any, ...]) -> Any:
    """Zeros in the shape that a convolution or a product has; None for anything else, and for mistakes."""
    if func is _aten.convolution.default:
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
    elif func in (_aten.mm.default, _aten.bmm.default, _aten.addmm.default, _aten.baddbmm.default):
        one, other = args[-2:]
        if one.shape[-1] == other.shape[-2] and one.shape[:-2] == other.shape[:-2]:
            return one.new_zeros(*one.shape[:-1], other.shape[-1])
    elif func is _aten._trilinear.default:
        one, weight, other = args[:3]
        if one.dim() == 2 and (one.shape[1], other.shape[1]) == weight.shape[1:]:
            return one.new_zeros(one.shape[0], weight.shape[0])
    elif func is _aten._scaled_dot_product_flash_attention_for_cpu.default:
        images, heads, queries, _ = args[0].shape
        output = args[0].new_zeros(images, queries, heads, args[2].shape[-1]).transpose(1, 2)  # laid out as torch does
        return output, args[0].new_zeros(images, heads, queries)
    return None


def _matrix_and_vector(args: tuple[Any, ...], output: Any) -> int:
    return math.prod(args[-2].shape)


def _two_matrices(args: tuple[Any, ...], output: Any) -> int:
    return math.prod(args[-2].shape) * args[-1].shape[-1]


def _trilinear(args: tuple[Any, ...], output: Any) -> int:
    return args[0].shape[0] * args[1].numel()


def _recurrent(args: tuple[Any, ...], output: Any) -> int:
    """Every weight matrix at each step; biases are vectors, and what follows the weights are states."""
    weights = args[1] if isinstance(args[1], (list, tuple)) else args[1:3]
    return math.prod(args[0].shape[:-1]) * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _attention(args: tuple[Any, ...], output: Any) -> int:
    query, key, value, *_ = args
    return attention_of(query, key, value, output[0])


_OURS: dict[Any, Callable[[tuple[Any, ...], Any], int]] = {
    _aten.mv: _matrix_and_vector, _aten.addmv: _matrix_and_vector, _aten.dot: _matrix_and_vector,
    _aten.vdot: _matrix_and_vector, _aten.addbmm: _two_matrices, _aten._addmm_activation: _two_matrices,
    _aten._trilinear: _trilinear, _aten.mkldnn_rnn_layer: _recurrent, _aten._cudnn_rnn: _recurrent,
    _aten.miopen_rnn: _recurrent, _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}  # fmt: skip
"""Multiply-accumulates of operations that torch's flop counter leaves out."""

_MULTIPLIES = re.compile(
    r"mm(_|$)|mv(_|$)|(^|_)v?dot(_|$)|conv(?!ert)|attention|rnn|_fft_|cdist|pdist|_dist(_|$)|(?<!re)solve|cholesky|matmul"
    r"|linalg_(?!vector_norm|check|cross|_powsum)|(?<!upsample_)(?<!bi)(?<!tri)linear|transformer|geqrf|ormqr"
)
"""Names of operations that may multiply and accumulate: one of them without a formula is not passed over in silence."""
_FAMILIAR = ("aten", "prim", "prims", "profiler")
_SPOKEN = {
    "convolution": "convolution", "mm": "matrix product", "addmm": "matrix product", "bmm": "matrix product",
    "baddbmm": "matrix product", "addbmm": "matrix product", "mv": "matrix product", "addmv": "matrix product",
    "_addmm_activation": "matrix product", "dot": "dot product", "vdot": "dot product",
}  # fmt: skip
