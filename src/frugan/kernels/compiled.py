"""Depthwise convolutions and instance norm with ReLU in C++, compiled once on this machine; channels-last images only.

The source is `depthwise.cpp` and `norm.cpp`; `_compiler` turns it into libraries. A depthwise convolution, its
transposed form and the gradient of its weight are the three derivatives of one trilinear form. So the gradients of each
are the other two, to any order, and penalties with double backward use these kernels too. Second derivatives of norms
use the plain form.
"""

from __future__ import annotations

import ctypes
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from frugan.kernels import FULL, Call, Kernel, Norm, Sliding, _compiler, computed, wanted, watcher

TYPES = {torch.float32: "float", torch.bfloat16: "bfloat16"}
LAST = torch.channels_last
LARGEST = 31  # taps along an axis: the loops over them are unrolled


@dataclass(frozen=True)
class Geometry:
    """The sizes [height, width] of the larger and the smaller image of a depthwise layer, and how they are aligned."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    above: int
    left: int
    large: tuple[int, ...]
    small: tuple[int, ...]


def takes(call: Call, images: Tensor, weight: Tensor | None) -> bool:
    """Whether images are float32 or bf16 in channels-last layout on a CPU; grouped layers must be depthwise.

    Depthwise means one kernel for each channel. Tensors without data (the meta device) are not taken.
    """
    usual = (
        type(images) is Tensor and images.device.type == "cpu" and images.dim() == 4 and computed(images) in TYPES
        and images.is_contiguous(memory_format=LAST) and not torch.compiler.is_compiling()
    )  # fmt: skip
    if not usual or images.numel() == 0 or (weight is not None and weight.dtype is not torch.float32):
        return False
    if call.operation in FULL:
        return False
    if isinstance(call.settings, Norm):
        return images.shape[2] * images.shape[3] > 1 and _compiler.load("norm") is not None
    assert weight is not None
    depthwise = weight.shape[1] == 1 and call.settings.groups == images.shape[1] == weight.shape[0]
    if not depthwise or max(weight.shape[2:]) > LARGEST or min(_sizes(call, images, weight)) < 1:
        return False
    return _depthwise(tuple(weight.shape[2:]), call.settings.stride) is not None


def run(call: Call, images: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Compute the call with a compiled function, in autocast's precision or the images' own."""
    dtype = computed(images)
    with torch.autocast("cpu", enabled=False):
        images = images.to(dtype)
        if isinstance(call.settings, Norm):
            return InstanceNorm.apply(images, weight, bias, call)
        assert weight is not None
        other, settings = _sizes(call, images, weight), call.settings
        transposed = call.operation == "grouped_transposed"
        inside = tuple(images.shape[2:])
        geometry = Geometry(
            tuple(weight.shape[2:]), settings.stride, settings.rows[0], settings.columns[0],
            other if transposed else inside, inside if transposed else other,
        )
        return _convolved(images, weight, bias, geometry, transposed)


def _sizes(call: Call, images: Tensor, weight: Tensor) -> tuple[int, ...]:
    """Height and width of what a grouped layer gives."""
    assert isinstance(call.settings, Sliding)
    if call.operation != "grouped_transposed":
        return call.settings.output_size(images, weight)
    stride, *crops = call.settings[:3]
    sides = zip(images.shape[2:], weight.shape[2:], stride, crops, strict=True)
    high, wide = ((size - 1) * step + kernel - sum(crop) for size, kernel, step, crop in sides)
    return high, wide


def _depthwise(kernel: tuple[int, ...], stride: tuple[int, ...]) -> ctypes.CDLL | None:
    return _compiler.load("depthwise", KH=kernel[0], KW=kernel[1], SH=stride[0], SW=stride[1])


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("count", "height", "width", "channels", "out_height", "out_width", "above", "left")
    ]


def _call(function: str, geometry: Geometry, given: Tensor, other: Tensor, *out: Tensor | None, turned: bool) -> None:
    library = _depthwise(geometry.kernel, geometry.stride)
    assert library is not None
    sizes = (geometry.small, geometry.large) if turned else (geometry.large, geometry.small)
    shape = _Shape(len(given), *sizes[0], given.shape[1], *sizes[1], geometry.above, geometry.left)
    # Every tap meets every value of the smaller image once, whichever of the three is computed.
    macs = len(given) * given.shape[1] * math.prod((*geometry.small, *geometry.kernel))
    _started(library, f"depthwise_{function}", given.dtype, macs, given, other, *out, ctypes.byref(shape))


def _started(library: ctypes.CDLL, operation: str, dtype: torch.dtype, macs: int, *arguments: Any) -> None:
    began = time.perf_counter()
    pointers = [ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments]
    function = f"{operation.rpartition('_')[2]}_{TYPES[dtype]}"
    getattr(library, function)(*pointers, torch.get_num_threads())
    watching = watcher.get()
    if watching is not None:
        tensors = tuple(one for one in arguments if isinstance(one, Tensor))
        watching(operation, tensors, macs, time.perf_counter() - began)


def _taps(weight: Tensor) -> Tensor:
    """Weights ``[c, 1, kh, kw]`` as the functions read them, ``[kh kw, c]``."""
    return weight.float().flatten(1).t().contiguous()


def _like(images: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.empty((*images.shape[:2], *size), dtype=images.dtype, memory_format=LAST)


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()


def _convolved(images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool) -> Tensor:
    # Gradients come in any layout. A copy that `forward` made would be kept without its graph, and higher derivatives
    # would lack what goes through it.
    return Convolution.apply(images.contiguous(memory_format=LAST), weight, bias, geometry, transposed)


def _by_weight(large: Tensor, small: Tensor, geometry: Geometry) -> Tensor:
    return Weight.apply(*(one.contiguous(memory_format=LAST) for one in (large, small)), geometry)


class Convolution(Function):
    """The convolution: larger image ``[n, c, H, W]`` to smaller image ``[n, c, h, w]``, or back if transposed."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(images, weight, bias)
        ctx.geometry, ctx.transposed = geometry, transposed
        ctx.set_materialize_grads(False)  # what has no gradient is passed on as such, not as zeros
        out = _like(images, geometry.large if transposed else geometry.small)
        name = "transposed" if transposed else "forward"
        _call(name, geometry, images, _taps(weight), _wide(bias), out, turned=transposed)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        if grad is None:
            return (None,) * 5
        images, weight, bias = ctx.saved_tensors
        to_images = to_weight = None
        if ctx.needs_input_grad[0]:
            to_images = _convolved(grad, weight, None, ctx.geometry, not ctx.transposed)
        if ctx.needs_input_grad[1] and wanted(weight):
            large, small = (grad, images) if ctx.transposed else (images, grad)
            to_weight = _by_weight(large, small, ctx.geometry)
        to_bias = grad.float().sum((0, 2, 3)) if bias is not None and wanted(bias) else None
        return to_images, to_weight, to_bias, None, None


class Weight(Function):
    """The gradient of the weight, from the larger image and the gradient of the smaller one."""

    @staticmethod
    def forward(ctx: Any, large: Tensor, small: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(large, small)
        ctx.geometry = geometry
        high, wide = geometry.kernel
        sums = large.new_empty(len(large), high * wide, large.shape[1], dtype=torch.float32)
        _call("weight", geometry, large, small, sums, turned=False)
        return sums.sum(0).t().reshape(-1, 1, high, wide)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        large, small = ctx.saved_tensors
        to_large = _convolved(small, grad, None, ctx.geometry, True) if ctx.needs_input_grad[0] else None
        to_small = _convolved(large, grad, None, ctx.geometry, False) if ctx.needs_input_grad[1] else None
        return to_large, to_small, None


class _NormShape(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int64), ("pixels", ctypes.c_int64), ("channels", ctypes.c_int64), ("eps", ctypes.c_float),
        ("rectify", ctypes.c_int32),
    ]  # fmt: skip


class InstanceNorm(Function):
    """Instance norm: each channel of an image is normalised over its pixels, scaled, shifted, perhaps rectified."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, call: Call) -> Tensor:
        out = torch.empty_like(images)
        mean, inverse = (images.new_empty(images.shape[:2], dtype=torch.float32) for _ in range(2))
        ctx.call = call
        ctx.save_for_backward(images, weight, bias, mean, inverse)
        ctx.set_materialize_grads(False)
        _norm("forward", ctx, images, _wide(weight), _wide(bias), out, mean, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        if grad is None:
            return (None,) * 4
        images, weight, bias, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = [one for one in (images, weight, bias) if one is not None and one.requires_grad]
            with torch.enable_grad():
                again = ctx.call.plain(images, weight, bias)
            made = torch.autograd.grad(again, given, grad, create_graph=True)
            gradients = dict(zip(map(id, given), made, strict=True))
            return (*(gradients.get(id(one)) for one in (images, weight, bias)), None)
        grad = grad.contiguous(memory_format=LAST)
        out, channels = torch.empty_like(images), images.shape[1]
        scale = torch.ones(channels) if weight is None else _wide(weight)
        shift = torch.zeros(channels) if bias is None else _wide(bias)
        sums = mean.new_empty(len(images), 2, channels)
        _norm("backward", ctx, images, grad, scale, shift, mean, inverse, out, sums)
        to_bias, to_weight = sums.sum(0)
        return out, None if weight is None else to_weight, None if bias is None else to_bias, None


def _norm(function: str, ctx: FunctionCtx, images: Tensor, *others: Tensor | None) -> None:
    library = _compiler.load("norm")
    assert library is not None
    settings: Norm = ctx.call.settings  # type: ignore[attr-defined]
    count, channels, high, wide = images.shape
    shape = _NormShape(count, high * wide, channels, settings.eps, settings.rectify)
    _started(library, f"instance_norm_{function}", images.dtype, 0, images, *others, ctypes.byref(shape))


variant = Kernel("compiled", takes, run)
