"""Translating: image files through a trained translator, one file for each target, or one sheet to compare them.

Every image is resized so that its shorter side has the size of training. Its aspect is kept, but for the few pixels
that make each side a multiple of what the network needs. It is translated whole, not in tiles.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import files, owncode
from frugan.arguments import File, Name, Names, names_in, strict
from frugan.owncode import Code
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import numpy as np

    from frugan.artefact import Translator

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@strict
def translate(
    run: File, images: File | Sequence[File], *, out: File, to: Names = (),
    labels: Names | None = None, size: int | None = None, device: Name | None = None,
    code: Code | None = None, trust_code: bool = False, overwrite: bool = False,
) -> list[Path]:
    """Translate image files, or those of folders, and return what was written into the folder `out`.

    Args:
        run: a run folder or an artefact that ships a translator.
        to: targets by name; every domain that the translator knows if left out. An image becomes
            ``NAME-TARGET.png`` for each; several targets also ``sheet.png``, rows that begin with the image.
        labels: the attributes that all images have, for a translator of attributes; left out, the run's discriminator
            predicts them.
        size: the shorter side that images are brought to, instead of the one of the training.
        code: your files that add what the network needs; a run remembers its own.
        trust_code: run the code that a run names even if you have not run it on this machine.

    A file of a folder that cannot be read is named and passed over. Raises UserError for a target that is not known
    (before anything is read), for a file that is no image or of other channels, and if `out` holds something.
    """
    from frugan.engine.precision import choose_device

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise UserError(f"{out} already exists. Give another --out, or --overwrite.")
    owncode.load_of(run, code, trust_code=trust_code)
    translator, targets = _opened(run, names_in(to), str(choose_device(device)))
    chosen = _image_files([images] if isinstance(images, (str, os.PathLike)) else images)
    channels, *trained = translator.config["image"]
    wanted = size or min(trained)
    if wanted < 1:
        raise UserError(f"--size {wanted}: give a side in pixels, 1 or more.")
    written: list[Path] = []
    rows: list[list[Any]] = []
    names = _Names(targets)
    for path, named in chosen:
        pixels = _read(path, channels, wanted, getattr(translator.module, "multiple", 1), named)
        if pixels is None:
            continue
        row = [pixels]
        for target, name in zip(targets, names.of(path), strict=True):
            made = translator.translate(pixels[None], target, None if labels is None else list(names_in(labels)))[0]
            written.append(_write(made, out / name))
            row.append(made)
        rows.append(row)
    if not rows:
        raise UserError(f"None of the {len(chosen)} files could be read as an image.")
    if len(targets) > 1:
        written.append(_write(_sheet(rows), out / "sheet.png"))
    return written


def _opened(run: File, to: Sequence[str], device: str) -> tuple[Translator, tuple[str, ...]]:
    """The translator that knows the targets (of two directions, the one that leads there), and the targets."""
    from frugan.artefact import NOT, open_shipped

    translator: Translator = open_shipped(run, role="translator", device=device)
    known = [translator]
    if translator.config["domains"]["kind"] == "direction" and not (Path(run) / "config.json").is_file():
        role = translator.config["role"]
        back = "_".join([role.partition("_")[0], role.partition("_")[2][::-1]])
        known.append(open_shipped(run, role=back, device=device))
    targets = tuple(to) or translator.domains
    if not targets:
        raise UserError(
            f"{run} takes the labels of two data sets, which have no names here. Use frugan.load in Python."
        )

    def knows(one: Translator, target: str) -> bool:
        attribute = target.removeprefix(NOT) if one.config["domains"]["kind"] == "attributes" else target
        return attribute in one.domains

    for one in known:
        if all(knows(one, target) for target in targets):
            return one, targets
    everything = [name for one in known for name in one.domains]
    wrong = next((target for target in targets if not any(knows(one, target) for one in known)), None)
    if wrong is None:
        raise UserError(
            f"--to {','.join(targets)}: these need two different translators. Translate to one of them at a time."
        )
    raise UserError(f"{run} cannot translate to '{wrong}'. {suggest(wrong, everything)}")


def _image_files(images: Sequence[File]) -> list[tuple[Path, bool]]:
    """The image files, each with whether it (not its folder) was named. Raises UserError if there are none."""
    files: list[tuple[Path, bool]] = []
    for given in map(Path, images):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{given} has no image files ({', '.join(SUFFIXES)}).")
            files += [(path, False) for path in inside]
        elif given.is_file():
            files.append((given, True))
        else:
            raise UserError(f"{given}: there is no such file or folder. Give images, or folders of images.")
    if not files:
        raise UserError("No images were given. Name files or folders: frugan translate RUN IMAGES --out FOLDER.")
    return files


def _read(path: Path, channels: int, size: int, multiple: int, named: bool) -> np.ndarray[Any, Any] | None:
    """One image as bytes ``[height, width, channels]``, resized; None for one of a folder that cannot be used."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            grey = image.mode in ("1", "L", "LA", "I", "F", "I;16")
            if grey != (channels == 1):
                given, taken = ("grey", "colour") if grey else ("in colour", "grey")
                raise UserError(f"{path} is {given}, but this translator needs {taken} images.")
            image = image.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, UserError) as error:
        refusal = error if isinstance(error, UserError) else UserError(f"{path} cannot be read as an image: {error}.")
        if named:
            raise refusal from None
        print(f"frugan: set aside: {refusal}", file=sys.stderr)
        return None
    scale = size / min(image.size)
    width, height = (max(1, round(side * scale / multiple)) * multiple for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return pixels.reshape(height, width, channels)


def _sheet(rows: Sequence[Sequence[Any]]) -> np.ndarray[Any, Any]:
    """Rows of images side by side on white, each row as high as its images."""
    import numpy as np

    gap = 2
    high = sum(row[0].shape[0] + gap for row in rows) + gap
    wide = max(sum(image.shape[1] + gap for image in row) for row in rows) + gap
    sheet = np.full((high, wide, rows[0][0].shape[2]), 255, dtype=np.uint8)
    top = gap
    for row in rows:
        left = gap
        for image in row:
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
            left += image.shape[1] + gap
        top += row[0].shape[0] + gap
    return sheet


def _write(pixels: np.ndarray[Any, Any], path: Path) -> Path:
    from PIL import Image

    with files.whole(path) as beside:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(beside)
    return path


class _Names:
    """Names of the files that are written: NAME-TARGET.png, with a number where another one has that name already.

    Two folders may hold files of one name, `a b` and `a-b` are written alike, and some disks know no capitals.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self.taken: set[str] = set()
        self.targets: list[str] = []
        for target in targets:
            plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in target).strip("-")
            self.targets += self._free(lambda end, plain=plain: [f"{plain}{end}"])
        self.taken = set()

    def of(self, path: Path) -> list[str]:
        """A name for each target of an image."""
        return self._free(lambda end: [f"{path.stem}{end}-{target}.png" for target in self.targets])

    def _free(self, names: Callable[[str], list[str]]) -> list[str]:
        for number in itertools.count(1):
            found = names("" if number == 1 else f"-{number}")
            if not {name.casefold() for name in found} & self.taken:
                break
        self.taken |= {name.casefold() for name in found}
        return found
