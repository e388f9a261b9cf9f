"""Networks and the tensors that they are called with."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugan.registry import UserError


def duplicate(module: nn.Module, *, share: bool = False) -> nn.Module:
    """A deep copy. With `share` it has the same parameter tensors as the original, so it takes no more memory."""
    memo: dict[int, Any] = {}
    for tensor in all_tensors(module):
        if nn.parameter.is_lazy(tensor):
            raise UserError("The module has lazy layers, whose sizes are not known yet. Call it once on data first.")
        if share and isinstance(tensor, nn.Parameter):
            memo[id(tensor)] = tensor
        elif not tensor.is_leaf:  # which deepcopy refuses: the weight that weight_norm computed last
            memo[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(module, memo)


def arguments(inputs: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a module is called with: positional, then by name. Raises UserError if there are none."""
    if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)) and not is_shape(inputs[0]):
        packed = hasattr(inputs[0], "_fields")  # a packed sequence is one argument
        inputs = inputs if packed else tuple(inputs[0])
    if not inputs:
        raise UserError(
            "Give the inputs that the module is called with: a tensor, or a shape that begins with the batch, e.g. "
            "(1, 3, 64, 64)."
        )
    positional: list[Any] = []
    keyword: dict[str, Any] = {}
    for value in inputs:
        if isinstance(value, Mapping):
            keyword.update(value)
        else:
            positional.append(value)
    return positional, keyword


def is_shape(value: Any) -> bool:
    """Whether a value says the shape of a tensor."""
    return isinstance(value, (tuple, list)) and bool(value) and all(type(size) is int for size in value)


def all_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that a module keeps as plain attributes."""
    for sub in module.modules():
        for held in (sub._parameters, sub._buffers, vars(sub)):
            yield from (value for value in held.values() if isinstance(value, Tensor))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in arguments or in what a module gives back."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in(vars(value))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point type that a module computes in."""
    floating = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(floating, torch.get_default_dtype())
