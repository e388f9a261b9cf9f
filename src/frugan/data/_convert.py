"""Convert one encoded image or array to bytes of a given shape, or say why it cannot be used.

The rules, in the order in which they are applied (every pack's manifest holds them as `RULES`):

- **frames**: the first frame or page of an animated or many-page file is used.
- **orientation**: EXIF rotation and mirroring are applied.
- **depth**: 16-bit grey is scaled so that 65,535 becomes 255; nothing is clipped. Images of 32-bit or float pixels are
  set aside, since their files do not say which value is white.
- **transparency**: composited on white.
- **colour**: palette, CMYK, YCbCr and HSV become RGB. If one channel is asked for, colour becomes ITU-R 601 luma; if
  three are, grey is repeated. If no number is asked for, grey stays grey, and a source with any colour image is RGB.
- **size**: the shorter side is resized to the target with Lanczos, which averages over all pixels when it shrinks (no
  aliasing). The longer side is then cut to the target, equally at both ends. A smaller image is enlarged the same way;
  the number of enlarged images is reported.
- **set aside, with a reason**: empty files, files that are not images, truncated or damaged images, and images with
  more pixels than Pillow allows (decompression bombs).
"""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

RULES = {
    "frames": "the first",
    "orientation": "EXIF applied",
    "depth": "16-bit scaled by 255/65535; 32-bit and float files set aside",
    "transparency": "composited on white",
    "colour": "RGB; to one channel by ITU-R 601 luma; grey repeated for three",
    "size": "shorter side to the target by Lanczos with antialiasing, centre crop; smaller images enlarged and counted",
    "set aside": "empty, not an image, truncated or damaged, over Pillow's limit of pixels",
}

# What Pillow may open: plain pictures. Other formats start programs (EPS) or take nearly any file for theirs (TGA).
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_GREY_MODES = ("1", "L", "LA", "La")
_EXIF_ORIENTATION = 0x0112


class Skipped(NamedTuple):
    """An image that could not be used: where it is, and why not."""

    path: str
    reason: str


class Unusable(Exception):
    """One image cannot be used; the text says why. Code that reads many images catches it."""


class Converted(NamedTuple):
    """One image as bytes ``[channels, height, width]``, its own height and width, and whether it was enlarged."""

    pixels: np.ndarray
    own_size: tuple[int, int]
    enlarged: bool


def convert(content: bytes | Path | np.ndarray, size: tuple[int, int] | None, channels: int | None) -> Converted:
    """`content` as bytes of `size` (height, width) and `channels` (1 or 3), by the rules above.

    Args:
        content: an encoded image, the file of one, or uint8 pixels ``[height, width, 1 | 3 | 4]`` (4 is RGBA).
        size: None keeps the image's own size.
        channels: None keeps grey images grey and makes all others RGB.

    Raises:
        Unusable: with the reason, in words for the user.
    """
    if isinstance(content, np.ndarray):
        height, width, own = content.shape
        if size in (None, (height, width)) and own != 4 and channels in (None, own):
            return Converted(content.transpose(2, 0, 1), (height, width), enlarged=False)
        image = Image.fromarray(content[:, :, 0] if own == 1 else content)
    else:
        image = _decode(content)
    image = _eight_bits(image)
    if channels == 1 and image.mode != "L":
        image = image.convert("L")
    elif channels == 3 and image.mode != "RGB":
        image = image.convert("RGB")
    fitted, enlarged = _fit(image, size)
    pixels = np.asarray(fitted)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Converted(pixels, (image.height, image.width), enlarged)


@functools.cache
def formats() -> tuple[str, ...]:
    """The names in `_FORMATS` that this Pillow can open. Loads Pillow's plugins: call it before there are threads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def suffixes() -> frozenset[str]:
    """The file endings of those formats, lower case, with their dot."""
    known = set(formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def is_image(file: Path) -> bool:
    """Whether a file is one image, sound or not: its ending says so, or else its first bytes do."""
    if file.suffix.lower() in suffixes():
        return True
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=formats()):
            return True
    except OSError:
        return False
    except Exception:  # an image, but a damaged or a huge one: `convert` says so
        return True


def _decode(content: bytes | Path) -> Image.Image:
    """The first frame of an encoded image, upright."""
    try:
        if isinstance(content, Path) and content.exists() and not content.is_file():
            raise Unusable("not a file")  # a pipe would be waited for without end
        stream: IO[bytes] = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error
    with stream:
        if not stream.read(1):
            raise Unusable("empty file")
        stream.seek(0)
        try:
            image = Image.open(stream, formats=formats())
            # Pillow only warns up to twice its limit; here the limit is the limit.
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            return _upright(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Unusable(f"decompression bomb: over {Image.MAX_IMAGE_PIXELS:,} pixels") from error
        except UnidentifiedImageError as error:
            raise Unusable("not an image") from error
        except Exception as error:  # damaged files raise nearly anything, SyntaxError and struct.error among it
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unusable(f"truncated or damaged: {said}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) != 1
    except Exception:  # broken metadata beside sound pixels: shown as it lies, as viewers do
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, without transparency."""
    # What PNG and PPM hold in mode I never exceeds 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        pixels, clear = np.asarray(image), image.info.get("transparency")
        return _scaled(pixels if not isinstance(clear, int) else np.where(pixels == clear, 65535, pixels))
    if image.mode in ("I", "F"):
        raise Unusable(f"pixels of {'32-bit integers' if image.mode == 'I' else 'floats'}, whose range is not stated")
    wanted = "L" if image.mode in _GREY_MODES else "RGB"
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Of a PNG of 16 bits Pillow keeps the upper 8, but the transparent colour as it is.
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return image if image.mode == wanted else image.convert(wanted)
    except ValueError as error:
        raise Unusable(f"colours of mode {image.mode}, which Pillow cannot convert to {wanted}") from error


def _scaled(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _fit(image: Image.Image, size: tuple[int, int] | None) -> tuple[Image.Image, bool]:
    if size is None or image.size == size[::-1]:
        return image, False
    height, width = size
    scale = min(image.width / width, image.height / height)  # source pixels per target pixel
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    right, bottom = min(left + width * scale, image.width), min(top + height * scale, image.height)
    box = (max(left, 0.0), max(top, 0.0), right, bottom)
    # The filter sees beyond the box, so this equals resizing the whole and cropping then.
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box), scale < 1
