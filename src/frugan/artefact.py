"""What a run shipped, alive again: `load` gives a generator from an artefact or from a run folder.

An artefact is a folder of ``model.safetensors``, ``config.json`` and ``README.md`` (its model card). It loads without
the recipe that made it and runs no code of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from frugan import build, data, games
from frugan.batch import ImageShape, to_bytes
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.games import Order
from frugan.latents import Latents
from frugan.recipe import Data, Network, Rule, from_run
from frugan.registry import UserError, load_code

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
CHUNK = 32


class Generator:
    """A trained generator. Call it on tensors, or ask it for images.

    Attributes:
        module: the network, in evaluation mode, called ``(latents, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        self.module = module.eval()
        self.config = dict(config)
        self.latents = Latents(**config["latents"])
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        self.module.frugan_trained = True  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def weights_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of all weights and buffers, by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` in the network's range from latents ``[n, size]`` and labels ``[n]``."""
        return self.module(latents, labels) if labels is not None else self.module(latents)

    def sample(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
    ) -> np.ndarray[Any, Any]:
        """`count` images as bytes ``[count, height, width, channels]``; image i depends on (seed, i) alone.

        Args:
            labels: one class number for all, or one for each; left out, a conditional generator makes every class in
                turn.
            truncation: see `Latents.rows`.

        Images are always computed in chunks of 32 in float32, so on one machine the bytes do not depend on `count`.
        Raises UserError for labels that the generator does not take, or of the wrong number.
        """
        import numpy as np

        made = list(self.batches(count, seed, labels, truncation))
        stacked = torch.cat(made) if made else torch.empty(0, *self.config["image"], dtype=torch.uint8)
        return np.ascontiguousarray(stacked.permute(0, 2, 3, 1).numpy())

    def batches(
        self, count: int, seed: int = 0, labels: Any = None, truncation: float | None = None
    ) -> Iterator[Tensor]:
        """The images of `sample`, as they are made: bytes ``[up to 32, channels, height, width]`` on the CPU."""
        if count < 0:
            raise UserError(f"{count} images cannot be made; give a number from 0.")
        wanted = self._labels(count, labels)
        for start in range(0, count, CHUNK):
            latents = self.latents.rows(start, CHUNK, seed, truncation).to(self.device)
            chunk = None
            if wanted is not None:
                part = wanted[start : start + CHUNK]
                chunk = torch.cat([part, part.new_zeros(CHUNK - len(part))]).to(self.device)
            with torch.no_grad():
                images = self(latents, chunk)
            yield to_bytes(images, self.module.image_range)[: count - start].cpu()  # type: ignore[arg-type]

    def _labels(self, count: int, labels: Any) -> Tensor | None:
        classes = int(getattr(self.module, "classes", 0))
        if not classes:
            if labels is not None:
                raise UserError(
                    "This generator takes no labels; leave them out, or train a conditional recipe such as 'cgan'."
                )
            return None
        if labels is None:
            return torch.arange(count) % classes
        given = torch.as_tensor(labels, dtype=torch.int64)
        given = given.expand(count) if given.ndim == 0 else given
        if given.shape != (count,) or (given.numel() and not 0 <= int(given.min()) <= int(given.max()) < classes):
            raise UserError(f"labels: {count} class numbers from 0 to {classes - 1} are wanted, one for each image.")
        return given

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write an artefact folder. Raises UserError if `path` holds something already and `overwrite` is False."""
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; an artefact is a folder. Give another path.")
        if path.exists() and any(path.iterdir()) and not overwrite:
            raise UserError(f"{path} is not empty; give another path, or overwrite=True.")
        path.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        # Not `save_file`, whose files only their owner may read.
        (path / "model.safetensors").write_bytes(save(tensors, metadata={"format": str(FORMAT)}))
        (path / "config.json").write_text(json.dumps({**self.config, "format": FORMAT}, indent=2) + "\n")
        (path / "README.md").write_text(_card(self.config))
        return path


def load(path: str | Path, *, device: str | torch.device = "cpu", code: str | Path | None = None) -> Generator:
    """The generator of an artefact or of a run folder (its averaged weights, from its newest checkpoint).

    Args:
        code: a file of one's own that adds the families or networks used, if they are not frugan's.

    Raises UserError if there is nothing to load at `path`.
    """
    path = Path(path)
    if code is not None:
        load_code(code)
    from_run = not (path / "config.json").is_file()
    if not from_run:
        config, tensors = _read_artefact(path)
    elif RunFolder(path).exists():
        config, tensors = _read_run(RunFolder(path), read_code=code is None)
    else:
        raise UserError(
            f"{path} is neither an artefact (config.json) nor a run folder (recipe.json). Train one: frugan train."
        )
    return revive(config, tensors, device=device, settle=from_run, name=str(path))


def revive(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, device: str | torch.device = "cpu",
    settle: bool = True, name: str = "this generator",
) -> Generator:
    """A generator from its config and weights; with `settle`, what depends on the weights is computed anew.

    Raises UserError, naming `name`, if the weights are not those of the network that the config describes.
    """
    try:
        module = _module(config)
        module.load_state_dict(tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{Path(name) / 'config.json'} is not whole: {type(error).__name__} {error}.") from None
    except RuntimeError as error:
        raise UserError(
            f"The weights in {name} do not fit its network: {str(error).splitlines()[-1].strip()}"
        ) from None
    if settle:
        # What depends on the weights was last computed at some earlier round, and for the live ones.
        games.settle(module, config["seed"])
    return Generator(module.to(device), config)


def _module(config: Mapping[str, Any]) -> nn.Module:
    """The network that a config describes, its weights not yet set."""
    spec = config["network"]
    network = Network(
        spec["architecture"], spec["options"], tuple(Rule(**rule) for rule in spec["families"]), labels=spec["labels"]
    )
    order = Order(config["part"], config.get("outputs"))
    with torch.random.fork_rng(devices=[]):
        module, _ = build.network(
            network, order, ImageShape(*config["image"]), config["latents"]["size"], len(config["classes"])
        )
    return module


def _read_artefact(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        config = json.loads((path / "config.json").read_text())
        version = config.get("format") if isinstance(config, dict) else None
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise UserError(f"{path} has artefact format {version}; this frugan reads 1 to {FORMAT}. Update frugan.")
        with safe_open(path / "model.safetensors", framework="pt") as file:
            return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (ValueError, SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{path} is not a whole artefact: {error}.") from None


def _read_run(run: RunFolder, read_code: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    facts = run.read_json(run.facts)
    if read_code and facts.get("code"):
        load_code(facts["code"])
    recipe = from_run(run)
    newest = checkpoint.newest(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.path} has no checkpoint yet; let it train longer: frugan train {recipe.name} --out {run.path}"
        )
    config = config_of(run, checkpoint.images_of(newest))
    name = facts["shipped"]["generator"]["network"]
    part = f"{'average' if config['averaged'] else 'network'}.{name}"
    tensors, _ = checkpoint.read(newest, only=f"{part}/")
    return config, {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items()}


def config_of(run: RunFolder, images: int) -> dict[str, Any]:
    """What a run's generator is and how it was made, after so many `images`: the ``config.json`` of its artefact."""
    facts, recipe = run.read_json(run.facts), from_run(run)
    shipped = facts["shipped"]["generator"]
    spec = recipe.networks[shipped["network"]]
    order = games.find(recipe.game.name).order(**recipe.game.options)[shipped["network"]]
    stream, trained_on = next(iter(facts["data"].items()))
    return {
        "format": FORMAT, "role": "generator", "recipe": recipe.name, "system": recipe.system, "part": order.part,
        "outputs": dict(order.outputs) if order.outputs else None,
        "network": {
            "architecture": spec.architecture, "options": spec.options, "labels": spec.labels,
            "families": [asdict(rule) for rule in spec.families],
        },
        "image": list(build.image_shape(recipe)), "latents": asdict(recipe.latents), "classes": trained_on["classes"],
        "averaged": shipped["averaged"] and shipped["network"] in recipe.averages, "images": images,
        "seed": recipe.seed,
        "data": {
            **{key: trained_on[key] for key in ("name", "split", "count", "hash", "title")},
            **_where(recipe.data_of(stream)),
        },
    }  # fmt: skip


def _where(wanted: Data) -> dict[str, Any]:
    """How to open the data again where they have a name that means the same anywhere; nobody's folders are told."""
    known = {source.name.partition(":")[0] for source in data.sources()}
    if wanted.source.partition(":")[0] not in known:
        return {}
    return {key: getattr(wanted, key) for key in ("source", "size", "channels", "only", "limit")}


def _card(config: Mapping[str, Any]) -> str:
    rules = [f"`{rule['pattern']}` {rule['family']}" for rule in config["network"]["families"]]
    families = ", ".join(rules) or "standard"
    conditional = f"\nIt takes labels: {', '.join(config['classes'])}.\n" if config["network"]["labels"] else ""
    size = "x".join(str(side) for side in config["image"][1:])
    return f"""---
library_name: frugan
tags: [gan, image-generation]
---
# {config["recipe"]}: {size} images

System "{config["system"]}", architecture `{config["network"]["architecture"]}`, convolutions: {families}.
Trained on {config["data"]["title"]} until {config["images"]:,} real images had been shown, seed {config["seed"]};
{"averaged" if config["averaged"] else "live"} weights.
{conditional}
```python
import frugan

images = frugan.load("this folder").sample(16, seed=0)  # bytes [16, height, width, channels]
```
"""
