"""What a run shipped, alive again: `load` gives a generator or a translator from an artefact or from a run folder.

An artefact is a folder of ``model.safetensors``, ``config.json`` and ``README.md`` (its model card). It loads without
the recipe that made it and runs no code of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from frugan import build, data, games
from frugan.batch import ImageShape, from_bytes, to_bytes
from frugan.engine import checkpoint
from frugan.engine.average import STANDING_BATCH, measure_standing
from frugan.engine.run import RunFolder
from frugan.fusing import Fused, fuse
from frugan.games import Order
from frugan.latents import Latents
from frugan.recipe import Data, Network, Rule, from_run
from frugan.registry import UserError, load_code, suggest
from frugan.seeds import derive

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
STANDING = "standing"
"""What ``config.json`` says of the norms of averaged weights; those of earlier artefacts store averages."""
CHUNK = 32
NOT = "not "


class Generator:
    """A trained generator. Call it on tensors, or ask it for images.

    Attributes:
        module: the network, in evaluation mode, called ``(latents, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        self.module = laid_out(_finished(module), "decoder")
        self.config = dict(config)
        self.latents = Latents(**config["latents"])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def weights_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of all weights and buffers, by name."""
        return _weights_hash(self.module)

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

    def _shown(self, number: int) -> Tensor:
        """A batch of images to measure statistics on, one for every number."""
        latents = self.latents.rows(0, STANDING_BATCH, derive(self.config["seed"], "standing", number))
        labels = self._labels(STANDING_BATCH, None)
        return self(latents.to(self.device), None if labels is None else labels.to(self.device))

    def fused(self, batch: int = CHUNK) -> Generator:
        """The same generator made for speed, see `frugan.fusing`: its images agree to rounding, its bytes need not.

        Args:
            batch: how many latents it will mostly be called with; `sample` calls it with 32.
        """
        labels = torch.zeros(batch, dtype=torch.int64, device=self.device)
        latents = self.latents.rows(0, batch, 0).to(self.device)
        inputs = (latents, labels) if getattr(self.module, "classes", 0) else (latents,)
        return Generator(fuse(self.module, *inputs), self.config)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write an artefact folder. Raises UserError if `path` holds something already and `overwrite` is False."""
        return _save(self.module, self.config, Path(path), overwrite)


class Translator:
    """A trained translator of images, to the labels that it was trained on or in its one direction.

    Attributes:
        module: the network, in evaluation mode, called ``(images, labels)``.
        config: what it is and how it was made, as stored in ``config.json``.
        reader: the network that says which attributes an image has; it comes from a run folder, not from an artefact.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any], reader: nn.Module | None = None) -> None:
        self.module = laid_out(_finished(module), "translator")
        self.config = dict(config)
        self.reader = None if reader is None else _finished(reader)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def weights_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of all weights and buffers, by name."""
        return _weights_hash(self.module)

    @property
    def domains(self) -> tuple[str, ...]:
        """What `translate` can be asked for by name."""
        return tuple(self.config["domains"]["names"])

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` in the network's range to as large ones; labels ``[n]`` or bits ``[n, size]``."""
        return self.module(images, labels) if labels is not None else self.module(images)

    def translate(self, images: Any, to: Any = None, labels: Any = None) -> np.ndarray[Any, Any]:
        """Images as bytes ``[n, height, width, channels]`` to as many of the same size.

        Args:
            to: a domain by name; of attributes one or several, each set or, as "not glasses", taken away. Or labels as
                numbers, ``[n]`` or bits ``[n, size]``. Left out for a translator of one direction.
            labels: the attributes that the images have, as bits ``[n, size]`` or names that hold for all; left out,
                `reader` says them.

        Raises UserError for a domain that is not known, or images that the network does not take.
        """
        import numpy as np

        given = torch.from_numpy(np.array(images))  # a copy: torch warns of arrays that cannot be written to
        channels, multiple = self.config["image"][0], getattr(self.module, "multiple", 1)
        sides = tuple(given.shape[1:3])
        if given.dtype != torch.uint8 or given.ndim != 4 or given.shape[-1] != channels or any(
            side % multiple or not side for side in sides
        ):
            raise UserError(
                f"Images of {given.dtype} and shape {list(given.shape)} were given; this translator takes bytes "
                f"[count, height, width, {channels}] with sides that are multiples of {multiple}."
            )
        made = []
        for start in range(0, len(given), CHUNK):
            chunk = from_bytes(given[start : start + CHUNK].permute(0, 3, 1, 2), self._range).to(self.device)
            rows = slice(start, start + CHUNK)
            with torch.no_grad():
                made.append(to_bytes(self(chunk, self._told(chunk, to, labels, rows)), self._range).cpu())
        stacked = torch.cat(made) if made else given.permute(0, 3, 1, 2)
        return np.ascontiguousarray(stacked.permute(0, 2, 3, 1).numpy())

    @property
    def _range(self) -> tuple[float, float]:
        return self.module.image_range  # type: ignore[return-value]

    def _told(self, images: Tensor, to: Any, labels: Any, rows: slice) -> Tensor | None:
        """What the network is told for one chunk of images."""
        domains = self.config["domains"]
        if domains["kind"] == "direction":
            if to not in (None, *self.domains):
                raise UserError(f"This translator does not lead to '{to}'. {suggest(str(to), self.domains)}")
            return None
        if to is None:
            raise UserError(f"Say what to translate to. {suggest('', self.domains)}")
        asked = [to] if isinstance(to, str) else list(to) if isinstance(to, (list, tuple)) else []
        if not asked or not all(isinstance(name, str) for name in asked):
            told = torch.as_tensor(to)
            return (told.expand(images.shape[0]) if told.ndim == 0 else told[rows]).to(self.device)
        if domains["kind"] == "classes":
            number = self._number(asked[0])
            if len(asked) > 1:
                raise UserError(f"An image has one of {', '.join(self.domains)}; {', '.join(asked)} were asked for.")
            return torch.full((len(images),), number, device=self.device)
        bits = self._own(images, labels, rows)
        for name in asked:
            number = self._number(name.removeprefix(NOT))
            if not name.startswith(NOT):
                bits[:, [other for group in domains["exclusive"] if number in group for other in group]] = 0
            bits[:, number] = 0 if name.startswith(NOT) else 1
        return bits

    def _number(self, name: str) -> int:
        if name not in self.domains:
            raise UserError(f"This translator does not know '{name}'. {suggest(name, self.domains)}")
        return self.domains.index(name)

    def _own(self, images: Tensor, labels: Any, rows: slice) -> Tensor:
        """The attributes that images have, bits ``[n, size]``: as told, or as the reader sees them."""
        if labels is not None and len(labels) and all(isinstance(name, str) for name in labels):
            bits = torch.zeros(len(images), len(self.domains), dtype=torch.int64)
            bits[:, [self._number(name) for name in labels]] = 1
            return bits.to(self.device)
        if labels is not None:
            return torch.as_tensor(labels)[rows].clone().to(self.device)
        if self.reader is None:
            raise UserError(
                "An artefact cannot see which attributes an image has, and the translator must be told all: give "
                f"labels, of {', '.join(self.domains)}; or load the run folder, whose discriminator sees them."
            )
        size = self.config["image"][1:]
        shrunk = images
        if list(images.shape[2:]) != size:
            side = min(images.shape[2:])
            top, left = ((length - side) // 2 for length in images.shape[2:])
            square = images[:, :, top : top + side, left : left + side]
            shrunk = torch.nn.functional.interpolate(square, size=size, mode="bilinear", antialias=True)
        return (self.reader(shrunk)["classes"] > 0).long()

    def fused(self, batch: int = CHUNK) -> Translator:
        """The same translator made for speed, see `frugan.fusing`: its images agree to rounding, its bytes need not.

        Args:
            batch: how many images it will mostly be called with; `translate` calls it with 32.
        """
        images = torch.zeros(batch, *self.config["image"], device=self.device)
        size = getattr(self.module, "classes", 0)
        inputs = (images, torch.zeros(batch, size, device=self.device)) if size else (images,)
        return Translator(fuse(self.module, *inputs), self.config, self.reader)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write an artefact folder, without the reader. Raises UserError as `Generator.save` does."""
        return _save(self.module, self.config, Path(path), overwrite)


def laid_out(module: nn.Module, part: str) -> nn.Module:
    """A network that makes images, in the layout in which it is shipped alive and measured; `part` as in its order.

    Torch's convolutions and upsamplings take up to twice as long in the default layout, so decoders are channels-last;
    its instance norms, which translators are full of, take many times as long in that one.
    """
    layout = torch.channels_last if part == "decoder" else torch.contiguous_format
    return module.to(memory_format=layout)  # pyrefly: ignore


def _finished(module: nn.Module) -> nn.Module:
    """In evaluation mode, its weights never to be trained, and known to be trained."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.frugan_trained = True  # type: ignore[assignment]
    return module.eval()


def _weights_hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _save(module: nn.Module, config: Mapping[str, Any], path: Path, overwrite: bool) -> Path:
    if isinstance(module, Fused):
        raise UserError("A fused network is made for one machine and ships nowhere; save the one it was made of.")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; an artefact is a folder. Give another path.")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise UserError(f"{path} is not empty; give another path, or overwrite=True.")
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    # Not `save_file`, whose files only their owner may read.
    (path / "model.safetensors").write_bytes(save(tensors, metadata={"format": str(FORMAT)}))
    (path / "config.json").write_text(json.dumps({**config, "format": FORMAT}, indent=2) + "\n")
    (path / "README.md").write_text(_card(config))
    return path


@overload
def load(
    path: str | Path, *, role: Literal["generator"], device: str | torch.device = "cpu", code: str | Path | None = None
) -> Generator: ...


@overload
def load(
    path: str | Path, *, role: str | None = None, device: str | torch.device = "cpu", code: str | Path | None = None
) -> Any: ...


def load(
    path: str | Path, *, role: str | None = None, device: str | torch.device = "cpu", code: str | Path | None = None
) -> Generator | Translator:
    """The generator or translator of an artefact or of a run folder (averaged, from its newest checkpoint).

    Args:
        role: what is wanted of a run: "generator", "translator", or, of two directions, "translator_ba"; its main one
            if left out.
        code: a file of one's own that adds the families or networks used, if they are not frugan's.

    Raises UserError if there is nothing to load at `path`, or nothing in that role.
    """
    path = Path(path)
    if code is not None:
        load_code(code)
    from_run = not (path / "config.json").is_file()
    reader = None
    if not from_run:
        config, tensors = _read_artefact(path)
    elif RunFolder(path).exists():
        config, tensors, reader = _read_run(RunFolder(path), role, read_code=code is None)
    else:
        raise UserError(
            f"{path} is neither an artefact (config.json) nor a run folder (recipe.json). Train one: frugan train."
        )
    found = str(config.get("role", "generator"))
    if role is not None and not found.startswith(role):
        raise UserError(f"{path} ships a {found.partition('_')[0]}; a {role} is wanted here.")
    alive = revive(config, tensors, device=device, settle=from_run, name=str(path))
    if reader is not None:
        return Translator(alive.module, config, reader.to(device))
    return alive


def revive(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, device: str | torch.device = "cpu",
    settle: bool = True, name: str = "this generator",
) -> Any:
    """The object of a config's role with these weights; with `settle`, what depends on the weights is computed anew.

    Raises UserError, naming `name`, if the weights are not those of the network that the config describes.
    """
    module = _alive(config, tensors, device, settle, name)
    if config.get("role", "generator") != "generator":
        return Translator(module, config)
    if not (settle and config["averaged"]):
        return Generator(module, config)
    generator = Generator(module, {**config, "norms": STANDING})
    measure_standing([module], generator._shown)
    return generator


def _alive(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str | torch.device, settle: bool, name: str
) -> nn.Module:
    """The network of a config with its weights."""
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
    return module.to(device)


def _module(config: Mapping[str, Any]) -> nn.Module:
    """The network that a config describes, its weights not yet set."""
    spec = config["network"]
    network = Network(
        spec["architecture"], spec["options"], tuple(Rule(**rule) for rule in spec["families"]), labels=spec["labels"]
    )
    order = Order(config["part"], config.get("outputs"), config.get("condition"))
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


def _read_run(
    run: RunFolder, role: str | None, read_code: bool
) -> tuple[dict[str, Any], dict[str, Tensor], nn.Module | None]:
    """The config and weights of what a run ships in a role, and the network that reads labels if it needs one."""
    facts = run.read_json(run.facts)
    if read_code and facts.get("code"):
        load_code(facts["code"])
    recipe = from_run(run)
    newest = checkpoint.newest(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.path} has no checkpoint yet; let it train longer: frugan train {recipe.name} --out {run.path}"
        )
    found = next((name for name in facts["shipped"] if role is None or name.startswith(role)), None)
    if found is None:
        raise UserError(f"{run.path} ships no {role}; it has: {', '.join(facts['shipped'])}.")
    config = config_of(run, checkpoint.images_of(newest), found)
    shipped = facts["shipped"][found]
    part = f"{'average' if config['averaged'] else 'network'}.{shipped['network']}"
    tensors, _ = checkpoint.read(newest, only=f"{part}/")
    reader = None
    if shipped.get("reader") is not None:
        name = shipped["reader"]
        network = recipe.networks[name]
        with torch.random.fork_rng(devices=[]):
            reader, _ = build.network(
                network, build.orders(recipe)[name], build.image_shape(recipe), recipe.latents.size, recipe.data.classes
            )
        weights, _ = checkpoint.read(newest, only=f"network.{name}/")
        reader.load_state_dict({key.removeprefix(f"network.{name}/"): tensor for key, tensor in weights.items()})
    return config, {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items()}, reader


def config_of(run: RunFolder, images: int, role: str | None = None) -> dict[str, Any]:
    """What a run ships and how it was made, after so many `images`: the ``config.json`` of its artefact.

    `role` is one of those in the run's facts, its main one if left out.
    """
    facts, recipe = run.read_json(run.facts), from_run(run)
    role = role or next(iter(facts["shipped"]))
    shipped = facts["shipped"][role]
    spec = recipe.networks[shipped["network"]]
    order = build.orders(recipe)[shipped["network"]]
    stream, trained_on = next(iter(facts["data"].items()))
    domains = {} if role == "generator" else {"domains": _domains(facts, shipped, order)}
    return {
        "format": FORMAT, "role": role, "recipe": recipe.name, "system": recipe.system, "part": order.part,
        "outputs": dict(order.outputs) if order.outputs else None, "condition": order.condition, **domains,
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


def _domains(facts: Mapping[str, Any], shipped: Mapping[str, Any], order: Order) -> dict[str, Any]:
    """What a translator can be asked for: the other end of its direction, classes or attributes by name."""
    if shipped.get("direction"):
        target = facts["data"][shipped["direction"][1]]
        # "portraits[glasses]" is what is left of a source when others of its images are.
        chosen = target["name"].rpartition("[")[2].removesuffix("]")
        name = target["classes"][0] if len(target["classes"]) == 1 else chosen
        return {"kind": "direction", "names": [name], "exclusive": []}
    trained_on = next(iter(facts["data"].values()))
    attributes, classes = trained_on.get("attributes", []), trained_on["classes"]
    names = attributes or classes
    if len(names) != order.condition:  # labels of several streams, which have no names of their own
        return {"kind": "numbers", "names": [], "exclusive": []}
    return {"kind": "attributes" if attributes else "classes", "names": names, "exclusive": shipped["exclusive"]}


def _where(wanted: Data) -> dict[str, Any]:
    """How to open the data again where they have a name that means the same anywhere; nobody's folders are told."""
    known = {source.name.partition(":")[0] for source in data.sources()}
    first, *others = wanted.source.split(":")  # others: what a kind is asked for, also a folder as in celeba:FOLDER
    if first not in known or any(Path(part).expanduser().exists() for part in others):
        return {}
    return {key: getattr(wanted, key) for key in ("source", "size", "channels", "only", "attributes", "limit")}


def _card(config: Mapping[str, Any]) -> str:
    rules = [f"`{rule['pattern']}` {rule['family']}" for rule in config["network"]["families"]]
    families = ", ".join(rules) or "standard"
    names = config["classes"] if config["role"] == "generator" else config["domains"]["names"]
    conditional = f"\nIt takes labels: {', '.join(names)}.\n" if config["network"]["labels"] else ""
    use = "sample(16, seed=0)  # bytes [16, height, width, channels]"
    if config["role"] != "generator":
        use = f'translate(images, to="{next(iter(names), "")}")  # bytes [count, height, width, channels], both'
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

images = frugan.load("this folder").{use}
```
"""
