"""How many images of each stream's data are held out for evaluation: as a run was begun, or a share of a new one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from frugan.recipe import Recipe, from_run

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.engine.run import RunFolder


def resolve(assembly: Assembly, folder: RunFolder | None, say: Callable[[str], None]) -> Assembly:
    """The assembly with the number of held-out images in its recipe, for every stream of the game.

    A run that was begun keeps its number. (One from before images were held out has none: it was trained on all.)
    """
    recipe = assembly.recipe
    before = from_run(folder) if folder is not None and folder.exists() else None
    chosen = {stream: _choose(recipe, stream, before, say) for stream in assembly.game.streams}
    first = next(iter(chosen.values()))
    streams = {name: dict(changed) for name, changed in recipe.streams.items()}
    for stream, count in chosen.items():
        if count != first or "holdout" in streams.get(stream, {}):
            streams.setdefault(stream, {})["holdout"] = count
    return replace(assembly, recipe=replace(recipe, data=replace(recipe.data, holdout=first), streams=streams))


def _choose(recipe: Recipe, stream: str, before: Recipe | None, say: Callable[[str], None]) -> int | None:
    """The number for one stream; None if nobody named one and there is nothing to hold out."""
    from frugan import data  # only here: it imports torch, and help does without

    wanted = recipe.data_of(stream)
    if before is not None and not wanted.holdout:
        return before.data_of(stream).holdout if wanted.holdout is None else 0
    if wanted.holdout is not None or wanted.split == "test":
        return wanted.holdout
    count = data.usual_holdout(wanted.source, only=wanted.only)
    if count:
        say(
            f"{count:,} images of {wanted.source} are held out for evaluation, one in ten or fewer. Train on all: "
            "data.holdout=0"
        )
    return count or None
