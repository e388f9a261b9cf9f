"""The one input that an exported file carries, with the output that it must give."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from frugan.batch import to_bytes
from frugan.exporting._parcel import Parcel


def example_of(
    parcel: Parcel, run: Callable[[list[np.ndarray[Any, Any]]], Sequence[np.ndarray[Any, Any]]]
) -> dict[str, Any]:
    """The first example of a parcel as JSON: ``{"inputs": {name: array}, "outputs": {name: array}}``.

    `run` is the exported network, which parity has been found for.

    An array is ``{"type", "shape", "base64"}``, little-endian. Images among the outputs are bytes, of numbers in the
    image range those to which they are rounded.
    """
    inputs = parcel.examples(1)
    outputs = {}
    for one, array in zip(parcel.outputs, run([tensor.numpy() for tensor in inputs]), strict=True):
        shown = one.type == "float32" and one.range is not None
        outputs[one.name] = packed(to_bytes(torch.from_numpy(array), one.range or (0, 1)).numpy() if shown else array)
    given = {one.name: packed(tensor.numpy()) for one, tensor in zip(parcel.inputs, inputs, strict=True)}
    return {"inputs": given, "outputs": outputs}


def packed(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An array as JSON, see `example_of`."""
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    return {"type": str(array.dtype), "shape": list(array.shape), "base64": base64.b64encode(plain.tobytes()).decode()}


def unpacked(stored: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The array that `packed` made this of."""
    plain = np.frombuffer(base64.b64decode(stored["base64"]), np.dtype(stored["type"]).newbyteorder("<"))
    return plain.reshape(stored["shape"]).astype(stored["type"])
