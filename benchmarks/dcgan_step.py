"""One training step of the 64-pixel DCGAN at batch 128: the recipe `dcgan-64-faithful` against a plain PyTorch loop.

Ours is the round that ``frugan train dcgan-64-faithful`` plays: bytes from memory, the game, the update, the averaged
weights. The plain side (`_plain_dcgan.py`) computes in float32 and is handed ready tensors.

First it is checked that both do the same: from the same weights, images and latents their losses must agree to 1e-4,
for one step in float32 and for three in float64. Otherwise this program stops. (In float32 the later steps tell
nothing: Adam's first updates are +-2e-4 whatever the gradient, all weights of 0.02 move together, and a difference of
rounding grows a hundredfold each step. Even the plain loop differs from itself by 1e-3 after three steps if only its
Adam is the fused one.)

Gate: on a CPU where the recipe computes in bf16 (AMX or AVX-512 bf16), at least 1.6 times faster. On another both
sides compute in float32 with the same kernels. There, and on a GPU (``--device cuda``), the ratio is only printed, and
the losses must agree. No compiler is used on either side, and the allocator is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from _in_default_type import InDefaultType
from _plain_dcgan import Step, Weights, initial_weights, make_plain
from _report import Spread, arguments, finish, in_turn, show, spread, times_faster
from torch import Tensor, nn

from frugan import build, recipes
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine import precision
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, play_round

BATCH = 128
IMAGES = 2048
TOLERANCE = 1e-4
LEAST = 1.6


def random_images() -> Dataset:
    """Noise in place of images: a step takes as long on them, and its losses compare as well."""
    images = torch.randint(256, (IMAGES, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Dataset("noise", "train", ImageShape(3, 64, 64), images, None, (), "0" * 16)


def make_ours(weights: Weights, device: torch.device, wanted: str = "float32", batch: int = BATCH) -> Parts:
    """The run that ``frugan train dcgan-64-faithful --precision wanted`` plays, with `weights` copied in."""
    recipe = recipes.find("dcgan-64-faithful")
    recipe = replace(recipe, batch_size=batch, precision=wanted, data=replace(recipe.data, classes=0))
    parts = build.parts(build.assemble(recipe, device), {"train": random_images()})
    for name, network in parts.game.networks.items():
        take_over(network, weights[name])
    for name, average in parts.averages.items():
        take_over(average.network, weights[name])
    for network in parts.game.networks.values():
        network.train()
    return parts


def take_over(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the plain network's parameters into ours: the same tensors in the same order, under other names."""
    source = [value for name, value in weights.items() if name.endswith(("weight", "bias"))]
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), source, strict=True):
            parameter.copy_(value)


def make_inputs(device: torch.device, batch: int = BATCH) -> Callable[[int], tuple[Tensor, Tensor]]:
    """The real images and latents of our round number n (asked for in order), in torch's default layout and type."""
    parts = make_ours(initial_weights(0), device, batch=batch)
    batches = InDefaultType(parts.batches)
    latents = build.values(recipes.find("dcgan-64-faithful"))["latents"]

    def inputs(number: int) -> tuple[Tensor, Tensor]:
        random = Progress(number * batch, number, parts.seed).generator("latents.0")
        return batches.take("train", batch).images.contiguous(), latents.draw(batch, random).to(device)

    return inputs


def difference(device: torch.device, computed: torch.dtype, steps: int, batch: int) -> float:
    """The largest difference of both sides' losses over some steps."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(computed)
    try:
        weights, inputs = initial_weights(0), make_inputs(device, batch)
        ours, step = make_ours(weights, device, batch=batch), make_plain(weights, device)[1]
        ours = replace(ours, batches=InDefaultType(ours.batches))  # pyrefly: ignore
        largest = 0.0
        for number in range(steps):
            seen = play_round(ours)
            plain = step(*inputs(number))
            for mine, theirs in zip((seen["discriminator.loss"], seen["generator.loss"]), plain, strict=True):
                largest = max(largest, abs(float(mine) - float(theirs)))
        return largest
    finally:
        torch.set_default_dtype(before)


def check_losses(device: torch.device) -> dict[str, float]:
    """The differences of both sides' losses. Ends the program if one is too large."""
    found = {
        "one step in float32": difference(device, torch.float32, steps=1, batch=BATCH),
        "three steps in float64": difference(device, torch.float64, steps=3, batch=16),
    }
    for where, value in found.items():
        print(f"losses after {where} differ by {value:.1g}")
        if value > TOLERANCE:
            raise SystemExit(f"Both sides should do the same: at most {TOLERANCE} is allowed.")
    return found


def run_ours(parts: Parts, steps: int) -> float:
    """Play `steps` rounds; the loss that is read at the end makes a GPU finish its work."""
    losses = [play_round(parts)["generator.loss"] for _ in range(steps)]
    return float(losses[-1])


def run_plain(step: Step, real: Tensor, latents: Tensor, steps: int) -> float:
    """As many steps of the plain loop, on one batch that is ready."""
    losses = [step(real, latents)[1] for _ in range(steps)]
    return float(losses[-1])


def main() -> None:
    options = arguments(__doc__ or "", device=True)
    device, steps, repeats = torch.device(options.device), 1 if options.quick else 4, 3 if options.quick else 5
    if device.type == "cuda":
        steps *= 25
    differences = check_losses(device)
    weights = initial_weights(0)
    ours, plain = make_ours(weights, device, "auto"), make_plain(weights, device)[1]
    real, latents = make_inputs(device)(0)
    seconds = in_turn(
        {"plain": lambda: run_plain(plain, real, latents, steps), "frugan": lambda: run_ours(ours, steps)}, repeats
    )
    faster = times_faster(seconds["plain"], seconds["frugan"])
    resolved = precision.resolve("auto", device)

    def row(name: str, computed: str) -> list[object]:
        taken: Spread = spread([value / steps for value in seconds[name]])
        return [name, computed, taken.median, f"{taken.lower:.4g}-{taken.upper:.4g}", BATCH / taken.median]

    show(["", "precision", "s a step", "quartiles", "images/s"], [row("plain", "float32"), row("frugan", resolved)])
    print(f"{faster.median:.2f} times faster (quartiles {faster.lower:.2f}-{faster.upper:.2f}; {repeats} rounds)")
    claimed = device.type == "cpu" and resolved == "bf16"
    gate = f"equal losses, and at least {LEAST} times faster on a CPU with bf16{'' if claimed else ' (not this one)'}"
    result = {
        "seconds": seconds,
        "steps": steps,
        "precision": resolved,
        "times_faster": faster._asdict(),
        "loss_differences": differences,
    }
    finish(options, result, met=not claimed or faster.median >= LEAST, gate=gate)


if __name__ == "__main__":
    main()
