"""Writes a tiny run, artefact and comparison in today's formats: ``python tests/formats/make.py v1``.

Run it once for each version of the formats, before that version changes; what is there already stays. The folder is
committed and must load with every later frugan. What was sampled is kept beside, as bytes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from frugan import artefact, comparison, costs, recipes, training

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
    for claim in run.path.glob(".lock-*"):
        claim.unlink()
    generator = artefact.load(run.path)
    generator.save(folder / "artefact")
    for name in ("sampled", "sampled_of_run"):  # alike as long as nothing is measured anew that an artefact stores
        np.save(folder / f"{name}.npy", generator.sample(5, seed=1))


COMPARED = ["vanilla generator.hidden=[4]", "thin: vanilla generator.hidden=[2]"]
COMPARISON = {
    "data": "many.npz", "images": 32, "metrics": ["fid"], "view": "pixels", "count": 1000, "seeds": (0,),
    "device": "cpu", "quiet": True,
    "changes": {"data.size": 8, "discriminator.hidden": [2], "latents.size": 2, "precision": "float32",
                "kernels": "plain", "batch_size": 16},
}  # fmt: skip


def write_many(path: Path) -> None:
    """A thousand pictures of noise, as many as FID takes: the data of the kept comparison."""
    np.savez(path, images=np.random.default_rng(1).integers(0, 255, (1000, 8, 8), dtype=np.uint8))


def make_comparison(folder: Path) -> None:
    """Two dense generators, one seed, two rounds; what is printed and drawn is left out."""
    costs.processor = lambda: "a machine"
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        write_many(Path("many.npz"))
        comparison.compare(COMPARED, out=folder, **COMPARISON)
        os.chdir(folder)
    for left_out in (*folder.glob("runs/*/*.txt"), *folder.glob("runs/*/*/samples"), *folder.rglob(".lock-*"),
                     folder / "report.html"):  # fmt: skip
        shutil.rmtree(left_out) if left_out.is_dir() else left_out.unlink()


if __name__ == "__main__":
    made = Path(__file__).resolve().parent / sys.argv[1]
    if not made.exists():
        made.mkdir()
        make(made)
    if not (made / "comparison").exists():
        make_comparison(made / "comparison")
