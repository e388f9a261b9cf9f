"""Weights that a run is given: for networks that start from them, or that keep them (a teacher)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan.recipe import Recipe
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.engine.loop import Parts
    from frugan.engine.run import RunFolder


def give(recipe: Recipe, parts: Parts) -> dict[str, dict[str, Any]]:
    """Load the weights that the recipe's networks start from.

    Returns, for each network, where they are from and what training them cost. Raises UserError if there is nothing at
    a path, or a network that does not fit.
    """
    given = {}
    for name, spec in recipe.networks.items():
        if spec.init is None:
            continue
        if not spec.init.strip():
            raise UserError(f"{name}.init names nothing. Give a run or an artefact: {name}.init=PATH, or leave it out.")
        made, network = _opened(recipe, name, spec.init), parts.game.networks[name]
        state = made.module.state_dict()
        mine = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        theirs = {key: tuple(tensor.shape) for key, tensor in state.items()}
        if mine != theirs:
            odd = sorted({key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)})
            raise UserError(
                f"--init {name}={spec.init}: its {made.role} is a different network ({odd[0]} differs). Train with the "
                "same recipe and family, or set the options of this network as they were there."
            )
        _check_range(name, spec.init, made, parts)
        network.load_state_dict(state)
        if name in parts.averages:
            parts.averages[name].load_state_dict(network.state_dict())
        given[name] = _told(made.weights_hash, spec.init, made.config)
    return given


def check(recipe: Recipe, folder: RunFolder, facts: Mapping[str, Any]) -> None:
    """Raise UserError if a continued run names other weights to start from than before.

    The files may be gone by now, since their weights are in the checkpoint.
    """
    for name, about in facts.get("given", {}).items():
        now = recipe.networks[name].init
        if now is None or now == about["path"]:
            continue
        try:
            actual = _opened(recipe, name, now).weights_hash
        except UserError:
            continue
        if actual != about["hash"]:
            raise UserError(
                f"{folder.path} was begun with the weights {about['hash']} in '{name}', but {now} has {actual}. Give "
                "another --out, or leave --init out."
            )


def _check_range(name: str, path: str, made: Any, parts: Parts) -> None:
    """Raise UserError if a frozen network that sees images learnt them in another range than this run shows them in.

    One that is trained on gets used to the new range.
    """
    theirs, mine = made.config.get("image_range"), list(parts.batches.image_range)
    if made.role in ("encoder", "classifier") and name not in parts.trained() and theirs not in (None, mine):
        raise UserError(
            f"--init {name}={path}: it saw images in {theirs[0]:g} to {theirs[1]:g}, but this run's are in {mine[0]:g} "
            f"to {mine[1]:g}. Set data.image_range=[{theirs[0]:g},{theirs[1]:g}], with a generator of this range, or "
            f"train the {made.role} on images as they are here."
        )


def _opened(recipe: Recipe, name: str, path: str) -> Any:
    """The artefact at `path`, in the role that the network has in the game if it ships one."""
    from frugan import games
    from frugan.artefact import KINDS, open_shipped

    if not Path(path).exists() and not path.startswith("hf-hub:"):
        raise UserError(
            f"There is nothing at {path}, whose weights '{name}' of '{recipe.name}' starts from. Train that run first "
            f"(frugan recipes {recipe.name} says more), or name another: --init {name}=PATH."
        )
    role = games.orders(recipe.game.name, recipe.game.options)[name].role
    return open_shipped(path, role=role if role in KINDS and role != games.GENERATOR else None)


def _told(weights_hash: str, path: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "path": path, "hash": weights_hash, "recipe": config["recipe"], "data": config["data"]["title"],
        "images": config["images"], "seconds": config.get("seconds"),
    }
