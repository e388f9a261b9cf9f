"""frugan: small, fast, honestly compared GAN image generators.

The public names, imported when first used so that ``frugan --help`` does not wait for torch:

    train(recipe, ...)       train a recipe                      evaluate(run, ...)   measure what it makes
    compare(arms, ...)       train twins and tell them apart     load(path)           a shipped generator, alive again
    swap(module, family)     rewrite any module's convolutions   cost(module, *inputs) parameters, MACs, memory
    check(file, ...)         whether own code keeps the contracts             Recipe: what a run is made of
    fit(recipe, ...)         the best generator inside a budget
    classify(run, images)    what a shipped classifier says of images
    export(run, to, ...)     what a run ships, as a file for other software
    probe(run, ...)          what a run's discriminator or encoder has learnt
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "frugan runs on Linux and macOS: it needs file locks and signals that Windows lacks. On Windows, install it in "
        "WSL (wsl --install)."
    )

if TYPE_CHECKING:
    from frugan.artefact import load
    from frugan.checking import check
    from frugan.comparison import compare
    from frugan.costs import cost
    from frugan.evaluation import evaluate
    from frugan.exporting import export
    from frugan.fitting import fit
    from frugan.labelling import classify
    from frugan.probing import probe
    from frugan.recipe import Recipe
    from frugan.surgery import swap
    from frugan.training import train

__version__ = "0.1.0"
__all__ = [
    "Recipe", "check", "classify", "compare", "cost", "evaluate", "export", "fit", "load",
    "probe", "swap", "train",
]  # fmt: skip

_HOMES = {
    "train": "frugan.training",
    "evaluate": "frugan.evaluation",
    "compare": "frugan.comparison",
    "check": "frugan.checking",
    "classify": "frugan.labelling",
    "export": "frugan.exporting",
    "fit": "frugan.fitting",
    "load": "frugan.artefact",
    "probe": "frugan.probing",
    "swap": "frugan.surgery",
    "cost": "frugan.costs",
    "Recipe": "frugan.recipe",
}
_AXES = {
    "convs", "nets", "games", "metrics", "views", "data", "recipes", "losses", "penalties", "augment", "optimisers",
    "schedules", "owncode", "exporting", "explore",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _AXES:
        return importlib.import_module(f"frugan.{name}")
    raise AttributeError(f"module 'frugan' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_AXES})
