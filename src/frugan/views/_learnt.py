"""Nets that views have learnt, in the cache: their weights, and what is known of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from frugan.registry import UserError

FORMAT = 1


def kept_or_learnt(
    folder: Path, learn: Callable[[], tuple[Mapping[str, Tensor], dict[str, Any]]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and description of the net in the cache folder; if there is none, `learn` makes it, and it is kept.

    The description gets the hash of the weights. Raises UserError if the folder is damaged.
    """
    if not (folder / "description.json").exists():
        _keep(folder, *learn())
    description = _description(folder)
    if description is None:
        raise UserError(
            f"The net in {folder} is damaged or was saved by another version. Delete that folder and run again."
        )
    return load_file(folder / "weights.safetensors"), description


def _keep(folder: Path, weights: Mapping[str, Tensor], description: dict[str, Any]) -> None:
    """Write both files beside and rename them into place at once; if another process was first, its net is the one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
        # Not `save_file`, whose files only their owner may read, as the folders of mkdtemp are; a cache may be shared.
        (beside / "weights.safetensors").write_bytes(data)
        beside.chmod(0o755)
        known = {"format": FORMAT, **description, "weights": hashlib.sha256(data).hexdigest()}
        (beside / "description.json").write_text(json.dumps(known, indent=1) + "\n")
        with contextlib.suppress(OSError):  # a folder that is there and not empty: the other process' net
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _description(folder: Path) -> dict[str, Any] | None:
    """What is known of the net that is kept there; None if it is damaged or of another version."""
    try:
        known = json.loads((folder / "description.json").read_text())
        data = (folder / "weights.safetensors").read_bytes()
        whole = known["format"] == FORMAT and hashlib.sha256(data).hexdigest() == known["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if whole else None
