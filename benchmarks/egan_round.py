"""A round of E-GAN against a plain round of the same networks: three steps of the discriminator, one of the generator.

Both sides are what ``frugan train`` plays, in float32 on noise, at batch 32: the recipe `egan`, and the game
`adversarial` with ``discriminator_steps=3``. E-GAN looks at 96 images for fitness, with latents that all children
share; the published form at 256, with latents of each child's own.

Predicted before it was measured, from multiply-accumulates (g and d an image; n = 32 a batch, m for fitness):

    plain       18 n d + 5 n g + 2 n d                                    55 billion
    E-GAN       n (7 g + 4 d) + m (3 g + 12 d) + 18 n d, m = 96           163    2.96 times
    published   3 n (3 g + 2 d) + m (3 g + 12 d) + 18 n d, m = 256        337     6.1 times

Three trial copies of the generator and of its moments come to that: 3.0 to 3.2 times, and 6.1 to 6.3. (The published
form computed naively, with the real half of the gradient for each child, would be 443 billion.)

Gate: E-GAN's round costs at most 3.5 plain ones.
"""

from __future__ import annotations

import functools

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster

from frugan import build, recipes
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine.loop import Parts, play_round
from frugan.recipe import Choice

MOST, BATCH, STEPS, MUTATIONS = 3.5, 32, 3, 3
GAMES = {
    "plain": Choice("adversarial", {"discriminator_steps": 3}),
    "E-GAN": Choice("evolutionary"),
    "published": Choice("evolutionary", {"evaluation": 256, "fresh_latents": True}),
}
QUICK = {"generator.width": 0.25, "discriminator.width": 0.25}


def plain(g: int, d: int, *, anew: bool = False) -> int:
    """Multiply-accumulates of a plain round, of g and d an image; `anew`: with fresh fakes for the generator's step."""
    return BATCH * (STEPS * (6 * d + g) + 2 * g + 2 * d + anew * g)


def evolved(g: int, d: int, evaluation: int, *, fresh_latents: bool = False, naive: bool = False) -> int:
    """The same of a round of E-GAN; `naive`: with the real half of the gradient for each child."""
    mutated = MUTATIONS * (3 * g + 2 * d) if fresh_latents else (1 + 2 * MUTATIONS) * g + (1 + MUTATIONS) * d
    judged = MUTATIONS * (g + 6 * d) if naive else MUTATIONS * (g + 3 * d) + 3 * d
    return BATCH * mutated + evaluation * judged + 6 * STEPS * BATCH * d


def parts_of(game: Choice, changes: dict[str, float]) -> Parts:
    """A run of the recipe `egan` with another game, on noise."""
    keys = {"game": {"name": game.name, "options": game.options}, "precision": "float32", **changes}
    recipe = recipes.find("egan").with_changes(keys)
    images = torch.randint(256, (2048, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise = Dataset("noise", "train", ImageShape(3, 32, 32), images, None, (), "0" * 16)
    parts = build.parts(build.assemble(recipe), {"train": noise})
    for network in parts.game.networks.values():
        network.train()
    return parts


def main() -> None:
    options = arguments(__doc__ or "")
    repeats = 3 if options.quick else 5
    parts = {name: parts_of(game, QUICK if options.quick else {}) for name, game in GAMES.items()}
    seconds = in_turn({name: functools.partial(play_round, one) for name, one in parts.items()}, repeats)
    ratios = {name: times_faster(seconds[name], seconds["plain"]) for name in GAMES}

    def row(name: str) -> list[object]:
        taken, ratio = spread(seconds[name]), ratios[name]
        return [name, taken.median, f"{taken.lower:.3g}-{taken.upper:.3g}", ratio.median,
                f"{ratio.lower:.3g}-{ratio.upper:.3g}"]  # fmt: skip

    show(["", "s a round", "quartiles", "times plain", "quartiles"], [row(name) for name in GAMES])
    result = {"seconds": seconds, "times_plain": {name: ratio._asdict() for name, ratio in ratios.items()}}
    met = ratios["E-GAN"].median <= MOST
    finish(options, result, met=met, gate=f"a round of E-GAN costs at most {MOST} plain ones")


if __name__ == "__main__":
    main()
