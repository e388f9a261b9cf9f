"""Open the data of a run, and fit the recipe to the number of classes that they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from frugan.recipe import Recipe
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.data import Dataset


def open_data(assembly: Assembly, allow_unusable: bool, quiet: bool) -> tuple[Assembly, dict[str, Dataset]]:
    """The data of all streams, and the recipe's objects with as many classes as they have.

    Progress of packing is told, unless `quiet`.
    """
    from frugan import build, data

    packing = None if quiet else data.tell_packing(assembly.recipe.data.source)
    sets = build.datasets(assembly.recipe, allow_unusable=allow_unusable, progress=packing)
    recipe = _with_classes(assembly.recipe, sets)
    if recipe != assembly.recipe:  # the data have another number of classes than the recipe expected
        assembly = build.assemble(recipe, assembly.device)
    return assembly, sets


def _with_classes(recipe: Recipe, sets: Mapping[str, Dataset]) -> Recipe:
    """The recipe with as many classes (or attributes) as its streams' data have.

    Raises UserError where labels are needed and there are none.
    """
    first = next(iter(sets))
    streams = {name: dict(changed) for name, changed in recipe.streams.items()}
    from frugan import build

    if build.needs_labels(recipe):
        for stream, dataset in sets.items():
            if not dataset.conditions:
                raise UserError(
                    f"The recipe '{recipe.name}' needs labels, but {dataset.title} has none. Use class subfolders, a "
                    "source with labels (frugan data list), or a recipe without labels."
                )
            _check_all_there(recipe, stream, dataset)
            if stream != first or "classes" in streams.get(stream, {}):
                streams.setdefault(stream, {})["classes"] = dataset.conditions
    return replace(recipe, data=replace(recipe.data, classes=sets[first].conditions), streams=streams)


def _check_all_there(recipe: Recipe, stream: str, dataset: Dataset) -> None:
    """Raise UserError if a classifier is to learn classes of which this stream has no image.

    A network that is merely told its class may be tried with fewer.
    """
    from frugan import build

    if dataset.labels is None or dataset.attributes or not build.tells_classes(recipe, stream):
        return
    there = dataset.labels.bincount(minlength=len(dataset.classes)).tolist()
    missing = [name for name, count in zip(dataset.classes, there, strict=True) if not count]
    if missing:
        key = "data" if stream not in recipe.streams else f"streams.{stream}"
        listed = ", ".join(f"'{name}'" for name in missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise UserError(
            f"{dataset.title} has no image of {listed}, so nothing can learn to tell {len(missing)} of its "
            f"{len(dataset.classes)} classes. Give more images, equally many of each ({key}.limit=null "
            f"{key}.even_limit={10 * len(dataset.classes)}), or fewer classes (data.only=...)."
        )
