"""The files of an artefact: weights, config and model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frugan import files
from frugan.artefact._card import card
from frugan.registry import UserError

FORMAT = 1


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """The first 16 hex digits of the SHA-256 of all weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def write(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], overwrite: bool) -> Path:
    """Write an artefact folder. Raises UserError if there is something at `path` already."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; an artefact is a folder. Give another path.")
    if path.exists() and not files.is_empty(path) and not overwrite:
        raise UserError(f"{path} is not empty. Give another path, or overwrite=True.")
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    config = {**config, "weights": hash_of(stored), "format": FORMAT}
    text = json.dumps(config, indent=2) + "\n"
    with files.folder(path) as beside:
        files.write(beside / "README.md", card(config))
        files.write(beside / "config.json", text)
        # Not `save_file`, whose files only their owner may read. The weights carry their config: if an artefact that
        # is overwritten gets one file and not the other, it is still known what these weights are.
        files.write(beside / "model.safetensors", _ordered(save(stored, {"format": str(FORMAT), "config": text})))
    return path


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its header in a fixed order, so that equal weights give equal files."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an artefact's config and weights. Raises UserError if it is damaged, edited or of a newer format."""
    try:
        config = files.parse_json(files.read_bytes(path / "config.json").decode(), path / "config.json")
        version = config.get("format") if isinstance(config, dict) else None
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise UserError(
                f"{path} has artefact format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan."
            )
        with files.readable(path / "model.safetensors") as name, safe_open(name, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            carried = json.loads((file.metadata() or {}).get("config", "null"))
    except (ValueError, SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{path} is damaged or incomplete: {error}. Get or save the artefact again.") from None
    found = hash_of(tensors)
    if carried is not None and "weights" in config and carried["weights"] == found != config["weights"]:
        return carried, tensors
    if config.get("weights", found) != found:  # artefacts of earlier versions do not have it
        raise UserError(
            f"{path / 'model.safetensors'} was damaged or changed: its weights have the hash {found}, config.json says "
            f"{config['weights']}. Get or save the artefact again."
        )
    return config, tensors
