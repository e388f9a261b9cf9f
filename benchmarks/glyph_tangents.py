"""Do an encoder's tangents follow how glyphs are drawn? Gate: they are nearer to the truth than random directions.

Rotation, shear, height, width and shift of a built-in glyph are known, so its true tangents are: differences of two
drawings. The principal angles between their span (6 directions) and the span of 10 tangents are printed, the mean over
256 held-out digits, for the encoder; for the same encoder as it was drawn, untrained; for the ten strongest principal
components of all digits, which are the same for every image; and for ten random directions. Below, the angle of each
single factor to each span.

The encoder is that of ``tangent-encoder-mnist`` at half width, trained here on 300,000 glyphs (ten minutes of one
core); ``FRUGAN_RUN=PATH`` takes that of a run instead. The short form trains for 200 rounds.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from _glyphs import SIDE, drawn, true_tangents
from _report import arguments, finish, show
from torch import Tensor

from frugan import load, train
from frugan.data.readers import glyphs
from frugan.tangents import angles, dominant

COUNT, DIRECTIONS, IMAGES, QUICK = 256, 10, 300_000, 25_600
HALF = {f"{name}.width": 0.5 for name in ("generator", "encoder", "discriminator")}


def trained(images: int, out: Path) -> Path:
    train("tangent-encoder-mnist", data="glyphs", changes=HALF, images=images, seed=0, out=out, device="cpu")
    return out


def spans(run: Path, images: Tensor, untrained: Path) -> dict[str, Tensor]:
    """Ten directions for each image ``[n, 10, 1, 28, 28]``, by where they are from."""

    def of(path: Path) -> Tensor:
        encoder = load(path, role="encoder")
        found = [dominant(lambda seen: encoder(seen)["latents"], some, DIRECTIONS).directions
                 for some in images.split(64)]  # fmt: skip
        return torch.cat(found)

    random = torch.Generator().manual_seed(0)
    many = drawn("train", 5_000, (0.0, 1.0)).images.flatten(1)
    components = torch.linalg.svd(many - many.mean(0), full_matrices=False)[2][:DIRECTIONS]
    return {
        "the encoder's tangents": of(run), "the untrained encoder's": of(untrained),
        "principal components": components.view(1, DIRECTIONS, 1, SIDE, SIDE).expand(len(images), -1, -1, -1, -1),
        "random directions": torch.randn(len(images), DIRECTIONS, 1, SIDE, SIDE, generator=random),
    }


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("FRUGAN_RUN")
        run = Path(given) if given else trained(QUICK if options.quick else IMAGES, Path(folder) / "run")
        untrained = Path(folder) / "untrained"
        still = {"changes": {"learning_rate": 1e-12}, "images": 1, "device": "cpu", "quiet": True}
        train(str(run / "recipe.json"), out=untrained, **still)
        image_range = load(run, role="encoder").config["image_range"]
        found = spans(run, drawn("test", COUNT, image_range).images, untrained)
    truth = true_tangents("test", COUNT)
    between = {name: angles(truth, span).mean(0).tolist() for name, span in found.items()}
    single = {
        name: [float(angles(truth[:, [factor]], span).mean()) for factor in range(len(glyphs.FACTORS))]
        for name, span in found.items()
    }
    ordinals = ["smallest", "2nd", "3rd", "4th", "5th", "largest"]
    show(["principal angles, degrees", *ordinals], [[name, *row] for name, row in between.items()])
    show(["angle to one factor", *glyphs.FACTORS], [[name, *row] for name, row in single.items()])
    learned, *_, chance = single.values()
    met = all(mine < other for mine, other in zip(learned, chance, strict=True))
    result = {"images": COUNT, "directions": DIRECTIONS, "principal_angles": between, "angles_to_factors": single}
    finish(options, result, met=met, gate="every factor is nearer to the tangents than to random directions")


if __name__ == "__main__":
    main()
