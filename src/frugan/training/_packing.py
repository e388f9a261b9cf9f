"""Pack what a run will open, before it begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from frugan.recipe import Recipe
from frugan.training import _holding, _observing
from frugan.training._opening import open_data

if TYPE_CHECKING:
    from frugan.data import Dataset


def pack(recipe: Recipe, say: Callable[[str], None], *, allow_unusable: bool = False) -> list[Dataset]:
    """Open all that a new run of the recipe and its evaluation will open, so that it is packed by then.

    `say` takes a line about images that are held out. Raises UserError as `train` does.
    """
    from frugan import build, data

    assembly = _holding.resolve(build.assemble(recipe), None, say)
    assembly, sets = open_data(assembly, allow_unusable, quiet=False)
    _observing.open_judged(assembly.recipe, assembly.game, *next(iter(sets.items())))
    held_out = []
    for stream in sets:
        wanted = assembly.recipe.data_of(stream)
        held_out.append(build.open_held_out(
            wanted, allow_unusable=True, progress=data.tell_packing(wanted.source)  # as an evaluation opens them
        ))  # fmt: skip
    # Streams may share their images.
    opened = {one.content_hash: one for one in (*sets.values(), *held_out) if one is not None}
    return list(opened.values())
