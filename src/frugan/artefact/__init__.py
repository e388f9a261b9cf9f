"""What a run shipped, alive again: `load` gives a generator or a translator from an artefact or from a run folder.

An artefact is a folder of ``model.safetensors``, ``config.json`` and ``README.md`` (its model card). It loads without
the recipe that made it and runs no code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from frugan import build, games
from frugan.artefact import _files
from frugan.artefact._config import config_of
from frugan.artefact._files import FORMAT
from frugan.artefact._generator import Generator
from frugan.artefact._made import laid_out
from frugan.artefact._translator import NOT, Translator
from frugan.batch import ImageShape
from frugan.engine import checkpoint
from frugan.engine.average import measure_standing
from frugan.engine.run import RunFolder
from frugan.games import Order
from frugan.recipe import Network, Rule, from_run
from frugan.registry import UserError, load_code

__all__ = ["FORMAT", "NOT", "Generator", "Translator", "config_of", "laid_out", "load", "revive"]

STANDING = "standing"
"""What ``config.json`` says of the norms of averaged weights; those of earlier artefacts store averages."""


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
        config, tensors = _files.read(path)
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
    measure_standing([module], generator.shown)
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
