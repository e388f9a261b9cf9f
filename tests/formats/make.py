"""Writes a tiny run and a tiny artefact in today's formats: ``python tests/formats/make.py v1``.

Run it once for each version of the formats, before that version changes; the folder is committed and must load with
every later frugan. What was sampled is kept beside, as bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from frugan import artefact, costs, recipes, training

SOURCE = "noise.npz"
KEYS = {
    "generator.channels": [4, 4, 4], "discriminator.channels": [4, 4, 4, 4], "latents.size": 4, "data.size": 8,
    "batch_size": 4, "precision": "float32", "averages.generator.half_life": 20, "data.source": SOURCE,
}


def write_noise(path: Path) -> None:
    """Twelve labelled pictures of noise: the data of the kept runs."""
    pictures = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(12) % 3)


def make(folder: Path) -> None:
    """A labelled DCGAN of a few hundred weights, trained for thirty rounds."""
    costs.processor = lambda: "a machine"
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        write_noise(Path(SOURCE))
        recipe = recipes.find("cgan").with_changes(KEYS).with_family("factorised")
        run = training.train(recipe, images=120, out=folder / "run", quiet=True)
        os.chdir(folder)
    for picture in run.samples.glob("*.png"):
        picture.unlink()
    run.samples.rmdir()
    (run.path / ".lock").unlink()
    generator = artefact.load(run.path)
    generator.save(folder / "artefact")
    for name in ("sampled", "sampled_of_run"):  # alike as long as nothing is measured anew that an artefact stores
        np.save(folder / f"{name}.npy", generator.sample(5, seed=1))


if __name__ == "__main__":
    made = Path(__file__).resolve().parent / sys.argv[1]
    made.mkdir()
    make(made)
