"""How far a generator's images differ over latents before it has learnt anything, for each family and either start.

    python examples/first_images.py

Prints the standard deviation over 64 latents, in grey levels, mean of three seeds. "layerwise" starts each piece of a
layer as if it stood alone; "composite", the default, starts the whole as the standard layer in its place.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from frugan import build, recipes
from frugan.convs import names
from frugan.latents import Latents
from frugan.recipe import Rule

RECIPES = {
    "mnist": {}, "dcgan-medium": {}, "cgan": {}, "dcgan-32": {"generator.width": 0.25},
    "dcgan-64": {"generator.width": 0.5},
    "cifar10-frog": {"generator.width": 0.25},
}


def spread(name: str, family: str, start: str, seeds: int = 3) -> float:
    """The standard deviation over latents of the first images of a recipe's generator, in grey levels."""
    recipe = recipes.find(name).with_changes(RECIPES[name])
    rules = () if family == "standard" else (Rule("*", family, {"start": start}),)
    spec = replace(recipe.networks["generator"], families=rules)
    blueprint = replace(build.blueprints(recipe)["generator"], spec=spec)
    total: float = 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        generator, _ = blueprint.build()
        latents = Latents(blueprint.latents).rows(0, 64, seed)
        with torch.no_grad():
            images = generator.train()(latents, *blueprint.example(64)[1:])
        low, high = build.made_range(recipe, {"generator": generator})
        total += 255 / (high - low) * float(images.std(0).mean())
    return total / seeds


if __name__ == "__main__":
    families = sorted(names(), key=lambda name: name != "standard")
    print("| recipe | start |", " | ".join(families), "|")
    print("| --- | --- |", " ---: |" * len(families))
    for recipe in RECIPES:
        for start in ("layerwise", "composite"):
            numbers = [f"{spread(recipe, family, start):.3g}" for family in families]
            print(f"| `{recipe}` | {start} |", " | ".join(numbers), "|", flush=True)
