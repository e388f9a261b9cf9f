"""Pictures inside a page, as data addresses: small, in their own pixels; the page enlarges them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 100_000


def of_images(images: Any, columns: int) -> str:
    """A grid of images, bytes ``[n, h, w, c]``, as a data address."""
    import torch

    from frugan import pictures

    stacked = torch.from_numpy(images).permute(0, 3, 1, 2)
    return _address(pictures.grid(stacked, columns, scale=1, gap=1))


def of_rows(*rows: Any) -> str:
    """Rows of images under each other as a data address; each row is bytes ``[n, h, w, c]`` with the same n."""
    import numpy as np

    return of_images(np.concatenate(rows), len(rows[0]))


def of_preview(picture: Image.Image, side: int) -> str:
    """A preview of a run as a data address, shrunk so that its images are `side` pixels high again."""
    from PIL import Image

    from frugan import pictures

    scale = pictures.enlargement(side)
    return _address(picture.resize((picture.width // scale, picture.height // scale), Image.Resampling.NEAREST))


def _address(picture: Image.Image) -> str:
    red, green, blue = picture.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        picture = red
    kind, data = "png", _encoded(picture, "PNG", optimize=True)
    if len(data) > MOST_BYTES:
        kind, data = "webp", _encoded(picture, "WEBP", quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
