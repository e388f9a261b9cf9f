"""What "auto" means in a run: decided once, when it begins, and kept when it goes on.

Both answers depend on the machine, and one of them on its clock. A run that asked again could change in the middle,
and the arms of a comparison could be computed in different ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from frugan.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from frugan.engine.processes import Processes
    from frugan.engine.run import RunFolder

DECIDED = ("kernels", "precision")
"""The settings of a recipe that may be "auto"."""


def decide(rounds: int, device: torch.device) -> dict[str, str]:
    """What "auto" means on this machine, in a run of so many rounds: the value for each such setting of a recipe."""
    from frugan import kernels
    from frugan.engine import precision

    return {"kernels": kernels.resolve("auto", device, rounds), "precision": precision.resolve("auto", device)}


def decided_in(folder: RunFolder) -> dict[str, str]:
    """What a run was begun with, also where its recipe says "auto"; empty if it has not begun."""
    if not (folder.exists() and folder.facts.is_file()):
        return {}
    facts = folder.read_json(folder.facts)
    precision = {"precision": facts["precision"]} if "precision" in facts else {}
    return {"kernels": facts.get("kernels", "plain"), **precision}


def settle(recipe: Recipe, decided: Mapping[str, str]) -> Recipe:
    """The recipe with what was decided in place of each "auto"; what it says outright stays."""
    return recipe.with_changes({name: it for name, it in decided.items() if getattr(recipe, name) == "auto"})


def settled(recipe: Recipe, folder: RunFolder, device: torch.device, processes: Processes) -> Recipe:
    """The recipe that is played in this folder: as its run was begun; for a new run, as it begins.

    Several processes compute in one precision: bf16 only if each of them would. Every process must call this.
    """
    from frugan.arithmetic import has_bf16

    begun = decided_in(folder)
    if begun.get("precision") == "bf16" and processes.any(not has_bf16(device)):  # a product takes minutes there
        del begun["precision"]
    if not begun.keys() >= set(DECIDED):
        here = decide(recipe.whole_rounds, device)
        if processes.any(here["precision"] == "float32"):
            here["precision"] = "float32"
        begun = {**here, **begun}
    return settle(recipe, begun)
