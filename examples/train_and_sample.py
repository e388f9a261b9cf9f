"""Train a factorised generator on built-in digits, look at its images, and save it as an artefact.

    python examples/train_and_sample.py --images 60k
"""

from __future__ import annotations

import argparse
from pathlib import Path

import frugan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="60k", help="real images to show: 60000, 60k, 2M")
    parser.add_argument("--out", type=Path, default=Path("runs/example"), help="where the run and the artefact go")
    given = parser.parse_args()

    # The same call again continues what an interruption left.
    run = frugan.train("mnist", data="glyphs", family="factorised", images=given.images, out=given.out / "run")

    generator = frugan.load(run.path)  # the averaged weights of the newest checkpoint
    images = generator.sample(64, seed=0)  # bytes [64, 28, 28, 1]; image i depends on (seed, i) alone
    print(f"{images.shape} {images.dtype}, trained on {generator.config['data']['title']}")

    counted = frugan.cost(generator.module, (1, generator.latents.size))
    print(f"{counted.parameters:,} parameters, {counted.macs:,} multiply-accumulates per image")

    # What is shipped loads without the recipe that made it, and gives the same images.
    artefact = generator.save(given.out / "artefact", overwrite=True)
    again = frugan.load(artefact).sample(64, seed=0)
    print(f"{artefact}: {'the same' if (again == images).all() else 'other'} images")


if __name__ == "__main__":
    main()
