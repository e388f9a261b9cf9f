"""How many multiply-accumulates a layer makes, written out, and how many images it was given.

One function for each kind of layer: from what it was called with to what its plain form computes, products with weights
and, apart from them, the products of attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from frugan.costs._tensors import tensors_in
from frugan.registry import UserError

Shape = tuple[int, ...]


class Work(NamedTuple):
    """Multiply-accumulates for all images of a call: products with weights, and products of attention."""

    macs: int = 0
    attention: int = 0


class Taken(NamedTuple):
    """What one call of a module took, and the shape of its first output."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Shape

    @property
    def shape(self) -> Shape:
        """The shape of the first tensor that it was given; () if there was none."""
        return next((tuple(tensor.shape) for tensor in tensors_in((self.args, self.kwargs))), ())

    def argument(self, place: int, name: str) -> Tensor:
        """The argument that stands at this place or has this name."""
        return self.args[place] if len(self.args) > place else self.kwargs[name]


def _convolution(layer: Any, taken: Taken) -> Work:
    return Work(math.prod(taken.output) * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size))


def _transposed(layer: Any, taken: Taken) -> Work:
    return Work(math.prod(taken.shape) * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size))


def _dense(layer: Any, taken: Taken) -> Work:
    return Work(math.prod(taken.output) * layer.in_features)


def _bilinear(layer: Any, taken: Taken) -> Work:
    """A dense layer of the products of its inputs two by two, which are free as all work by element is."""
    return Work(math.prod(taken.output) * layer.in1_features * layer.in2_features)


def _recurrent(layer: Any, taken: Taken) -> Work:
    """Every weight matrix once at each step. A packed sequence holds [steps of all sequences, features]."""
    return Work(math.prod(taken.shape[:-1]) * sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2))


def _attention(layer: Any, taken: Taken) -> Work:
    """Projections of queries, keys, values and result; then a product of each query with each key, and with each value.

    Heads divide the width between them, so their number does not matter.
    """
    images, queries = _sequences(layer, taken.argument(0, "query"))
    _, keys = _sequences(layer, taken.argument(1, "key"))
    wide = layer.embed_dim
    projections = 2 * queries * wide * wide + keys * (layer.kdim + layer.vdim) * wide
    keys += (layer.bias_k is not None) + layer.add_zero_attn  # which it adds to those that it was given
    return Work(images * projections, images * 2 * queries * keys * wide)


def _sequences(layer: Any, tensor: Tensor) -> tuple[int, int]:
    """How many sequences a tensor holds, and of how many steps."""
    if tensor.dim() == 2:
        return 1, tensor.shape[0]
    return (tensor.shape[0], tensor.shape[1]) if layer.batch_first else (tensor.shape[1], tensor.shape[0])


FORMULAS: tuple[tuple[type, Callable[[Any, Taken], Work]], ...] = (
    (_ConvTransposeNd, _transposed), (_ConvNd, _convolution), (nn.Linear, _dense), (nn.Bilinear, _bilinear),
    (nn.RNNBase, _recurrent), (nn.RNNCellBase, _recurrent), (nn.MultiheadAttention, _attention),
)  # fmt: skip
LAYERS = tuple(kind for kind, _ in FORMULAS)
"""The layers that have a formula."""
FREE = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU, nn.Embedding, nn.EmbeddingBag)
"""Layers that hold weights and multiply by element only, or look up."""
DECLARED = ("macs", "macs_attention")
"""Methods by which a module says what it computes by itself: ``(input_shape) -> int``, for the whole input."""


def declares(module: nn.Module, name: str) -> bool:
    """Whether a module has this one of the methods."""
    method = getattr(module, name, None)
    return callable(method) and not isinstance(method, nn.Module)


def has_formula(module: nn.Module) -> bool:
    """Whether there is a count of what a module computes by itself, outside of the layers in it."""
    return isinstance(module, LAYERS) or any(declares(module, name) for name in DECLARED)


def work(module: nn.Module, taken: Taken) -> Work:
    """What one call of a module made by itself. Raises UserError where its own method does not say it."""
    formula = next((formula for kind, formula in FORMULAS if isinstance(module, kind)), None)
    by_formula = Work() if formula is None else formula(module, taken)
    said = [_said(module, name, taken.shape) if declares(module, name) else 0 for name in DECLARED]
    return Work(by_formula.macs + said[0], by_formula.attention + said[1])


def _said(module: nn.Module, name: str, shape: Shape) -> int:
    try:
        count = getattr(module, name)(shape)
    except TypeError as error:
        raise UserError(f"{_contract(module, name)} Called with {shape}, it fails: {error}.") from error
    if type(count) is not int:
        raise UserError(f"{_contract(module, name)} Called with {shape}, it gives {count!r}.")
    return count


def _contract(module: nn.Module, name: str) -> str:
    return (
        f"{type(module).__name__}.{name} says what the module multiplies: ({name}(self, input_shape) -> int), for the "
        "whole input, batch and all; rename it if it means something else."
    )


def attention_of(query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> int:
    """The products of scaled dot-product attention: [..., queries, width], [..., keys, width], [..., keys, wide]."""
    return math.prod(output.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


class Images(NamedTuple):
    """How many images a layer was given in one call, which axis of its first input counts them, and that one's shape.

    The axis is None for one image without a batch axis, and 1 where the first axis counts the steps of sequences.
    """

    count: int
    axis: int | None
    shape: Shape


def images(layer: nn.Module, taken: Taken) -> Images | None:
    """How many images a layer was given, by what it asks of its input; None if it takes any shape."""
    shape, axis = taken.shape, 0
    if not shape:
        return None
    if isinstance(layer, (_ConvNd, _InstanceNorm)):
        axes = 2 + len(layer.kernel_size) if isinstance(layer, _ConvNd) else layer._get_no_batch_dim() + 1
        axis = 0 if len(shape) == axes else None
    elif isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)):
        packed = taken.args[0] if taken.args else None
        if isinstance(packed, nn.utils.rnn.PackedSequence):
            return Images(int(packed.batch_sizes[0]), 0, shape)
        axis = None if len(shape) == 2 else 0 if layer.batch_first else 1
    elif isinstance(layer, (nn.Linear, nn.Bilinear)):
        if len(shape) > 1:
            return None
        axis = None
    elif isinstance(layer, nn.RNNCellBase):
        axis = 0 if len(shape) == 2 else None
    elif not isinstance(layer, _NormBase):
        return None
    return Images(1 if axis is None else shape[axis], axis, shape)
