"""Nets that views have learnt, in the cache: their weights, and what is known of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from frugan import files
from frugan.cache import one_at_a_time, optional
from frugan.registry import UserError

FORMAT = 1

Learnt = tuple[dict[str, Tensor], dict[str, Any]]
"""Weights and the description of a net."""


def kept_or_learnt(folder: Path, what: str, learn: Callable[[], Learnt]) -> Learnt:
    """The net in the cache folder; if there is none, `learn` makes it, and it is kept.

    Its description gets the hash of the weights. Raises UserError, which calls it `what`, if the folder is damaged.
    """
    if not is_kept(folder):
        with one_at_a_time(folder):
            if not is_kept(folder):
                return keep(folder, *learn())
    description = _description(folder)
    if description is None:
        raise UserError(
            f"The {what} in {folder} is damaged or was saved by another version. Delete that folder and run again."
        )
    return _weights(folder), description


def is_kept(folder: Path) -> bool:
    """Whether a net is there; it may be damaged."""
    return folder.is_dir() and any(folder.iterdir())


def keep(folder: Path, weights: dict[str, Tensor], description: dict[str, Any]) -> Learnt:
    """Keep a net if the cache can be written. Returns the one to use: if another process was first, its net."""
    # Not `save_file`, whose files only their owner may read; a cache may be shared.
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    description = {"format": FORMAT, **description, "weights": hashlib.sha256(data).hexdigest()}
    description["checksum"] = _checksum(description)
    with optional(), files.temporary_folder(folder.parent) as beside:
        files.write(beside / "weights.safetensors", data)
        files.write(beside / "description.json", json.dumps(description, indent=1) + "\n")
        try:
            beside.rename(folder)
        except OSError:  # a folder that is there and not empty: the other process' net
            known = _description(folder)
            if known is not None:
                return _weights(folder), known
    return weights, description


def _weights(folder: Path) -> dict[str, Tensor]:
    with files.readable(folder / "weights.safetensors") as name:
        return load_file(name)


def _description(folder: Path) -> dict[str, Any] | None:
    """What is known of the net that is kept there; None if it is damaged or of another version."""
    try:
        known = json.loads((folder / "description.json").read_text())
        with (folder / "weights.safetensors").open("rb") as file:
            whole = known["format"] == FORMAT and hashlib.file_digest(file, "sha256").hexdigest() == known["weights"]
            whole = whole and known.get("checksum", _checksum(known)) == _checksum(known)  # earlier ones have none
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if whole else None


def _checksum(description: dict[str, Any]) -> str:
    """The hash of a description, but for itself."""
    own = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
