"""The files of an artefact: weights, config and model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frugan.registry import UserError

FORMAT = 1


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
    (path / "config.json").write_text(json.dumps({**config, "format": FORMAT}, indent=2) + "\n")
    (path / "README.md").write_text(_card(config))
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an artefact's config and weights. Raises UserError if it is damaged or of a newer format."""
    try:
        config = json.loads((path / "config.json").read_text())
        version = config.get("format") if isinstance(config, dict) else None
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise UserError(
                f"{path} has artefact format {version}, but this frugan reads only 1 to {FORMAT}. Update frugan."
            )
        with safe_open(path / "model.safetensors", framework="pt") as file:
            return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (ValueError, SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{path} is damaged or incomplete: {error}. Get or save the artefact again.") from None


def _card(config: Mapping[str, Any]) -> str:
    rules = [f"`{rule['pattern']}` {rule['family']}" for rule in config["network"]["families"]]
    families = ", ".join(rules) or "standard"
    names = config["domains"]["names"] if "domains" in config else config["classes"]
    conditional = f"\nIt takes labels: {', '.join(names)}.\n" if config["network"]["labels"] else ""
    given = [f"{network}: {whose}" for network, whose in config.get("given", {}).items()]
    taught = f"\nIt was given finished weights ({'; '.join(given)}).\n" if given else ""
    output = next(iter(config.get("outputs") or {}), "")
    use = _use(config["role"].partition("_")[0], next(iter(names), ""), output, bool(conditional))
    size = "x".join(str(side) for side in config["image"][1:])
    return f"""---
library_name: frugan
tags: [gan, image-generation]
---
# {config["recipe"]}: {size} images

System "{config["system"]}", architecture `{config["network"]["architecture"]}`, convolutions: {families}.
Trained on {config["data"]["title"]} until {config["images"]:,} real images had been shown, seed {config["seed"]};
{"averaged" if config["averaged"] else "live"} weights.
{conditional}{taught}
```python
import frugan

{use}
```
"""


def _use(role: str, name: str, output: str, labels: bool) -> str:
    """The line of the card that shows what to do with a network of this role."""
    labels_argument = ", labels=labels" if labels else ""
    return {
        "generator": 'images = frugan.load("this folder").sample(16, seed=0)  # bytes [16, height, width, channels]',
        "translator": (
            f'images = frugan.load("this folder").translate(images, to="{name}")  '
            "# bytes [count, height, width, channels], both"
        ),
        "encoder": (
            f'numbers = frugan.load("this folder").encode(images, "{output}"{labels_argument})  '
            "# float32 [count, size], from bytes [count, height, width, channels]"
        ),
        "classifier": (
            'numbers = frugan.load("this folder").classify(images)  '
            "# class numbers [count], from bytes [count, height, width, channels]"
        ),
    }[role]
