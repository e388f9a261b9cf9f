"""A network of a run that looks at images, and its twin that was never trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from frugan import build, games
from frugan.batch import ImageShape
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.games import DISCRIMINATOR
from frugan.recipe import Recipe, from_run
from frugan.registry import UserError, suggest


@dataclass(frozen=True, eq=False)
class Judging:
    """One network of a run that takes images.

    Attributes:
        role: what it is in its game, "discriminator" or "encoder".
        trained, untrained: it, and the same with the weights that the run began with; both in evaluation mode.
        images: real images that it had been shown.
        image_range: of the images that it takes.
    """

    name: str
    role: str
    recipe: Recipe
    trained: nn.Module
    untrained: nn.Module
    shape: ImageShape
    image_range: tuple[float, float]
    images: int


def open_network(path: Path, name: str | None, device: str) -> Judging:
    """The network called `name` of a run; if left out, its discriminator, or its encoder if that one needs latents too.

    Where the run averages its weights, they are taken. Raises UserError if the run, the network or its weights are not
    there.
    """
    run = RunFolder(path)
    if not run.exists():
        if (path / "config.json").is_file():
            raise UserError(
                f"{path} is an artefact, which holds one network only: its discriminator is gone. Give the run folder "
                "that it was saved from."
            )
        raise UserError(f"{path} is not a run folder (recipe.json). Train one: frugan train.")
    recipe, facts = from_run(run), run.read_json(run.facts)
    orders = games.orders(recipe.game.name, recipe.game.options)
    blueprints = build.blueprints(recipe)
    looking = {one: order.role for one, order in orders.items() if order.part == "encoder"}
    if name is not None and name not in looking:
        raise UserError(f"{path} has no network '{name}' that looks at images. {suggest(name, looking)}")
    ranked = sorted(looking, key=lambda one: looking[one] != DISCRIMINATOR)
    if not ranked:
        raise UserError(f"No network of {path} looks at images alone; it has: {', '.join(orders)}.")
    chosen = name or ranked[0]
    newest = checkpoint.newest(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{path} has no checkpoint, so the weights of its {chosen} are gone. Train it again: frugan train "
            f"{recipe.name} --out {path}"
        )
    part = f"{'average' if chosen in recipe.averages else 'network'}.{chosen}/"
    weights, _ = checkpoint.read(newest, only=part)
    # A population's networks are all built, since each begins with weights of its own.
    untrained = build.networks(recipe)[chosen][0]
    with torch.random.fork_rng(devices=[]):
        trained = blueprints[chosen].build()[0]
    trained.load_state_dict({key.removeprefix(part): tensor for key, tensor in weights.items()})
    for module in (trained, untrained):
        games.settle(module, recipe.seed)
        module.to(device).eval()
    return Judging(
        chosen, looking[chosen], recipe, trained, untrained, build.image_shape(recipe), tuple(facts["image_range"]),
        checkpoint.images_of(newest),
    )
