"""Tangents of 64 images of 28 pixels, 10 directions. Gates: 1.3 of the predicted passes; iteration beats the Jacobian.

A pass is one backward pass of the encoder for the whole batch, timed alone, as a loop would make it, in turn with the
tangents. Predicted are m passes where the whole Jacobian of m numbers is taken, and 8 (10 + 3) where directions are
iterated (four rounds forward and back). The sheet (and ``auto``) prefers iteration above 104 numbers; there it must be
faster than the exact way. The encoder is bigan_convolutional at half width, of 50 to 256 numbers.

Each is timed three times; the short form repeats twice, at 100 and 192 numbers.
"""

from __future__ import annotations

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster

from frugan import nets, tangents
from frugan.batch import ImageShape
from frugan.convs import Layers

BATCH, COUNT, ALLOWED = 64, 10, 1.3
PREDICTED = 2 * tangents.ROUNDS * (COUNT + tangents.OVERSAMPLING)
SIZES, QUICK = (50, 100, 128, 256), (100, 192)
PASSES = 8
"""In one timing, so that it is not all overhead."""


def main() -> None:
    options = arguments(__doc__ or "")
    rows, result, met = [], {}, True
    last = torch.channels_last  # as in training
    images = torch.rand(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=last)
    for numbers in QUICK if options.quick else SIZES:
        torch.manual_seed(0)
        build = nets.find("bigan_convolutional").part("encoder")
        network = build(ImageShape(1, 28, 28), {"latents": numbers}, Layers(), width=0.5).eval().requires_grad_(False)
        network.to(memory_format=last)  # pyrefly: ignore

        def encode(seen: torch.Tensor, network: torch.nn.Module = network) -> torch.Tensor:
            return network(seen)["latents"]

        leaf = images.clone().requires_grad_()
        output = encode(leaf)
        ones = torch.ones_like(output)

        def passes(output: torch.Tensor = output, leaf: torch.Tensor = leaf, ones: torch.Tensor = ones) -> None:
            for _ in range(PASSES):
                torch.autograd.grad(output, leaf, ones, retain_graph=True)

        sides = {
            "pass": passes, "exact": lambda encode=encode: tangents.dominant(encode, images, COUNT, method="exact"),
            "iterated": lambda encode=encode: tangents.dominant(encode, images, COUNT, method="iterated"),
        }
        seconds = in_turn(sides, repeats=2 if options.quick else 3)
        seconds["pass"] = [one / PASSES for one in seconds["pass"]]
        iterates = numbers > PREDICTED
        chosen, predicted = ("iterated", PREDICTED) if iterates else ("exact", numbers)
        pairs = zip(seconds[chosen], seconds["pass"], strict=True)
        relative = spread([one / (predicted * alone) for one, alone in pairs])
        faster = times_faster(seconds["exact"], seconds["iterated"])
        kept = relative.median <= ALLOWED and (not iterates or faster.median > 1)
        met = met and kept
        medians = [1000 * spread(taken).median for taken in seconds.values()]
        told = [*medians, relative.median, faster.median, "yes" if kept else "NO"]
        rows.append([f"{numbers}, {chosen}", predicted, *told])
        result[f"{numbers}"] = {
            "chosen": chosen, "predicted_passes": predicted, "seconds": seconds, "of_predicted": relative._asdict(),
            "iterated_times_faster": faster._asdict(),
        }  # fmt: skip
    timed = ["ms a pass", "ms exact", "ms iterated", "of predicted", "exact/iterated"]
    show(["numbers, way taken", "passes", *timed, "kept"], rows)
    gate = f"at most {ALLOWED} times the predicted passes, and iteration is faster where it is preferred"
    finish(options, {"batch": BATCH, "directions": COUNT, "sizes": result}, met=met, gate=gate)


if __name__ == "__main__":
    main()
