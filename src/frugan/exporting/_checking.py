"""Checks an exported file on the machine where it is: nobody edited it, and it makes here what it must make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frugan.artefact import _onnx
from frugan.exporting._example import unpacked
from frugan.files import expanded
from frugan.registry import UserError

LEVELS = 2
"""How many grey levels the image may be off: other processors round differently."""
SHARE = 1e-3
"""How far other outputs may be off, as a share of the largest number."""


@dataclass(frozen=True)
class Checked:
    """An exported file that is as it should be.

    Attributes:
        recipe, role: what it is.
        inputs, outputs: name -> type, shape and range, in words.
        runtime: what computed here.
        parity: what was found when it was exported, as JSON; see `Parity`.
        apart: how far the output of the input that it carries is off here: grey levels, or a share of the largest.
    """

    file: str
    recipe: str
    role: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    runtime: str
    parity: Mapping[str, Any]
    apart: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [f"  {kind} {name}: {said}" for kind, named in (("in ", self.inputs), ("out", self.outputs))
                for name, said in named.items()]  # fmt: skip
        parity = f"largest difference {self.parity['largest']:.2g} over {self.parity['inputs']} inputs when exported"
        return "\n".join([
            f"{self.file}: {self.role} of {self.recipe}. Its checksum is right.", *rows,
            f"It gives what it must give: off by {self.apart:.2g} with {self.runtime}; {parity}.",
        ])


def check_file(file: str | Path) -> Checked:
    """Check an exported file. Raises UserError if it is damaged, edited, or computes something else here."""
    file = expanded(file)
    if file.is_dir():
        raise UserError(f"{file} is a folder. Name the file in it: frugan check-export {file / 'model.onnx'}")
    whole, facts = _onnx.read(file)
    example = facts["example"]
    made = _onnx.run(_onnx.session(whole), [unpacked(one) for one in example["inputs"].values()])
    apart = 0.0
    for about, got in zip(facts["outputs"], made, strict=True):
        apart = max(apart, _apart(about, got, unpacked(example["outputs"][about["name"]]), file))
    return Checked(
        str(file), facts["config"]["recipe"], facts["role"], {one["name"]: _said(one) for one in facts["inputs"]},
        {one["name"]: _said(one) for one in facts["outputs"]}, _onnx.runtime_version(), facts["parity"], apart,
    )


def _apart(about: Mapping[str, Any], got: np.ndarray[Any, Any], must: np.ndarray[Any, Any], file: Path) -> float:
    """How far an output is off. Raises UserError if that is too far."""
    shown = about["range"] is not None
    if shown and about["type"] == "float32":
        low, high = about["range"]
        got = np.clip((got - low) * (255 / (high - low)), 0, 255).round()
    apart = float(np.abs(got.astype(np.float64) - must).max())
    unit, most = ("grey levels", LEVELS) if shown else ("of the largest number", SHARE)
    apart = apart if shown else apart / max(1.0, float(np.abs(must).max()))
    if not apart <= most:
        raise UserError(
            f"{file} computes something else here than when it was exported: '{about['name']}' is off by {apart:.3g} "
            f"{unit}, and {most} is accepted. Use another version of onnxruntime ({_onnx.runtime_version()} is "
            "installed), or export the run again on this machine."
        )
    return apart


def _said(one: Mapping[str, Any]) -> str:
    size = ", ".join(["n", *map(str, one["shape"])])
    between = "" if one["range"] is None else f", {one['range'][0]:g} to {one['range'][1]:g}"
    names = f" ({', '.join(one['names'])})" if one.get("names") else ""
    return f"{one['type']} [{size}]{between}{names}"
