"""Translating: image files through a trained translator, one file for each target, or one sheet to compare them.

Every image is resized so that its shorter side has the size of training. Its aspect is kept, but for the few pixels
that make each side a multiple of what the network needs. It is translated whole, not in tiles. In all else it is
converted as the images of training are.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import files, owncode, terminal
from frugan.arguments import File, Name, Names, names_in, strict
from frugan.countdown import Countdown
from frugan.files import expanded
from frugan.owncode import Code
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import numpy as np

    from frugan.artefact import Translator
    from frugan.data import Named

ROWS = 64
"""Of more images than this the sheet shows the first ones: all rows are held in memory, and must fit in one picture."""


@strict
def translate(
    run: File, images: File | Sequence[File], *, out: File, to: Names = (),
    labels: Names | None = None, size: int | None = None, device: Name | None = None,
    code: Code | None = None, trust_code: bool = False, overwrite: bool = False,
) -> list[Path]:
    """Translate image files, or those of folders and archives, and return what was written into the folder `out`.

    Args:
        run: a run folder or an artefact that ships a translator.
        to: targets by name; every domain that the translator knows if left out. An image becomes
            ``NAME-TARGET.png`` for each; several targets also ``sheet.png``, a row for each of the first 64 images,
            which begins with the image.
        labels: the attributes that all images have, for a translator of attributes; left out, the run's discriminator
            predicts them.
        size: the shorter side that images are brought to, instead of the one of the training.
        code: your files that add what the network needs; a run remembers its own.
        trust_code: run the code that a run names even if you have not run it on this machine.

    A file of a folder that cannot be used is named, with the reason, and passed over. Raises UserError for a target, a
    label or a size that will not do (before anything is read), for a file that is no image, and if `out` holds
    something.
    """
    from frugan import data
    from frugan.engine.precision import choose_device

    out = Path(out)
    if out.exists() and (not out.is_dir() or not files.is_empty(out)) and not overwrite:
        raise UserError(f"{out} already exists. Give another --out, or --overwrite.")
    owncode.load_of(run, code, trust_code=trust_code)
    translator, targets = _opened(run, names_in(to), str(choose_device(device)))
    told = None if labels is None else names_in(labels)
    translator.check_labels(told)
    channels, *trained = translator.config["image"]
    multiple = getattr(translator.module, "multiple", 1)
    wanted = min(trained) if size is None else _checked(size, multiple, min(trained))
    sources = [_existing(path) for path in ([images] if isinstance(images, (str, os.PathLike)) else images)]
    if not sources:
        raise UserError("No images were given. Name files or folders: frugan translate RUN IMAGES --out FOLDER.")
    # All are opened before anything is written: `out` may lie in one of the folders.
    opened = [(path, data.read_images(str(path), size=None, channels=channels, whole=True)) for path in sources]
    written: list[Path] = []
    rows: list[list[Any]] = []
    names = _Names(targets)
    skipped = 0
    countdown = Countdown(terminal.tell, "Translating", sum(len(inside) for _, inside in opened))
    for source, inside in opened:
        for image in inside:
            countdown.at(len(written) // len(targets) + skipped)
            pixels, reason = _resized(image, wanted, multiple)
            if pixels is None and image.path == str(source):
                raise UserError(f"{image.path} cannot be translated: {reason}.")
            if pixels is None:
                terminal.tell(f"frugan: set aside: {image.path}: {reason}")
                skipped += 1
                continue
            row = [pixels]
            for target, name in zip(targets, names.of(Path(image.path)), strict=True):
                made = translator.translate(pixels[None], target, None if told is None else list(told))[0]
                written.append(_write(made, out / name))
                row.append(made)
            if len(targets) > 1 and len(rows) < ROWS:
                rows.append(row)
    if not written:
        raise UserError(f"None of the {skipped:,} files can be translated, for the reasons above. Name other images.")
    if rows:
        if len(written) > ROWS * len(targets):
            terminal.tell(f"sheet.png shows the first {ROWS} of {len(written) // len(targets):,} images.")
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


def _checked(size: int, multiple: int, trained: int) -> int:
    """The side that the user wants. Raises UserError where no network of this kind could have a use for it."""
    least = min(2 * multiple, trained)  # of a single pixel, deep inside the network, norms find no statistics
    most = math.isqrt(_most_pixels())
    if not least <= size <= most:
        raise UserError(f"--size {size}: give a side in pixels, from {least} to {most:,}; training had {trained}.")
    return size


def _most_pixels() -> int:
    """The pixels that a picture may have: as many as of one that is read."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or sys.maxsize


def _existing(given: File) -> Path:
    path = expanded(given)
    if not path.exists():
        raise UserError(f"{given}: there is no such file or folder. Give images, or folders of images.")
    return path


def _resized(image: Named, size: int, multiple: int) -> tuple[np.ndarray[Any, Any] | None, str]:
    """An image as bytes ``[height, width, channels]`` of that shorter side; or None, and why it cannot be."""
    import numpy as np
    from PIL import Image

    if image.pixels is None:
        return None, image.reason
    channels, *own = image.pixels.shape
    height, width = (max(1, round(side * size / min(own) / multiple)) * multiple for side in own)
    if height * width > _most_pixels():
        return None, f"would become {width:,} x {height:,} pixels, and {_most_pixels():,} are the most: cut it first"
    plain = Image.fromarray(image.pixels[0] if channels == 1 else image.pixels.transpose(1, 2, 0))
    return np.asarray(plain.resize((width, height), Image.Resampling.LANCZOS)).reshape(height, width, channels), ""


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
