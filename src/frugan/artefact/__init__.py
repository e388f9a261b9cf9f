"""Artefacts: `load` opens the trained network of an artefact or a run folder, ready to use.

What it returns depends on the network's role: a generator samples, a translator translates, an encoder encodes, a
classifier classifies.

An artefact is a folder of ``model.safetensors``, ``config.json`` and ``README.md`` (its model card). It loads without
the recipe that made it, and loading runs no code from it. An exported file ``model.onnx`` loads in the same way; then
onnxruntime computes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from frugan import build, files, games, owncode
from frugan.arguments import File, Name, strict
from frugan.artefact import _files, _hub, _onnx
from frugan.artefact._config import blueprint_of, config_of, config_untrained, with_own_code
from frugan.artefact._encoder import Classifier, Encoder
from frugan.artefact._files import FORMAT
from frugan.artefact._generator import Generator
from frugan.artefact._labels import sample_labels
from frugan.artefact._trained import set_memory_layout
from frugan.artefact._translator import NOT, Translator
from frugan.engine import checkpoint
from frugan.engine.average import measure_standing
from frugan.engine.precision import device_called
from frugan.engine.run import RunFolder
from frugan.games import GENERATOR
from frugan.owncode import Code
from frugan.recipe import from_run
from frugan.registry import UserError

__all__ = [
    "FORMAT", "KINDS", "NOT", "Classifier", "Encoder", "Generator", "Translator", "config_at", "config_of",
    "is_exported", "load", "open_shipped", "revive", "sample_labels", "set_memory_layout", "untrained",
]  # fmt: skip

KINDS = {GENERATOR: Generator, "translator": Translator, "encoder": Encoder, "classifier": Classifier}
"""Role -> what a network in it becomes."""

STANDING, STANDING_OF_LABELS = "standing", "standing (labels of the data)"
"""What ``config.json`` says of the norms of averaged weights that were measured for them; others store averages."""


@overload
def load(
    path: File, *, role: Literal["generator"], device: str | torch.device = "cpu", code: Code | None = None,
    trust_code: bool = False,
) -> Generator: ...


@overload
def load(
    path: File, *, role: str | None = None, device: str | torch.device = "cpu", code: Code | None = None,
    trust_code: bool = False,
) -> Any: ...


@strict
def load(
    path: File, *, role: Name | None = None, device: Name | torch.device = "cpu", code: Code | None = None,
    trust_code: bool = False,
) -> Any:
    """The `Generator`, `Translator`, `Encoder` or `Classifier` of an artefact or of a run folder.

    For a run, it is the averaged network of the newest checkpoint. An artefact on the Hugging Face Hub is
    "hf-hub:owner/name" (see `frugan.artefact._hub`; extra ``hub``).

    Args:
        role: which network of a run: "generator", "translator", "encoder" or "classifier"; "translator_ba" is the
            second direction of two. If left out: the run's main network.
        code: your files that add the families or networks used, if they are not frugan's. A run knows its files; for
            an artefact, give them here.
        trust_code: run the code that a run names even if you have never run it on this machine; see `frugan.owncode`.

    Raises UserError if there is nothing to load at `path`, nothing with that role, no such device, or code that is not
    allowed.
    """
    path = _hub.local(path)
    owncode.load_of(path, code, trust_code=trust_code)
    return open_shipped(path, role=role, device=device_called(str(device)))


@overload
def open_shipped(
    path: File, *, role: Literal["generator"], device: str | torch.device = "cpu"
) -> Generator: ...


@overload
def open_shipped(path: File, *, role: str | None = None, device: str | torch.device = "cpu") -> Any: ...


def open_shipped(
    path: File, *, role: str | None = None, device: str | torch.device = "cpu"
) -> Any:
    """The same as `load`, for functions that have run the run's own code already."""
    path = _hub.local(path)
    if is_exported(path):
        return _open_exported(path, role)
    from_run = not (path / "config.json").is_file()
    reader = None
    if not from_run:
        config, tensors = _files.read(path)
    elif RunFolder(path).exists():
        config, tensors, reader = _read_run(RunFolder(path), role)
    else:
        raise UserError(
            f"{path} is neither an artefact (config.json) nor a run folder (recipe.json). Train one: frugan train."
        )
    _check_role(path, config, role)
    alive = revive(config, tensors, device=device, settle=from_run, name=str(path))
    if config.get("own_code", alive.config.get("own_code")) != alive.config.get("own_code"):
        owncode.tell(f"{path} was made with other code: {config['own_code']} then, {alive.config['own_code']} now.")
    if reader is not None:
        return Translator(alive.module, alive.config, reader.to(device))
    return alive


def is_exported(path: File) -> bool:
    """Whether a path is that of an exported file, by its ending."""
    return Path(path).suffix == _onnx.SUFFIX


def config_at(path: File) -> dict[str, Any] | None:
    """The config of the artefact or exported file at `path`; None if there is none, or a damaged one (`load` says so).
    """
    path = Path(path)
    if is_exported(path) and path.is_file():
        return _onnx.read(path)[1]["config"]
    try:
        config = json.loads(files.read_bytes(path / "config.json"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _open_exported(path: Path, role: str | None) -> Any:
    """The network of an exported file, as an object of its role."""
    file, facts = _onnx.read(path)
    _check_role(path, facts["config"], role)
    exported = {"runtime": _onnx.runtime_version(), **{key: facts[key] for key in ("precision", "truncation")}}
    config = {**facts["config"], "exported": exported}
    return _kind_of(str(config.get("role", GENERATOR)))(_onnx.Running(file, facts), config)


def _check_role(path: Path, config: Mapping[str, Any], role: str | None) -> None:
    """Raise UserError if the one network at `path` does not serve in `role`."""
    shipped_role = str(config.get("role", GENERATOR))
    if role is not None and not _fits(shipped_role, role):
        raise UserError(f"{path} ships one network, in the role '{shipped_role}', but '{role}' is needed here.")


def revive(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, device: str | torch.device = "cpu",
    settle: bool = True, name: str = "this generator",
) -> Any:
    """Build the network of a config with these weights, as an object of its role.

    With `settle`, buffers that follow from the weights are recomputed. (Batch norm statistics of a network that sees
    real images were measured when its run ended, see `_read_run`.)

    Raises UserError, naming `name`, if the weights are not those of the network that the config describes.
    """
    module, config = _alive(config, tensors, device, settle, name), with_own_code(config)
    kind = _kind_of(str(config.get("role", GENERATOR)))
    if kind is not Generator or not (settle and config["averaged"]):
        return kind(module, config)
    generator = Generator(module, {**config, "norms": STANDING_OF_LABELS if config.get("label_sample") else STANDING})
    measure_standing([module], generator.shown)
    return generator


def untrained(assembly: build.Assembly) -> Any:
    """What a run of this recipe would ship, with its first weights, for what depends on the network's form alone."""
    config, name = config_untrained(assembly)
    return _kind_of(config["role"])(assembly.networks[name], config)


def _fits(shipped_role: str, role: str) -> bool:
    """Whether a network of `shipped_role` is what `role` asks for: "translator_ab" is also a "translator"."""
    return shipped_role == role or shipped_role.partition("_")[0] == role


def _kind_of(role: str) -> type[Generator | Translator | Encoder]:
    """The class that serves a role, ``translator_ab`` being a translator. Raises UserError if there is none."""
    kind = role.partition("_")[0]
    if kind not in KINDS:
        raise UserError(
            f"Nothing can use a network in the role '{role}'. A game may ship the roles {', '.join(KINDS)}. For two "
            "networks in one role, add a word to each, e.g. translator_ab."
        )
    return KINDS[kind]


def _alive(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str | torch.device, settle: bool, name: str
) -> nn.Module:
    """The network of a config with its weights."""
    try:
        module = _module(config)
        _check_values(module, tensors, name)
        module.load_state_dict(tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{Path(name) / 'config.json'} is damaged or incomplete: {type(error).__name__} {error}. Get or save the "
            "artefact again."
        ) from None
    except RuntimeError as error:
        raise UserError(
            f"The weights in {name} do not fit the network that its config.json describes: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from None
    if settle:
        # What depends on the weights was last computed at some earlier round, and for the live ones.
        games.settle(module, config["seed"])
    return module.to(device)


def _check_values(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise UserError for weights that are not finite, or of another type than the network's."""
    for key, own in module.state_dict().items():
        given = tensors.get(key)
        if given is None:
            continue
        if given.dtype != own.dtype:
            raise UserError(
                f"The weights in {name} were changed: {key} is {given.dtype}, but the network has {own.dtype}. Get or "
                "save them again."
            )
        if not bool(torch.isfinite(given).all()):
            raise UserError(f"The weights in {name} are damaged: {key} has values that are not finite.")


def _module(config: Mapping[str, Any]) -> nn.Module:
    """The network that a config describes, its weights not yet set."""
    with torch.random.fork_rng(devices=[]):
        module, _ = blueprint_of(config).build()
    return module


def _read_run(run: RunFolder, role: str | None) -> tuple[dict[str, Any], dict[str, Tensor], nn.Module | None]:
    """The config and weights of what a run ships in a role, and the network that reads labels if it needs one."""
    facts = run.read_json(run.facts)
    recipe = from_run(run)
    newest = checkpoint.newest(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.path} has no checkpoint yet; let it train longer: frugan train {shlex.quote(str(run.recipe))} "
            f"--out {shlex.quote(str(run.path))}"
        )
    shipped_role = next((name for name in facts["shipped"] if role is None or _fits(name, role)), None)
    if shipped_role is None:
        raise UserError(f"{run.path} ships no {role}; it has: {', '.join(facts['shipped'])}.")
    config = config_of(run, checkpoint.images_of(newest), shipped_role)
    shipped = facts["shipped"][shipped_role]
    part = f"{'average' if config['averaged'] else 'network'}.{shipped['network']}"
    tensors, state = checkpoint.read(newest, only=f"{part}/", run=facts.get("id", ""))
    tensors = {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items()}
    measured = checkpoint.read_standing(newest, shipped["network"]) if config["averaged"] else {}
    if measured:
        tensors, config["norms"] = {**tensors, **measured}, STANDING
    config["seconds"] = dict(state["clock"]["items"])["seconds"]["value"]
    values = [value for value in run.lines(run.metrics) if value["images"] == config["images"]]
    config |= {"values": values} if values else {}
    reader = None
    if shipped.get("reader") is not None:
        name = shipped["reader"]
        with torch.random.fork_rng(devices=[]):
            reader, _ = build.blueprints(recipe)[name].build()
        weights, _ = checkpoint.read(newest, only=f"network.{name}/")
        reader.load_state_dict({key.removeprefix(f"network.{name}/"): tensor for key, tensor in weights.items()})
    return config, tensors, reader
