"""Glyphs: digits and letters that frugan draws itself, so this data set is always there.

They are white on black like MNIST, in the text fonts that come with matplotlib, each with a random stroke width,
rotation, scale, shear and shift. Image i of a split depends on (split, i) only, so every machine with the same fonts
and the same Pillow has the same images. Letters are capitals. Images are drawn in the size that is asked for, not
resized.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from frugan import seeds
from frugan.data.readers import Content, Found, Item, Reader
from frugan.registry import UserError, suggest

KINDS = {
    "digits": string.digits,
    "letters": string.ascii_uppercase,
    "all": string.digits + string.ascii_uppercase,
}
_WHAT = {"digits": "digits", "letters": "capital letters", "all": "digits and capital letters"}
COUNTS = {"train": 60_000, "test": 10_000}
SIDE = 28  # pixels, where no size is asked for
# Text fonts only: matplotlib also carries symbols, display sizes and old-style figures. Tests see to every glyph.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
FACTORS = {"rotation": 2, "shear": 3, "height": 4, "width": 5, "right": 6, "down": 7}
"""What varies continuously from glyph to glyph -> its column in `chances`."""
_DRAWING = 1  # raise when the drawing changes: packs of an older one are then made anew
_SEED = 0
_STROKES = 5  # widths, from the font's own to one pixel (at 28) more on either side
_BOX = 20 / 28  # share of the image that the longer side of an upright glyph fills, as in MNIST
_ROTATION, _SHEAR = math.radians(12), 0.25
_SCALE, _STRETCH = (0.85, 1.1), (0.8, 1.15)
_SHIFT = 2 / 28  # share of the image


def chances(kind: str, split: str) -> np.ndarray:
    """The numbers in 0 to 1 that the glyphs of a split are drawn from, ``[count, 8]``: font, stroke, then `FACTORS`."""
    generator = seeds.generator(_SEED, "glyphs", kind, split)
    return torch.rand((COUNTS[split], 8), generator=generator, dtype=torch.float64).numpy()


def draw(
    kind: str, split: str, numbers: Sequence[int], size: tuple[int, int], random: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """The images with the given numbers, uint8 ``[height, width, 1]`` each; `size` is (height, width).

    With other `random` numbers than the split's `chances`, as they would be then: a glyph turned by a little more.
    """
    characters = KINDS[kind]
    height, width = size
    side = min(size)
    detail = 4 if side < 64 else 2  # template pixels per image pixel
    random = chances(kind, split) if random is None else random
    affine = _affine(random, size, detail)
    for number in numbers:
        font, stroke = FONTS[int(random[number, 0] * len(FONTS))], int(random[number, 1] * _STROKES)
        template = _template(characters[number % len(characters)], font, stroke, side, detail)
        # Sampled at twice the resolution and averaged, so that edges are smooth.
        large = template.transform(
            (2 * width, 2 * height), Image.Transform.AFFINE, tuple(affine[number]), Image.Resampling.BILINEAR
        )
        yield np.asarray(large.reduce(2))[:, :, None]


def _affine(random: np.ndarray, size: tuple[int, int], detail: int) -> np.ndarray:
    """Coefficients ``[count, 6]`` that map a pixel of the doubled image to its place in the template."""

    def between(column: int, low: float, high: float) -> np.ndarray:
        return low + (high - low) * random[:, column]

    height, width = size
    side = min(size)
    angle, shear = between(2, -_ROTATION, _ROTATION), between(3, -_SHEAR, _SHEAR)
    tall, wide = between(4, *_SCALE), between(5, *_STRETCH)
    cos, sin = np.cos(angle), np.sin(angle)
    # Template -> image is rotation . shear . scale; its inverse, row by row, times template pixels per doubled pixel.
    pitch = detail / 2
    a, b = pitch * (cos + shear * sin) / (tall * wide), pitch * (sin - shear * cos) / (tall * wide)
    d, e = pitch * -sin / tall, pitch * cos / tall
    x, y = width + 2 * side * between(6, -_SHIFT, _SHIFT), height + 2 * side * between(7, -_SHIFT, _SHIFT)
    centre = side * detail / 2
    return np.stack([a, b, centre - a * x - b * y, d, e, centre - d * x - e * y], axis=1)


@functools.lru_cache(maxsize=1024)
def _template(character: str, font: str, stroke: int, side: int, detail: int) -> Image.Image:
    """One glyph, upright and centred, in a square of ``side * detail`` pixels."""
    square = side * detail
    thickness = round(stroke * square / 28 / (_STROKES - 1))
    if "Bold" in font or "Bol" in font or font == "cmb10":
        thickness //= 2
    box = _font(font, square).getbbox(character)
    fitted = _font(font, max(1, round(square * (_BOX * square) / max(box[2] - box[0], box[3] - box[1]))))
    image = Image.new("L", (square, square))
    left, top, right, bottom = fitted.getbbox(character)
    place = ((square - left - right) / 2, (square - top - bottom) / 2)
    ImageDraw.Draw(image).text(place, character, fill=255, font=fitted, stroke_width=thickness)
    return image


@functools.lru_cache(maxsize=2048)
def _font(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # not pyplot, which would set up windows

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    # The basic layout: the same with and without the shaping library that some builds of Pillow carry.
    return ImageFont.truetype(path, pixels, layout_engine=ImageFont.Layout.BASIC)


def _kind(source: str) -> str:
    kind = source.partition(":")[2] or "digits"
    if kind not in KINDS:
        raise UserError(f"{source}: there are no glyphs called '{kind}'. {suggest(kind, KINDS)}")
    return kind


def _find(source: str, split: str, size: tuple[int, int] | None) -> Found:
    kind = _kind(source)
    size = size or (SIDE, SIDE)

    def open_() -> Content:
        characters = KINDS[kind]

        def read(numbers: Sequence[int]) -> Iterator[Item]:
            images = draw(kind, split, numbers, size)
            return (Item(f"glyph {number}", image) for number, image in zip(numbers, images, strict=True))

        labels = np.arange(COUNTS[split], dtype=np.int64) % len(characters)
        return Content(COUNTS[split], read, labels, tuple(characters))

    libraries = {name: importlib.metadata.version(name) for name in ("pillow", "matplotlib")}
    return Found(f"glyphs-{kind}", {"glyphs": kind, "drawing": _DRAWING, "size": list(size), **libraries}, open_)


variant = Reader(
    what="digits and letters drawn with matplotlib's fonts, built in: glyphs:digits, glyphs:letters, glyphs:all",
    typed="glyphs",
    accepts=lambda source: source == "glyphs" or source.startswith("glyphs:"),
    splits=lambda source: ("train", "test") if _kind(source) else (),
    find=_find,
    built_in=tuple((f"glyphs:{kind}", f"drawn {what}", len(KINDS[kind])) for kind, what in _WHAT.items()),
    terms="Drawn by frugan with the fonts that come with matplotlib; nobody else has a claim to them.",
)
