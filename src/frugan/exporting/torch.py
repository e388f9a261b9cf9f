"""``model.pt2``: a program for torch alone, without frugan and without this network's Python code.

It comes from `torch.export`, in float32, with a free batch. The file is an archive of JSON and plain numbers; nothing
in it is pickled. ``torch.export.load("model.pt2").module()`` gives a function of the inputs; the description is the
extra file ``frugan.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from frugan.exporting import Parcel, Target, Written
from frugan.exporting._quiet import quiet
from frugan.registry import UserError

FILE = "model.pt2"
NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""What torch notes of each operation, and nobody needs: it names the files of whoever exports."""


def write(parcel: Parcel, folder: Path, *, bytes: bool = False) -> Written:
    """Write ``model.pt2``.

    Args:
        bytes: take and give images as bytes [n, height, width, channels] instead of numbers.
    """
    parcel = parcel.in_bytes() if bytes else parcel
    inputs = tuple(parcel.examples(3))
    with quiet():
        try:
            program = torch.export.export(parcel.prepared(), inputs, dynamic_shapes=parcel.free_axes())
        except Exception as error:  # it has a kind of error for each of its steps
            reason = (str(error).strip().splitlines() or [""])[0]
            raise UserError(f"torch cannot export this network: {type(error).__name__}: {reason}") from error
        for node in program.graph.nodes:
            for note in NOTES:
                node.meta.pop(note, None)
        program._example_inputs = None  # they would be pickled
        file = folder / FILE
        facts = parcel.description()
        torch.export.save(program, file, extra_files={"frugan.json": json.dumps(facts)})
        opened = torch.export.load(file).module()
    with torch.no_grad():
        parity = parcel.compare(
            lambda arrays: [made.numpy() for made in opened(*(torch.from_numpy(array) for array in arrays))]
        )
    return Written(parity, {**facts, "parity": vars(parity)})


variant = Target("torch", "a program model.pt2 for torch without frugan (torch.export.load)", write)
