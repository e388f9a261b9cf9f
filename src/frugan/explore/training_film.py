"""A run as a film: its previews, which always show the same latents, one after the other.

A run keeps its newest checkpoint only, but every preview. These are often at first and rarer later, so the film has as
many frames for its early steps as for its long end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from frugan.engine.run import RunFolder
from frugan.registry import UserError

_LINE = 16  # pixels of the line with the number of images


def previews_of(path: Path) -> list[tuple[int, Path]]:
    """The previews of a run, with how many real images had been shown. Raises UserError if there are none."""
    run = RunFolder(path)
    if not run.exists():
        raise UserError(f"{path} is not a run folder (recipe.json), so there are no previews to make a film of.")
    found = run.previews()
    if not found:
        raise UserError(f"{run.samples} has no previews (images-N.png), so there is nothing to make a film of.")
    return found


def frames_of(path: Path) -> Iterator[Image.Image]:
    """The previews of a run as frames of one size, with a line below that says how many images were shown."""
    size = None
    for images, picture in previews_of(path):
        try:
            with Image.open(picture) as file:
                shown = file.convert("RGB")
        except OSError as error:
            raise UserError(f"{picture} cannot be read as an image ({error}). Delete it, and run again.") from None
        size = size or shown.size
        if shown.size != size:
            shown = shown.resize(size, Image.Resampling.NEAREST)
        frame = Image.new("RGB", (size[0], size[1] + _LINE), "white")
        frame.paste(shown)
        text = ImageDraw.Draw(frame)
        text.text((4, size[1] + 2), f"{images:,} images", fill="black", font=ImageFont.load_default(11))
        yield frame
