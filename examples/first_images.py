"""How much an untrained generator's images differ from each other, for each family and each way to start.

    python examples/first_images.py [RECIPE ...]

Prints the standard deviation over 64 latents (for a translator: over 64 images of noise) in grey levels, the mean of
three seeds. "layerwise" starts each piece of a layer as if it stood alone. "composite", the default, starts the whole
layer like the standard layer in its place.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from frugan import build, recipes
from frugan.convs import names
from frugan.latents import Latents

RECIPES = {
    "mnist": {}, "mnist-faithful": {}, "dcgan-medium": {}, "cgan": {}, "cifar10-frog": {"generator.width": 0.25},
    "dcgan-32": {"generator.width": 0.25}, "dcgan-64": {"generator.width": 0.5},
    "dcgan-paper": {"generator.width": 0.25},
    "stargan": {"data.size": 32, "generator.width": 0.5},
    "cyclegan-6": {"data.size": 32, "generator_ab.width": 0.5},
}


def spread(name: str, family: str, start: str, seeds: int = 3) -> float:
    """The standard deviation of the first images of a recipe's generator, in grey levels."""
    recipe = recipes.find(name).with_changes(RECIPES[name]).with_family(family)
    maker = recipe.makers()[0]
    spec = recipe.networks[maker]
    rules = [
        rule if rule.family == "standard" else replace(rule, options={**rule.options, "start": start})
        for rule in spec.families
    ]
    blueprint = replace(build.blueprints(recipe)[maker], spec=replace(spec, families=tuple(rules)))
    total: float = 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        generator, _ = blueprint.build()
        first, *condition = blueprint.example(64)
        if blueprint.part == "decoder":
            first = Latents(blueprint.latents).rows(0, 64, seed)
        else:
            first = torch.randn(first.shape)
        with torch.no_grad():
            images = generator.train()(first, *condition)
        low, high = build.made_range(recipe, dict.fromkeys(recipe.makers(), generator))
        total += 255 / (high - low) * float(images.std(0).mean())
    return total / seeds


if __name__ == "__main__":
    families = sorted(names(), key=lambda name: name != "standard")
    print("| recipe | start |", " | ".join(families), "|")
    print("| --- | --- |", " ---: |" * len(families))
    for recipe in sys.argv[1:] or RECIPES:
        for start in ("layerwise", "composite"):
            numbers = [f"{spread(recipe, family, start):.3g}" for family in families]
            print(f"| `{recipe}` | {start} |", " | ".join(numbers), "|", flush=True)
