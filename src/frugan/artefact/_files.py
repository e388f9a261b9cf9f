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
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise UserError(f"{path} is not empty. Give another path, or overwrite=True.")
    path.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not `save_file`, whose files only their owner may read.
    (path / "model.safetensors").write_bytes(save(stored, metadata={"format": str(FORMAT)}))
    config = {**config, "weights": hash_of(stored), "format": FORMAT}
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (path / "README.md").write_text(card(config))
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an artefact's config and weights. Raises UserError if it is damaged, edited or of a newer format."""
    try:
        config = json.loads((path / "config.json").read_text())
        version = config.get("format") if isinstance(config, dict) else None
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise UserError(
                f"{path} has artefact format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan."
            )
        with safe_open(path / "model.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (ValueError, SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{path} is damaged or incomplete: {error}. Get or save the artefact again.") from None
    if config.get("weights", found := hash_of(tensors)) != found:  # artefacts of earlier versions do not have it
        raise UserError(
            f"{path / 'model.safetensors'} was damaged or changed: its weights have the hash {found}, config.json says "
            f"{config['weights']}. Get or save the artefact again."
        )
    return config, tensors
