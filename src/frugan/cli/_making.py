"""Verbs that make networks, and use them: ``train``, ``sample``, ``translate``, ``classify``, ``export``."""

from __future__ import annotations

import inspect
import shlex
from json import dumps as json_text
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.arguments import said_once
from frugan.cli._arguments import (
    Code,
    File,
    Flag,
    Json,
    Keys,
    Names,
    Number,
    Run,
    Text,
    Trust,
    Value,
    check_out,
    is_key,
    key_values,
    listed,
    print_json,
    whole_numbers,
)
from frugan.cli._reading import reads
from frugan.registry import UserError


@reads("frugan.training.train", without=("quiet",))
def train(**given: Any) -> None:
    """Train a recipe; without one, what suits the images of --data. To continue a run, type the same command again."""
    from frugan.training import train as run

    run(**_without_recipe(given))



@reads("frugan.fitting.fit")
def fit(**given: Any) -> None:
    """Search for the best generator that is small and fast enough, train it, and export it: one command."""
    from frugan.fitting import fit as run

    run(**_without_recipe(given))


def _without_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """What was typed, where no recipe is named: then the first key=value stands in its place."""
    if not is_key(given.get("recipe") or ""):
        return given
    first = key_values([given["recipe"]])
    changes = said_once([*first.items(), *given.get("changes", {}).items()])
    return {**given, "recipe": None, "changes": changes}



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
    from frugan.countdown import counter

    check_out(out, overwrite, (".png", ".npz", ""))
    if count < 1:
        raise UserError(f"--count {count}: give a whole number above 0.")
    wanted = None if labels is None else whole_numbers("--labels", labels, "3, or 0,1,2")
    generator = load(run, role="generator", code=code, trust_code=trust_code)
    told = wanted[0] if wanted and len(wanted) == 1 else wanted
    _write_images(generator.sample(count, seed, told, truncation, counter(terminal.tell, "Making images")), out)
    terminal.say(f"{count} images of {generator.config['recipe']} on {generator.config['data']['title']}: {out}")



def translate(
    run: Run, images: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGES ...")]], *, out: Path,
    to: Names = None, labels: Names = None, size: Number = None, device: Text = None, code: Code = (),
    trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Translate image files with a trained translator; several targets also give one sheet, of the first 64 images.

    Args:
        run: A run folder or an artefact.
        images: Image files, or folders or .zip archives of them; every file of a folder counts. The shorter side of
            each image is resized to the size in training.
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
    terminal.say(f"{len(written)} files in {out}")



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
        split: train or test, of a source that has both. If left out: test. Of the run's own data, test is what training
            held out.
        device: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    from frugan.labelling import classify as classified

    check_out(out, overwrite, (".csv",))
    found = classified(run, images, split=split, device=device, code=code, trust_code=trust_code)
    if json:
        print_json(found.as_dict())
    else:
        found.show(every=out is None)
    if out is not None:
        found.save(out)


def export(
    run: Run, keys: Keys = (), *, to: str = "onnx", out: Path, role: Text = None,
    place: Annotated[str | None, arg(name="for", metavar="PLACE", help_behavior_hint="")] = None,
    truncation: Value = None, json: Json = False, code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Write what a run ships for other software: an ONNX file, a web page, a folder for the Hub.

    It is written only if it computes the same as the run's own network: 64 inputs are compared, and the largest
    difference is printed.

    Args:
        run: A run folder or an artefact.
        keys: Options of the target as key=value, e.g. bytes=true. They are listed below.
        to: What to write: onnx, torch ... All are listed below.
        out: The folder to write to.
        role: Which network of the run: generator, translator, translator_ba, encoder, classifier. If left out: the
            main one.
        place: "phone" leaves out what runtimes on phones do not take.
        truncation: For a generator whose latents will be cut off at this value.
        overwrite: Replace files that are in OUT.
    """
    from frugan.exporting import export as write

    options = key_values(keys)
    for key in options.keys() & inspect.signature(write).parameters.keys() - {"options"}:
        raise UserError(f"{key}={options[key]}: this is no option of the target {to}. Give --{key.replace('_', '-')}.")
    terminal.tell(f"Exporting {run} to {to}, and comparing what is written with the run.")
    made = write(
        run, to, out=out, role=role, place=place, truncation=truncation, code=code, trust_code=trust_code,
        overwrite=overwrite, **options,
    )
    if json:
        print_json(made.as_dict())
    else:
        print(made)
        for file in (file for file in made.files if file.suffix == ".onnx"):
            terminal.say(f"Next: frugan check-export {shlex.quote(str(file))}")


def check_export(file: Positional[Annotated[Path, arg(metavar="FILE")]], *, json: Json = False) -> None:
    """Check an exported .onnx file: that nobody edited it, and that it makes the image here that it must make.

    Args:
        file: A model.onnx that frugan export wrote.
    """
    from frugan.exporting import check_file

    found = check_file(file)
    if json:
        print_json(found.as_dict())
    else:
        print(found)


def print_targets() -> None:
    """Print every target with its options, for the help of ``export``."""
    from frugan import exporting

    print("\nWhat --to takes, with its options as key=value:")
    for name in exporting.names():
        target = exporting.find(name)
        options = "".join(f" {key}={json_text(value)}" for key, value in target.options().items())
        terminal.say(f"  {name:12} {target.what}{'.' if not options else '; options:' + options}")


def _write_images(made: Any, out: Path) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from frugan import files
    from frugan.pictures import save_grid

    if out.suffix.lower() == ".npz":
        with files.whole(out) as beside, beside.open("wb") as file:  # numpy would add its ending to FILE.NPZ
            np.savez_compressed(file, images=made)
    elif out.suffix.lower() == ".png":
        save_grid(torch.from_numpy(made).permute(0, 3, 1, 2), out)
    else:
        with files.folder(out) as beside:
            for number, image in enumerate(made):
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(beside / f"{number:06d}.png")
