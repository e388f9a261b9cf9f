"""An exported ``.onnx`` file as a network: what it says of itself, whether it was edited, and a module that runs it.

The file holds everything: weights, description (JSON in its metadata, see `frugan.exporting`), one input with the
output that it must give, and a checksum. The checksum is the last entry of the metadata and lies at the end of the
file, so it is that of all bytes before it; no library writes the file anew to check it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugan.batch import Range, from_bytes, to_bytes
from frugan.registry import UserError

if TYPE_CHECKING:
    import numpy as np

SUFFIX = ".onnx"
FORMAT = 1
KEY = "frugan"
"""Under which the file's metadata hold the description."""

_CHECKSUM = b"frugan.sha256"


def sealed(model: bytes) -> bytes:
    """A serialised model with the checksum of its bytes as a last entry of its metadata."""
    return model + _entry(hashlib.sha256(model).hexdigest())


def _entry(digest: str) -> bytes:
    """A ``ModelProto`` with nothing but this entry of ``metadata_props`` (field 14): what may be appended to any."""
    entry = bytes((0x0A, len(_CHECKSUM), *_CHECKSUM, 0x12, len(digest), *digest.encode()))
    return bytes((0x72, len(entry), *entry))


def runtime() -> Any:
    """The package onnxruntime. Raises UserError if it is not installed."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError(
            "Running .onnx files needs the package onnxruntime, which is not installed. Type: pip install "
            "'frugan[export]'"
        ) from None
    return onnxruntime


def runtime_version() -> str:
    """Which runtime computes, and its version."""
    return f"onnxruntime {runtime().__version__}"


def session(model: bytes, threads: int | None = None) -> Any:
    """The model in onnxruntime on the CPU, with as many threads as torch has if not told otherwise."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # its warnings are for those who build runtimes
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of an exported file, and its description. Raises UserError unless it is whole and unedited."""
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    tail = len(_entry("0" * 64))
    model, end = whole[:-tail], whole[-tail:]
    if _CHECKSUM not in end:
        known = _CHECKSUM in whole or b"frugan" in whole
        raise UserError(
            f"{path} was cut off, or written anew by another program, since it was exported. Export it again: frugan "
            "export RUN --to onnx" if known else
            f"{path} was not exported by frugan, so it does not say what it takes. Export a run: frugan export RUN "
            "--to onnx"
        )
    if end != _entry(hashlib.sha256(model).hexdigest()):
        raise UserError(
            f"{path} has changed since it was exported: its checksum is wrong. Get the file or export the run again."
        )
    try:
        facts = json.loads(session(whole).get_modelmeta().custom_metadata_map[KEY])
        version = facts["format"]
    except UserError:
        raise
    except Exception as error:  # onnxruntime has an exception for every way in which a file can be broken
        raise UserError(f"{path} cannot be opened by onnxruntime: {_first_line(error)}") from None
    if version != FORMAT:
        raise UserError(
            f"{path} was exported in format {version} by frugan {facts.get('frugan')}; this frugan reads format "
            f"{FORMAT}. Update frugan, or export the run again."
        )
    return whole, facts


class Running(nn.Module):
    """An exported network, called like the one that it was made from; onnxruntime computes it.

    The bytes of the file are its one weight, so hashes of weights tell files apart.
    """

    def __init__(self, file: bytes, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.session = session(file)
        self.file = nn.Parameter(torch.frombuffer(bytearray(file), dtype=torch.uint8), requires_grad=False)
        self.inputs, self.outputs = facts["inputs"], facts["outputs"]
        told = [one for one in self.inputs[1:] if one["name"] in ("labels", "condition")]
        self.classes = 0 if not told else told[0]["shape"][0] if told[0]["shape"] else int(told[0]["range"][1]) + 1
        self.norms_follow_truncation = bool(facts["norms_follow_truncation"])
        self.image_range: Range = tuple(facts["image_range"])  # pyrefly: ignore

    def forward(self, *inputs: Tensor) -> Any:
        """As of the network that was exported: floats, channels first, also where the file takes and gives bytes."""
        given = [self._to_file(tensor, one) for tensor, one in zip(inputs, self.inputs, strict=True)]
        made = [self._from_file(*both) for both in zip(run(self.session, given), self.outputs, strict=True)]
        named = {one["name"]: tensor for one, tensor in zip(self.outputs, made, strict=True)}
        return named if self.outputs[0]["range"] is None else made[0]

    def _to_file(self, tensor: Tensor, about: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        if about["type"] == "uint8":
            tensor = to_bytes(tensor, self.image_range).permute(0, 2, 3, 1)
        return tensor.detach().to(getattr(torch, about["type"])).contiguous().cpu().numpy()

    def _from_file(self, array: np.ndarray[Any, Any], about: Mapping[str, Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if about["type"] == "uint8":
            return from_bytes(tensor.permute(0, 3, 1, 2).contiguous(), self.image_range)
        return tensor.float()


def run(running: Any, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """What a session gives for arrays in the order of its inputs."""
    return running.run(None, {one.name: array for one, array in zip(running.get_inputs(), inputs, strict=True)})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
