"""PGGAN: rounds of training at each size that its networks pass through, by their time for an image.

The networks of a recipe are held at one level and play rounds of the growing game, as ``frugan train`` plays them, each
level on a run of its own. Beside the measured ratio stands the one that multiply-accumulates predict: a round passes
each image through the generator forward and backward (3 times its products), and through the discriminator 14 times
its products: a real and a fake one forward and backward (6), the penalty with its second derivatives (6), and the fake
of the generator's step (2). What that leaves out is the optimiser's work and the calls, which cost as much at every
size.

Gate: in the networks of `pggan-cifar10`, images of 4 and of 8 pixels are trained at least 5 times faster than those of
32. The long form also times the small networks of `pggan-portraits`, of whose rounds calls are a larger share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster

from frugan import build, memory, recipes
from frugan.batch import ImageShape
from frugan.costs import cost
from frugan.data import Dataset
from frugan.engine.loop import Parts, play_round
from frugan.recipe import Recipe

GENERATOR_PASSES, DISCRIMINATOR_PASSES = 3, 14
LEAST = 5.0
SIZES = (4, 8, 16, 32)


def noise(count: int = 256) -> Dataset:
    """Noise in place of pictures."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
    return Dataset("noise", "train", ImageShape(3, 32, 32), images, None, (), "0" * 16)


def held_at(recipe: Recipe, level: int) -> Parts:
    """A run of the recipe that is at this level and stays there: its clock says so, and no fade ever begins."""
    endless = recipe.with_changes({"game.steady": 10**12, "game.fading": 0})
    parts = build.parts(build.assemble(endless), {"train": noise()})
    parts.clock.images = level * 10**12
    for network in parts.game.networks.values():
        network.train()
    return parts


def predicted(parts: Parts, side: int) -> int:
    """Multiply-accumulates of a round for an image, by the passes in this file's description."""
    generator, discriminator = (parts.game.networks[name] for name in ("generator", "discriminator"))
    made = cost(generator, (2, generator.latents)).macs  # pyrefly: ignore
    judged = cost(discriminator, (2, 3, side, side)).macs
    return GENERATOR_PASSES * made + DISCRIMINATOR_PASSES * judged


def table(name: str, repeats: int, rounds: int) -> dict[str, Any]:
    """Every size of one recipe."""
    recipe = recipes.find(name)
    runs = {side: held_at(recipe, level) for level, side in enumerate(SIZES)}

    def rounds_of(parts: Parts) -> Callable[[], None]:
        def play() -> None:
            for _ in range(rounds):
                play_round(parts)

        return play

    seconds = in_turn({str(side): rounds_of(parts) for side, parts in runs.items()}, repeats)
    work = {side: predicted(parts, side) for side, parts in runs.items()}
    images, rows, ratios = rounds * recipe.batch_size, [], {}
    for side in SIZES:
        taken = spread([1000 * value / images for value in seconds[str(side)]])
        faster = times_faster(seconds["32"], seconds[str(side)])
        ratios[str(side)] = {"measured": faster._asdict(), "predicted": work[32] / work[side]}
        rows.append([f"{name}, {side} x {side}", taken.median, f"{taken.lower:.4g}-{taken.upper:.4g}", faster.median,
                     f"{faster.lower:.3g}-{faster.upper:.3g}", work[32] / work[side], work[side] / 1e6])  # fmt: skip
    show(["round", "ms an image", "quartiles", "over 32", "quartiles", "predicted", "M MACs an image"], rows)
    return {"batch": recipe.batch_size, "rounds": rounds, "seconds": seconds, "macs": work, "ratios": ratios}


def slow(ratios: dict[str, Any]) -> list[str]:
    """The sizes of 4 and 8 pixels that are less than `LEAST` times faster than 32."""
    found = {side: ratios[side]["measured"]["median"] for side in ("4", "8")}
    return [f"{side} x {side}: {ratio:.2f} times faster, not {LEAST}" for side, ratio in found.items() if ratio < LEAST]


def main() -> None:
    options = arguments(__doc__ or "")
    memory.keep()
    tables = {"pggan-cifar10": table("pggan-cifar10", 2 if options.quick else 5, 1)}
    if not options.quick:
        tables["pggan-portraits"] = table("pggan-portraits", 7, 4)
    below = slow(tables["pggan-cifar10"]["ratios"])
    for line in below:
        print(line)
    finish(
        options, {"tables": tables, "below": below}, met=not below,
        gate=f"4 and 8 pixels at least {LEAST} times faster an image than 32",
    )  # fmt: skip


if __name__ == "__main__":
    main()
