"""Smaller numbers in an ONNX model: int8 (static, per channel, calibrated) and fp16 (with a check of its range).

Both change what the network computes, so neither comes by default, and what they cost is measured: `judged` measures
FID of the float32 file and of the smaller one, with the same latents, seed by seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frugan.artefact import Generator
from frugan.exporting._parcel import Parcel
from frugan.exporting._quiet import quiet
from frugan.registry import UserError

CALIBRATION = 256
"""On so many inputs of its own the range of every activation is measured."""
QUANTISED = ("Conv", "Gemm", "MatMul")
"""The operators computed in int8. onnxruntime has no transposed layer in int8: those become sub-pixels before."""
CHECKED = 1000
"""The inputs on which no fp16 number may overflow."""
LARGEST = 65504.0
"""The largest finite number of fp16."""
LEVELS = 2
"""How many grey levels fp16 may move a pixel."""
SEEDS = (0, 1, 2, 3, 4)
"""The sampling seeds with which the FID of both files is measured."""


def to_int8(model: Any, parcel: Parcel) -> Any:
    """The model with the products of `QUANTISED` operators in int8: weights per channel, activations calibrated."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = _rows(parcel, CALIBRATION)

        def get_next(self) -> Any:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as name, quiet():
        file = Path(name) / "int8.onnx"
        quantize_static(
            model, file, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=list(QUANTISED),
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            reduce_range=True,  # else sums of two products are cut off at 16 bits on CPUs without VNNI
        )  # fmt: skip
        return onnx.load(file)


def to_fp16(model: Any, parcel: Parcel) -> Any:
    """The model with weights and activations in fp16; what goes in and comes out stays as it is.

    Raises UserError if a number overflows on one of `CHECKED` inputs.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _check_range(parcel)
    with quiet():
        return convert_float_to_float16(model, keep_io_types=True)


@torch.no_grad()
def _check_range(parcel: Parcel) -> None:
    """Raise UserError, naming the layer, if a number of the network is too large for fp16."""
    network = parcel.prepared()
    most: dict[str, float] = {name: float(one.abs().max()) for name, one in network.named_parameters() if one.numel()}

    def watch(name: str) -> Any:
        def look(module: nn.Module, given: Any, made: Any) -> None:
            if isinstance(made, Tensor) and made.is_floating_point():
                most[name] = max(most.get(name, 0.0), float(made.abs().max()))

        return look

    leaves = [(name, one) for name, one in network.named_modules() if not list(one.children())]
    hooks = [one.register_forward_hook(watch(name)) for name, one in leaves]
    for rows in zip(*(one.split(50) for one in parcel.examples(CHECKED)), strict=True):
        network(*rows)
    for hook in hooks:
        hook.remove()
    worst = max(most, key=most.__getitem__)
    if not most[worst] < LARGEST:
        raise UserError(
            f"fp16 cannot hold the numbers of this network: '{worst.removeprefix('network.')}' reaches "
            f"{most[worst]:.3g}, and the largest of fp16 is {LARGEST:g}. Export it in float32."
        )


def tolerance_of_fp16(parcel: Parcel) -> tuple[float, float]:
    """By how much fp16 may move a number, and a grey level: `LEVELS` of an image, a hundredth of anything else."""
    shown = parcel.outputs[0].range
    return 1e-2 if shown is None else LEVELS / 255 * (shown[1] - shown[0]), LEVELS


def judged(plain: Path, smaller: Path, real: str | None, count: int, name: str) -> tuple[dict[str, Any], str]:
    """FID of two files with the same latents: as JSON, and in a line.

    Args:
        real: the real images; those that the run was trained on if left out.
        count: how many images are made with each of `SEEDS`.

    Raises UserError if the real images are not known.
    """
    from frugan.evaluation import evaluate
    from frugan.intervals import paired, t_interval

    values: dict[str, list[float]] = {"float32": [], name: []}
    for seed in SEEDS:
        for kind, file in (("float32", plain), (name, smaller)):
            try:
                value, *_ = evaluate(file, metrics=["fid"], real=real, count=count, seed=seed, device="cpu")
            except UserError as error:
                raise UserError(
                    f"{name} is written only with its FID beside that of float32, and that cannot be measured: {error} "
                    "(Here: real=SOURCE)"
                ) from None
            values[kind].append(float(value["values"]["fid"]))
    apart = paired(values[name], values["float32"])
    intervals = {kind: t_interval(numbers) for kind, numbers in values.items()}
    said = ", ".join(
        f"{kind} {sum(numbers) / len(numbers):.4g} ({intervals[kind].low:.4g} to {intervals[kind].high:.4g})"
        for kind, numbers in values.items()
    )
    assert apart.interval_95 is not None
    line = (
        f"FID of {count:,} images, {len(SEEDS)} sampling seeds, 95 % intervals: {said}; difference {apart.mean:+.3g} "
        f"({apart.interval_95.low:+.3g} to {apart.interval_95.high:+.3g})"
    )
    facts = {"count": count, "seeds": list(SEEDS), "values": values, "mean_difference": apart.mean,
             "interval": list(apart.interval_95)}  # fmt: skip
    return facts, line


def can_be_judged(parcel: Parcel) -> bool:
    """Whether there is an FID of what it makes."""
    return isinstance(parcel.artefact, Generator)


def _rows(parcel: Parcel, count: int) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """Inputs to calibrate on, a few at a time: others than those that parity is found on."""
    rows = [one[64:] for one in parcel.examples(64 + count)]
    for parts in zip(*(one.split(16) for one in rows), strict=True):
        yield {one.name: part.numpy() for one, part in zip(parcel.inputs, parts, strict=True)}
