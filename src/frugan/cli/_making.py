"""Verbs that make networks, and use them on images: ``train``, ``sample``, ``translate``, ``classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from frugan.cli._arguments import (
    Code,
    File,
    Flag,
    Json,
    Names,
    Number,
    Run,
    Text,
    Trust,
    Value,
    listed,
    print_json,
    whole_numbers,
)
from frugan.cli._reading import reads
from frugan.registry import UserError


@reads("frugan.training.train", without=("quiet",))
def train(**given: Any) -> None:
    """Train a recipe. To continue a run that was stopped, type the same command again."""
    from frugan.training import train as run

    run(**given)



def sample(
    run: Run, *, out: Path, count: int = 64, seed: int = 0, labels: Names = None, truncation: Value = None,
    code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Make images with a trained generator: a PNG grid (FILE.png), an array (FILE.npz), or a folder of PNGs.

    Args:
        run: A run folder or an artefact.
        out: FILE.png, FILE.npz, or a folder.
        count: How many images.
        seed: Another seed gives other images. Image number i depends only on the seed and on i.
        labels: For generators with labels: one class number, or several with commas. If left out: every class in turn.
        truncation: Limit normal latents to this value: less variety, more typical images. Where latents reach later
            blocks (BigGAN), batch norm statistics are measured under it.
        overwrite: Replace what is at OUT.
    """
    from frugan.artefact import load

    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists; give another --out, or --overwrite.")
    if out.suffix not in ("", ".png", ".npz"):
        raise UserError(f"--out {out}: accepted are FILE.png, FILE.npz, or the name of a folder.")
    if count < 1:
        raise UserError(f"--count {count}: give a whole number above 0.")
    wanted = None if labels is None else whole_numbers("--labels", labels, "3, or 0,1,2")
    generator = load(run, role="generator", code=code, trust_code=trust_code)
    made = generator.sample(count, seed, wanted[0] if wanted and len(wanted) == 1 else wanted, truncation)
    _write_images(made, out)
    print(f"{count} images of {generator.config['recipe']} on {generator.config['data']['title']}: {out}")



def translate(
    run: Run, images: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGES ...")]], *, out: Path,
    to: Names = None, labels: Names = None, size: Number = None, device: Text = None, code: Code = (),
    trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Translate image files with a trained translator; several targets also give one contact sheet.

    Args:
        run: A run folder or an artefact.
        images: Image files, or folders of them. The shorter side of each image is resized to the size in training.
        out: The folder to write to. Each file is named IMAGE-TARGET.png.
        to: What to change the images to, by name, with commas: blond_hair,"not glasses". If left out: all targets.
        labels: The attributes that all these images have, with commas. If left out: the run's discriminator guesses
            them.
        size: Resize the shorter side of each image to this instead.
        device: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Write even if the folder already has files.
    """
    from frugan.translating import translate as run_on

    written = run_on(
        run, images, out=out, to=listed(to) or (), labels=listed(labels), size=size, device=device, code=code,
        trust_code=trust_code, overwrite=overwrite,
    )
    print(f"{len(written)} files in {out}")



def classify(
    run: Run,
    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGES ...", help_behavior_hint="(required)")]], *,
    out: File = None,
    split: Text = None, device: Text = None, json: Json = False, code: Code = (), trust_code: Trust = False,
    overwrite: Flag = False,
) -> None:
    """Tell the class of images with a trained classifier, and how often it is right where the classes are known.

    Args:
        run: A run folder or an artefact.
        images: Image files, folders of them, or a source such as mnist (frugan data list). Class folders with the
            names of the classifier's classes say what is right. Images are resized as in training.
        out: Write every image's path, class, probability and own class to this FILE.csv.
        split: train or test, of a source that has both. If left out: test.
        device: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    from frugan.labelling import classify as tell

    if out is not None and out.suffix != ".csv":
        raise UserError(f"--out {out}: a table is written; give the name of a FILE.csv.")
    if out is not None and out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite.")
    found = tell(run, images, split=split, device=device, code=code, trust_code=trust_code)
    if out is not None:
        found.save(out)
    if json:
        print_json(found.as_dict())
    else:
        found.show(every=out is None)


def _write_images(made: Any, out: Path) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from frugan.pictures import save_grid

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        np.savez_compressed(out, images=made)
    elif out.suffix == ".png":
        save_grid(torch.from_numpy(made).permute(0, 3, 1, 2), out)
    else:
        out.mkdir(exist_ok=True)
        for number, image in enumerate(made):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(out / f"{number:06d}.png")
