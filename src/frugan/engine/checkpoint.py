"""Checkpoints: the whole state of a run in one file. A kill at any moment never loses the last good checkpoint.

A checkpoint is one safetensors file: every tensor under ``part/path``, everything else as JSON in its header. It is
written under another name, flushed to the disk, renamed to a name with its checksum, read back and verified. Only then
are older checkpoints removed. No pickle is written or read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frugan import files
from frugan.engine.run import CHECKPOINT
from frugan.registry import UserError

FORMAT = 1


SEEN = "observers"
"""The part with what observers have seen. Checkpoints of earlier versions lack it; a run continues without."""

STANDING = "standing"
"""What is measured of averaged networks for those who load them; a run continues without. See `read_standing`."""


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state a run must keep."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> object: ...


def capture(parts: Mapping[str, Stateful]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of all parts as (tensors, everything else); the tensors are copies."""
    tensors: dict[str, Tensor] = {}
    rest = {name: _split(part.state_dict(), name, tensors) for name, part in parts.items()}
    return tensors, rest


def restore(parts: Mapping[str, Stateful], tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Give every part the state that `capture` returned of it. Raises UserError if there are parts of other names."""
    odd = sorted((set(parts) ^ set(rest)) - {SEEN})
    if odd:
        raise UserError(
            f"The checkpoint does not fit this recipe. Only one of the two has {', '.join(odd)}. Continue with the "
            "recipe that the run was begun with, or give another --out."
        )
    for name, part in parts.items():
        if name not in rest:
            continue
        part.load_state_dict(_join(rest[name], tensors))


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, Mapping):
        items = [[key, _split(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {"items": items}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(item, f"{path}/{number}", tensors) for number, item in enumerate(value)]}
    return {"value": value}


def _join(value: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]].clone()
    if "items" in value:
        return {key: _join(item, tensors) for key, item in value["items"]}
    if "list" in value:
        return [_join(item, tensors) for item in value["list"]]
    return value["value"]


def write(
    folder: Path, parts: Mapping[str, Stateful], images: int, run: str = "",
    standing: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Path:
    """Write a checkpoint of the run with this id into `folder` and remove those that it replaces; returns its path.

    `standing` are statistics of averaged networks, by network; they belong to no part, so `restore` passes them over.

    Raises UserError if it cannot be written (a full disk, say); the checkpoint before it is then kept.
    """
    tensors, rest = capture(parts)
    for network, measured in (standing or {}).items():
        tensors |= {f"{STANDING}.{network}/{name}": tensor for name, tensor in measured.items()}
    cpu = {name: tensor.cpu() for name, tensor in tensors.items()}
    data = save(cpu, metadata={"format": str(FORMAT), "run": run, "state": json.dumps(rest)})
    digest = hashlib.sha256(data).hexdigest()[:16]
    path = folder / f"images-{images:012d}-{digest}.safetensors"
    try:
        folder.mkdir(exist_ok=True)  # not its parents: a run folder that was deleted is not made again
        files.write(path, data)
        files.flush(folder)  # before the older ones go, the disk must know of this one
        if not _is_whole(path):
            raise OSError("it could not be read back as it was written")
    except OSError as error:
        if not folder.parent.exists():
            raise  # which says what has become of the run
        raise files.PlaceError(
            f"The checkpoint after {images:,} images ({len(data) / 1000000.0:.1f} MB) could not be written to "
            f"{folder}: {error.strerror or error}. {kept(folder)} Free some space, then run the same command again."
        ) from error
    for old in folder.iterdir():
        if old != path and CHECKPOINT.fullmatch(old.name.removesuffix(".tmp")):  # earlier versions wrote beside by .tmp
            old.unlink()
    return path


def _is_whole(path: Path) -> bool:
    match = CHECKPOINT.fullmatch(path.name)
    return match is not None and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:16] == match[2]


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is not damaged (its checksum is right); None if there are no checkpoints.

    Raises UserError if all checkpoints are damaged: a run must not begin anew unless the user asks for it.
    """
    if not folder.is_dir():
        return None
    checkpoints = sorted((path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)), reverse=True)
    whole = next((path for path in checkpoints if _is_whole(path)), None)
    if checkpoints and whole is None:
        raise UserError(
            f"No checkpoint in {folder} can be used: each is damaged (wrong checksum). The newest is "
            f"{checkpoints[0].name}. Restore one from a copy, or begin a new run with another --out."
        )
    return whole


def kept(folder: Path) -> str:
    """A sentence for people: what a run that ends now will continue from."""
    there = os.listdir(folder) if folder.is_dir() else []
    images = [int(match[1]) for match in map(CHECKPOINT.fullmatch, there) if match]
    if not images:
        return "No checkpoint was written yet, so the run will begin anew."
    return f"The checkpoint after {max(images):,} images is kept."


def images_of(path: Path) -> int:
    """How many real images had been shown when this checkpoint was written."""
    match = CHECKPOINT.fullmatch(path.name)
    if match is None:
        raise UserError(f"{path} is not the name of a checkpoint.")
    return int(match[1])


def read(
    path: Path, device: torch.device | str = "cpu", only: str = "", run: str = ""
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint whose names begin with `only`, and everything else in it.

    Raises UserError if it cannot be read, or if it is of another run than the one with the id `run`. (Runs and
    checkpoints of earlier versions have no id.)
    """
    try:
        with files.readable(path) as name, safe_open(name, framework="pt", device=str(device)) as file:
            header = file.metadata() or {}
            version = int(header.get("format", "0"))
            if not 1 <= version <= FORMAT:
                raise UserError(
                    f"{path} has checkpoint format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan."
                )
            if run and header.get("run", run) != run:
                raise UserError(
                    f"{path} is the checkpoint of another run. Delete it, and put back this run's if you have it."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(only)}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error}.") from error
    return tensors, json.loads(header["state"])


def read_standing(path: Path, network: str) -> dict[str, Tensor]:
    """The statistics of an averaged network that were measured when its run ended; empty if none were."""
    part = f"{STANDING}.{network}/"
    tensors, _ = read(path, only=part)
    return {name.removeprefix(part): tensor for name, tensor in tensors.items()}
