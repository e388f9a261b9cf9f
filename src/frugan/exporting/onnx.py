"""``model.onnx``: one file with everything in it, for onnxruntime and whatever else reads ONNX.

It comes through torch's current exporter, in float32, with a free batch. The file's metadata hold, under the key
"frugan", its description as JSON: names, shapes and ranges of what goes in and comes out, the parity that was found,
one input with the output that it must give, and how the network was made. A checksum closes the file.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from frugan.artefact import _onnx
from frugan.exporting import Parcel, Parity, Target, Written, _precision, needed
from frugan.exporting._example import example_of
from frugan.exporting._quiet import quiet
from frugan.fusing import REWRITES
from frugan.registry import UserError, suggest

OPSET = 18
"""The version of ONNX' operators: the one in which torch's exporter writes them, without a conversion."""
FILE = "model.onnx"
GROUPED, ALL = "grouped transposed layers as sub-pixels", "transposed layers as sub-pixels"
FOR_PLACE = {"phone": (GROUPED,)}
"""The rewrites that a place needs: runtimes on phones take no transposed layers with groups."""
WORTH = 0.97
"""A rewrite is kept if the network then takes at most this share of the time."""
SECONDS = 1.0
"""About how long two forms of a network are measured in turn."""
FORMS = ("fastest", "plain")
PRECISIONS = ("float32", "int8", "fp16")


def write(
    parcel: Parcel, folder: Path, *, form: str = "fastest", bytes: bool = False, precision: str = "float32",
    real: str = "", count: int = 2000,
) -> Written:
    """Write ``model.onnx`` and say how it was made.

    Args:
        form: "fastest" rewrites layers where onnxruntime is measured to be faster then; "plain" does not.
        bytes: take and give images as bytes [n, height, width, channels] instead of numbers.
        precision: "float32"; "int8", which is written with its FID beside that of float32; or "fp16", for runtimes that
            compute in it.
        real: the real images of that FID; if left out, those that the run was trained on.
        count: how many images that FID is measured on, with each of five seeds.
    """
    for option, value, accepted in (("form", form, FORMS), ("precision", precision, PRECISIONS)):
        if value not in accepted:
            raise UserError(f"{option}={value} is unknown. {suggest(value, accepted)}")
    parcel = parcel.in_bytes() if bytes else parcel
    if precision == "int8":
        chosen = [ALL]
        model, notes = model_of(parcel, chosen), []
    else:
        chosen, model, notes = _fastest(parcel) if form == "fastest" else _plain(parcel)
    parity = parcel.compare(_runner(model))
    facts = {
        **parcel.description(), "format": _onnx.FORMAT, "opset": OPSET, "precision": precision, "rewritten": chosen,
        "parity": vars(parity),
    }
    if precision != "float32":
        model, parity, more, lines = _smaller(parcel, model, facts, real or None, count)
        facts, notes = {**facts, **more}, [*notes, *lines]
    facts["example"] = example_of(parcel, _runner(model))
    (folder / FILE).write_bytes(_with_facts(model, facts))
    return Written(parity, facts, tuple(notes))


def _smaller(
    parcel: Parcel, model: Any, facts: dict[str, Any], real: str | None, count: int
) -> tuple[Any, Parity, dict[str, Any], list[str]]:
    """A model in fewer bits, how far it is off, and what that costs and gains: as JSON, and as lines to print."""
    precision = facts["precision"]
    # A copy: what makes it smaller moves the weights out of the model that it is given.
    small = (_precision.to_int8 if precision == "int8" else _precision.to_fp16)(copy_of(model), parcel)
    accepted = (None, None) if precision == "int8" else _precision.tolerance_of_fp16(parcel)
    parity = parcel.compare(_runner(small), accepted[0], levels=accepted[1])
    with tempfile.TemporaryDirectory() as name:
        plain, other = Path(name) / "float32.onnx", Path(name) / "smaller.onnx"
        for file, one in ((plain, model), (other, small)):
            file.write_bytes(_with_facts(copy_of(one), {**facts, "example": {}}))
        sizes = [file.stat().st_size for file in (plain, other)]
        times = _in_turn([model, small], [one.numpy() for one in parcel.examples(1)])
        more: dict[str, Any] = {
            "parity": vars(parity), "bytes": sizes[1], "bytes_float32": sizes[0], "ms": times[1], "ms_float32": times[0]
        }
        lines = [
            f"{precision}: {sizes[1]:,} bytes (float32: {sizes[0]:,}), {times[1]:.3g} ms at batch 1 (float32: "
            f"{times[0]:.3g} ms)"
        ]
        if precision == "int8" and _precision.can_be_judged(parcel):
            more["fid"], line = _precision.judged(plain, other, real, count, precision)
            lines.append(line)
    return small, parity, more, lines


def _runner(model: Any) -> Any:
    """A function from arrays to what the model makes of them."""
    session = _onnx.session(model.SerializeToString())
    return lambda inputs: _onnx.run(session, inputs)


def copy_of(model: Any) -> Any:
    """Another `ModelProto` of the same model."""
    copied = type(model)()
    copied.CopyFrom(model)
    return copied


def model_of(parcel: Parcel, rewrites: Sequence[str] = ()) -> Any:
    """The network of a parcel as an ``onnx.ModelProto``, with these rewrites (names in `REWRITES`).

    Raises UserError for a layer that has no form in ONNX, and for a network that takes only one size of a batch.
    """
    onnx, *_ = needed("onnx", "onnxscript")
    network = parcel.prepared(*(REWRITES[name] for name in rewrites))
    for name, module in network.named_modules():
        if module.training:
            raise UserError(f"The layer '{name}' is in training mode; it would be exported as it trains.")
    inputs = tuple(parcel.examples(3))
    try:
        with quiet():
            program = torch.onnx.export(
                network, inputs, dynamo=True, external_data=False, opset_version=OPSET, verbose=False,
                input_names=[one.name for one in parcel.inputs], output_names=[one.name for one in parcel.outputs],
                dynamic_shapes=parcel.free_axes(),
            )  # fmt: skip
    except Exception as error:  # the exporter has a kind of error for each of its steps
        raise UserError(f"This network has no form in ONNX: {_reason(error)}") from error
    assert program is not None
    model = program.model_proto
    for one in (*model.graph.input, *model.graph.output):
        if not one.type.tensor_type.shape.dim[0].dim_param:
            raise UserError(
                f"The network can be exported for one size of a batch only: '{one.name}' has a fixed first axis. A "
                "layer uses the length of its input as a number (len(x)); x.shape[0] stays free."
            )
    _strip(model)
    onnx.checker.check_model(model)
    return model


def _plain(parcel: Parcel) -> tuple[list[str], Any, list[str]]:
    chosen = list(FOR_PLACE.get(parcel.place or "", ()))
    return chosen, model_of(parcel, chosen), []


def _fastest(parcel: Parcel) -> tuple[list[str], Any, list[str]]:
    """The rewrites with which the network is fastest here, the model, and a line for each that was tried."""
    chosen, model, notes = _plain(parcel)
    sizes = [one.numpy() for one in parcel.examples(1)]
    for name, rewrite in REWRITES.items():
        if name in chosen or not rewrite(parcel.prepared(*(REWRITES[one] for one in chosen))):
            continue
        other = model_of(parcel, [*chosen, name])
        before, after = _in_turn([model, other], sizes)
        better = after < WORTH * before
        said = "used, faster" if better else "not used, not faster"
        notes.append(f"{name}: {said} ({before:.3g} ms without, {after:.3g} ms with)")
        if better:
            chosen, model = [*chosen, name], other
    return chosen, model, notes


def _in_turn(models: Sequence[Any], inputs: Sequence[Any]) -> list[float]:
    """The median milliseconds of each model in onnxruntime, measured in turn."""
    sessions = [_onnx.session(model.SerializeToString()) for model in models]
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + SECONDS
    while len(times[0]) < 5 or (time.perf_counter() < end and len(times[0]) < 200):
        for taken, session in zip(times, sessions, strict=True):
            began = time.perf_counter()
            _onnx.run(session, inputs)
            taken.append(1000 * (time.perf_counter() - began))
    return [statistics.median(taken[2:]) for taken in times]


def _with_facts(model: Any, facts: dict[str, Any]) -> bytes:
    del model.metadata_props[:]
    model.metadata_props.add(key=_onnx.KEY, value=json.dumps(facts))
    model.producer_name, model.producer_version = "frugan", facts["frugan"]
    return _onnx.sealed(model.SerializeToString())


def _strip(model: Any) -> None:
    """Take out what the exporter notes of each node: it names the files of whoever exports."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        one.doc_string = ""
        del one.metadata_props[:]
    for function in model.functions:
        for one in (function, *function.node):
            one.doc_string = ""
            del one.metadata_props[:]


def _reason(error: BaseException) -> str:
    """The innermost cause of an exporter's error, in its first words."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


variant = Target("onnx", "one file model.onnx, for onnxruntime and other software", write)
