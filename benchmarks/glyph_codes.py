"""What do InfoGAN's codes mean? Gate: on glyphs, a category tells the class at least twice as often as chance.

The recipe ``infogan`` at a quarter of its width, trained here on 150,000 glyphs without labels (``FRUGAN_RUN=PATH``
takes another run). Printed are `code_accuracy` of its category on 2,000 held-out digits, and what its codes tell of
each factor that glyphs are drawn from (rotation, shear, height, width, shift): the share of a factor's variance on
held-out digits that a linear fit on 10,000 others explains, from each continuous code alone, from the category alone,
and from all of them. The short form trains on 6,400 and has no gate but that codes are found at all.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from _glyphs import Drawn, drawn
from _report import arguments, finish, show
from torch import Tensor

from frugan import load, train
from frugan.batch import to_bytes
from frugan.data.readers import glyphs
from frugan.metrics import code_accuracy

FITTED, TESTED, IMAGES, QUICK = 10_000, 2_000, 150_000, 6_400
CHANGES = {"generator.width": 0.25, "discriminator.width": 0.25, "batch_size": 64}


def found(run: Path, of: Drawn) -> dict[str, Tensor]:
    """What the discriminator of a run finds in digits, by output."""
    encoder = load(run, role="encoder")
    pixels = to_bytes(of.images, (0.0, 1.0)).permute(0, 2, 3, 1).numpy()
    return {name: torch.from_numpy(encoder.encode(pixels, name)) for name in encoder.outputs if name != "score"}


def explained(fitted: Tensor, tested: Tensor, of: Drawn, held_out: Drawn) -> list[float]:
    """The share of each factor's variance that a linear fit explains on held-out digits."""
    one, other = (torch.cat([part, torch.ones(len(part), 1)], 1).double() for part in (fitted, tested))
    weights = torch.linalg.lstsq(one, of.factors.double(), driver="gelsd").solution
    error = (other @ weights - held_out.factors).square().mean(0)
    return (1 - error / held_out.factors.double().var(0)).tolist()


def main() -> None:
    options = arguments(__doc__ or "")
    given = os.environ.get("FRUGAN_RUN")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(given) if given else Path(folder) / "run"
        if not given:
            images = QUICK if options.quick else IMAGES
            train("infogan", data="glyphs", changes=CHANGES, images=images, seed=0, out=run, device="cpu")
        of, held_out = drawn("train", FITTED, (0.0, 1.0)), drawn("test", TESTED, (0.0, 1.0))
        fitted, tested = found(run, of), found(run, held_out)
    told = code_accuracy.compute(
        real_encoded=fitted["category_0"], real_labels=of.classes, held_out_encoded=tested["category_0"],
        held_out_labels=held_out.classes,
    )  # fmt: skip
    inputs = {f"continuous {number}": (fitted["continuous"][:, [number]], tested["continuous"][:, [number]])
              for number in range(fitted["continuous"].shape[1])}  # fmt: skip
    one, other = (torch.eye(part.shape[1])[part.argmax(1)] for part in (fitted["category_0"], tested["category_0"]))
    inputs["the category"] = one, other
    inputs["all codes"] = torch.cat([one, fitted["continuous"]], 1), torch.cat([other, tested["continuous"]], 1)
    rows = {name: explained(one, other, of, held_out) for name, (one, other) in inputs.items()}
    show(["share of variance explained", *glyphs.FACTORS], [[name, *row] for name, row in rows.items()])
    print("  ".join(f"{name} {value:.4g}" for name, value in told.items()))
    met = options.quick or told["accuracy"] >= 2 * told["chance"]
    gate = "a category tells the class at least twice as often as chance"
    finish(options, {"fitted": FITTED, "tested": TESTED, "code_accuracy": told, "explained": rows}, met=met, gate=gate)


if __name__ == "__main__":
    main()
