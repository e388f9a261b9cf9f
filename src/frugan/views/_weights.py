"""Published weights: read once without running any code in them, kept as safetensors, checked at every use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frugan import files
from frugan.registry import UserError

Layout = Mapping[str, torch.Size]
"""The names and shapes of a network's tensors."""


def read_published(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file that torch.save wrote, and the file's SHA-256.

    If the file's name ends in a hash (``name-6726825d.pth``), the content must have this hash.

    Raises:
        UserError: no such file, a content that does not fit its name, or anything but named tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    named = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"{path.name}: its SHA-256 starts with {digest[:8]}, but its name says {named[1]}. It is another file, or "
            "the download was cut short. Download it again."
        )
    try:
        tensors: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader stumbles over, this file is not what was asked for
        raise UserError(
            f"{path.name} cannot be read as plain tensors ({type(error).__name__}): it is cut short, is a TorchScript "
            "archive, or contains code. Use the .pth file of weights."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"{path.name} holds a {type(tensors).__name__}, but named tensors (a state_dict) are needed.")
    return dict(tensors), digest


def check_layout(path: Path, network: str, tensors: Mapping[str, Tensor], layout: Layout) -> None:
    """Raise UserError unless `tensors` have the names and shapes of `network`, and all values are finite."""
    missing, extra = sorted(layout.keys() - tensors.keys()), sorted(tensors.keys() - layout.keys())
    if missing or extra:
        problems = [
            f"{len(names)} {word}, e.g. {names[0]}" for word, names in (("missing", missing), ("extra", extra)) if names
        ]
        listed = " and ".join(problems)
        raise UserError(f"{path.name} is not {network}: it should have {len(layout)} tensors, and {listed}.")
    for name, shape in layout.items():
        if tensors[name].shape != shape:
            raise UserError(
                f"{path.name}: {name} is {list(tensors[name].shape)}, but in {network} it is {list(shape)}."
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise UserError(f"{path.name}: {name} has values that are not finite. Download the file again.")


def keep(target: Path, tensors: Mapping[str, Tensor], source: Path, digest: str) -> Path:
    """Write `tensors` to `target` in float32, with their checksum and the file that they came from; return `target`."""
    plain = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    facts = {"checksum": checksum(plain), "source": json.dumps({"file": source.name, "sha256": digest})}
    files.write(target, save(plain, facts))
    return target


def read_kept(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a file that `keep` wrote, and their checksum. Raises UserError if the file has changed."""
    again = "Delete it and convert the weights again: frugan data convert-weights FILE"
    try:
        with files.readable(path) as name, safe_open(name, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = (file.metadata() or {}).get("checksum")
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}). {again}") from error
    if written is None:
        raise UserError(f"{path} was not written by this version of frugan. {again}")
    if checksum(tensors) != written:
        raise UserError(f"{path} is damaged: its tensors no longer have the checksum {written[:12]}. {again}")
    return tensors, written


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 over the names, types, shapes and content of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
