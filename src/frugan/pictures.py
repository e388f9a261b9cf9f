"""Pictures of images for people to look at: grids, and films of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import files, terminal
from frugan.registry import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

FILMS = (".webp", ".gif", ".mp4")
"""What a film can be written as; MP4 needs the extra `video`."""


def enlargement(height: int) -> int:
    """The whole number by which small images are enlarged for people, so that they are about 56 pixels large."""
    return max(1, round(56 / height))


def grid(images: Tensor, columns: int | None = None, scale: int | None = None, gap: int = 2) -> Image.Image:
    """Bytes ``[n, c, h, w]`` (1 or 3 channels) side by side, row by row, on white.

    `columns` is the square root of n if left out; `scale` enlarges each pixel (a whole number, so that nothing is
    smoothed): if left out, small images are enlarged to about 56 pixels.
    """
    import numpy as np
    from PIL import Image

    count, _, height, width = images.shape
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    scale = scale or enlargement(height)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images.cpu().numpy()):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(canvas)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def save_grid(
    images: Tensor, path: Path, columns: int | None = None, scale: int | None = None, title: str = ""
) -> None:
    """Save `grid` as a PNG, making the folder if needed. Viewers show the `title`, which stands in the file."""
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    if title:
        about.add_itxt("Title", title)
    with files.whole(path) as beside:
        grid(images, columns, scale).save(beside, pnginfo=about)


def read(path: Path) -> tuple[Image.Image, str] | None:
    """The picture in a PNG file in colours, and its title, empty if it has none.

    None if it is damaged, which is said in a line: a picture that only shows how a run went ends nothing.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB"), str(picture.info.get("Title", ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        terminal.tell(f"frugan: {path} cannot be read as a picture, and is left out.")
        return None


def check_film(path: Path) -> None:
    """Raise UserError if `save_film` could not write a file of this name, before any image is made for it."""
    if path.suffix.lower() not in FILMS:
        raise UserError(f"{path}: a film is written as FILE{', FILE'.join(FILMS)}; give such a name.")
    if path.suffix.lower() == ".mp4":
        _av(path)


def save_film(frames: Iterable[Image.Image], path: Path, *, seconds: float = 0.08, hold: float = 0.0) -> None:
    """Write pictures of one size as a film that plays again and again; the same pictures give the same bytes.

    Args:
        frames: for example of `grid`; taken one by one, so they need not all be in memory for MP4.
        path: FILE.webp (small, and plays in browsers), FILE.gif (plays everywhere; 256 colours) or FILE.mp4 (the
            smallest; needs the extra `video`). Its folder is made if needed.
        seconds: how long each frame is shown. GIF knows hundredths, and players slow down below 0.02.
        hold: how long the last frame stays in addition.

    Raises UserError for another suffix, and for MP4 without the extra; ValueError without frames.
    """
    from PIL import Image

    check_film(path)
    shown = iter(frames)
    first = next(shown, None)
    if first is None:
        raise ValueError("a film needs at least one frame")
    if path.suffix.lower() == ".mp4":
        with files.whole(path) as beside:
            _save_mp4(itertools.chain([first], shown), beside, first.size, seconds, hold)
        return
    others = list(shown)
    times = [round(1000 * seconds)] * len(others) + [round(1000 * (seconds + hold))]
    # GIF without dithering, which would flicker. WebP with slight losses that nobody sees, which keeps films small.
    details: dict[str, Any] = {"quality": 90, "method": 4} if path.suffix.lower() == ".webp" else {"optimize": False}
    if path.suffix.lower() == ".gif":
        first, *others = [picture.quantize(256, dither=Image.Dither.NONE) for picture in (first, *others)]
    with files.whole(path) as beside:
        first.save(beside, save_all=True, append_images=others, duration=times, loop=0, **details)


def _save_mp4(frames: Iterable[Image.Image], path: Path, size: tuple[int, int], seconds: float, hold: float) -> None:
    """H.264 in the pixel format that every player knows. It needs even sides: a white column or row is added.

    Without x264's macroblock tree, which reads memory beyond small pictures: their bytes then differ from film to film.
    """
    from PIL import Image

    av = _av(path)
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as film:
        rate = Fraction(1 / seconds).limit_denominator(1000)
        options = {"crf": "16", "flags": "+bitexact", "threads": "1", "mbtree": "0"}
        stream = film.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = size[0] + size[0] % 2, size[1] + size[1] % 2, "yuv420p"
        canvas = Image.new("RGB", (stream.width, stream.height), "white")
        for picture in itertools.chain(frames, itertools.repeat(canvas, round(hold / seconds))):
            canvas.paste(picture)
            film.mux(stream.encode(av.VideoFrame.from_image(canvas)))
        film.mux(stream.encode())


def _av(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise UserError(
            f"{path}: to write MP4, install: pip install \"frugan[video]\". FILE.webp and FILE.gif need nothing more."
        ) from None
    return av
