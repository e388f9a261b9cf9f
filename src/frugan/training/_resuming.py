"""Begin a run folder, continue it from its checkpoint, and refuse to continue it with other settings."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from frugan import __version__, registry, terminal
from frugan.recipe import Recipe, differences, from_run, to_dict
from frugan.registry import UserError
from frugan.training import _giving
from frugan.training._deciding import decided_in, settle

if TYPE_CHECKING:
    from frugan.data import Dataset
    from frugan.engine.loop import Parts
    from frugan.engine.run import RunFolder


def check_free(folder: RunFolder) -> None:
    """Raise UserError if the folder has files, but is not a run."""
    if folder.path.is_dir() and not folder.exists() and not folder.is_free():
        raise UserError(f"{folder.path} has files, but is not a run. Give another --out.")


def check(recipe: Recipe, folder: RunFolder) -> None:
    """Raise UserError if the folder holds a run with other settings, and list the differences."""
    from frugan import schedules

    if not folder.exists():
        return
    decided = decided_in(folder)  # what "auto" meant may be said outright, and left out again
    before, recipe = settle(from_run(folder), decided), settle(recipe, decided)
    counts = [f"streams.{stream}.classes" for stream in {**before.streams, **recipe.streams}]
    begun = [f"{name}.init" for name in {**before.networks, **recipe.networks}]  # see `_giving.check`
    sources = ["data.source", *(f"streams.{stream}.source" for stream in recipe.streams)]  # the content decides
    budget = ("images", "rounds", "minutes")
    changed = differences(before, recipe, but=(*budget, "data.classes", "streams", *counts, *begun, *sources))
    if changed:
        listed = "; ".join(changed)
        raise UserError(
            f"{folder.path} was begun with other settings ({listed}). Give the old settings again, or another --out."
        )
    longer = before.images != recipe.images or before.rounds != recipe.rounds
    chosen = {name: player.schedule for name, player in recipe.players.items()}
    bound = [name for name, one in chosen.items() if schedules.find(one.name, **one.options).follows_the_end]
    fallen = [
        name for name, one in chosen.items()
        if recipe.budget > before.budget and one.options.get("end") == before.budget and one.options.get("to", 0) < 1
    ]
    if fallen:
        terminal.tell(
            f"frugan: the rates of {' and '.join(fallen)} fall until the end of the first budget ({before.budget:,} "
            "images) and stay low after it. To train as long from the beginning, give another --out."
        )
    if longer and bound:
        own = [f"players.{name}.schedule=linear,end=500000" for name in bound]
        raise UserError(
            f"{folder.path} cannot be trained to another length, because the schedule of {' and '.join(bound)} depends "
            f"on the end. Give another --out, or schedules with their own end, e.g. {' '.join(own)}."
        )


def resume(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], circumstances: Mapping[str, Any]
) -> int | None:
    """Load the newest checkpoint, if there is one, and return the images it had seen; None for a new run."""
    from frugan.engine import checkpoint

    newest = checkpoint.newest(folder.checkpoints) if folder.exists() else None
    # No process may find what the first one is about to write.
    parts.processes.wait()
    if newest is None:
        return None
    facts = folder.read_json(folder.facts)
    for stream, dataset in sets.items():
        begun = facts["data"][stream]
        if begun["hash"] != dataset.content_hash:
            raise UserError(
                f"{folder.path} was begun on {begun['title']}, but the data are now {dataset.title}. Give the data "
                "that it was begun with, or another --out."
            )
    _giving.check(recipe, folder, facts)
    parts.run = facts.get("id", "")
    tensors, rest = checkpoint.read(newest, run=parts.run)
    checkpoint.restore(parts.stateful(), tensors, rest)
    if parts.processes.leads:
        folder.rewind(parts.clock.images)
        now = {**facts, "data": _found_again(recipe, facts["data"])}
        before = [facts, *facts.get("continued", ())][-1]
        changed = [f"{name} {before.get(name)} -> {it}" for name, it in circumstances.items() if before.get(name) != it]
        if changed:
            now["continued"] = [*facts.get("continued", ()), {"images": parts.clock.images, **circumstances}]
            terminal.tell(
                f"Continuing under other circumstances ({'; '.join(changed)}): results may differ in their last bits."
            )
        if now != facts:
            folder.write_json(folder.facts, now)
    parts.processes.wait()
    return parts.clock.images


def _found_again(recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """The facts about a run's data, with where they are now, by whatever name they were given."""
    return {stream: {**one, **_where(recipe.data_of(stream).source)} for stream, one in about.items()}


def _label_sample(recipe: Recipe, dataset: Dataset) -> dict[str, str]:
    """What is kept of the labels of data, if networks are told them."""
    from frugan import artefact, build

    if dataset.labels is None or not build.needs_labels(recipe):
        return {}
    return {"label_sample": artefact.sample_labels(dataset.labels, recipe.seed)}


def _where(source: str) -> dict[str, str]:
    """A source as it was typed, and so that it is found from any working folder."""
    from frugan import data

    return {"source": source, "path": data.absolute(source)}


def circumstances_of(settled: Recipe, parts: Parts) -> dict[str, Any]:
    """What the last bits of a run's numbers depend on besides its recipe: device, threads, versions and the like."""
    import torch

    from frugan import costs

    installed = registry.plugins()
    return {
        **({"plugins": installed} if installed else {}),
        **parts.kernels.circumstances(),
        **({"card": torch.cuda.get_device_name(parts.device)} if parts.device.type == "cuda" else {}),
        "device": str(parts.device), "machine": costs.processor(), "processes": parts.processes.world,
        "precision": settled.precision, "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def begin(
    recipe: Recipe, folder: RunFolder, parts: Parts, sets: Mapping[str, Dataset], facts: Mapping[str, Any]
) -> None:
    """Begin a run folder: write the recipe and the facts about this run."""
    shipped = parts.game.shipped()
    folder.write_json(folder.recipe, {"frugan": __version__, **to_dict(recipe)})
    more = {
        "image_range": list(parts.batches.image_range),
        "shipped": {role: asdict(item) for role, item in shipped.items()},
        "data": {
            stream: {
                "name": dataset.name, "split": dataset.split, "count": len(dataset.images),
                "hash": dataset.content_hash, "title": dataset.title,
                **_where(recipe.data_of(stream).source), "classes": list(dataset.classes),
                "attributes": list(dataset.attributes), "exclusive": [list(group) for group in dataset.exclusive],
                **_label_sample(recipe, dataset),
            }
            for stream, dataset in sets.items()
        },
    }
    parts.run = secrets.token_hex(8)
    folder.write_json(folder.facts, {"frugan": __version__, "id": parts.run, **facts, **more})
