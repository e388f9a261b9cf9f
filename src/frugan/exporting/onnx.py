"""``model.onnx``: one file with everything in it, for onnxruntime and whatever else reads ONNX.

It comes through torch's current exporter, in float32, with a free batch. The file's metadata hold, under the key
"frugan", its description as JSON: names, shapes and ranges of what goes in and comes out, the parity that was found,
one input with the output that it must give, and how the network was made. A checksum closes the file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from frugan.artefact import _onnx
from frugan.exporting import Parcel, Target, Written, needed
from frugan.exporting._example import example_of
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


def write(parcel: Parcel, folder: Path, *, form: str = "fastest", bytes: bool = False) -> Written:
    """Write ``model.onnx`` and say how it was made.

    Args:
        form: "fastest" rewrites layers where onnxruntime is measured to be faster then; "plain" does not.
        bytes: take and give images as bytes [n, height, width, channels] instead of numbers.
    """
    if form not in FORMS:
        raise UserError(f"onnx,form={form} is unknown. {suggest(form, FORMS)}")
    parcel = parcel.in_bytes() if bytes else parcel
    chosen, model, notes = _fastest(parcel) if form == "fastest" else _plain(parcel)
    session = _onnx.session(model.SerializeToString())
    parity = parcel.compare(lambda inputs: _onnx.run(session, inputs))
    facts = {
        **parcel.description(), "format": _onnx.FORMAT, "opset": OPSET, "precision": "float32", "rewritten": chosen,
        "parity": vars(parity), "example": example_of(parcel),
    }
    (folder / FILE).write_bytes(_with_facts(model, facts))
    return Written(parity, facts, tuple(notes))


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
        with _quiet():
            program = torch.onnx.export(
                network, inputs, dynamo=True, external_data=False, opset_version=OPSET, verbose=False,
                input_names=[one.name for one in parcel.inputs], output_names=[one.name for one in parcel.outputs],
                dynamic_shapes={
                    name: {0: torch.export.Dim("batch")} for name, _ in zip(("first", "second"), inputs, strict=False)
                },
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
        notes.append(f"{name}: {'taken' if better else 'left'} ({before:.3g} ms without, {after:.3g} ms with)")
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, torch's exporter prints nothing of what it passes over."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _reason(error: BaseException) -> str:
    """The innermost cause of an exporter's error, in its first words."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


variant = Target("onnx", "one file model.onnx, for onnxruntime and other software", write)
