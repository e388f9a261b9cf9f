"""Faces drawn from shapes: many at once, layer over layer, as arrays over (face, row, column).

Read `draw` first: it names the layers in their order. The bytes are computed from the random numbers only by additions,
multiplications, divisions, roots and comparisons of float32, which every machine rounds alike. A face does not depend
on the faces drawn with it. The reader `portraits` says which faces there are.
"""

from __future__ import annotations

from frugan.data.faces._canvas import Array, Canvas
from frugan.data.faces._features import (
    paint_age,
    paint_eyes,
    paint_glasses,
    paint_mouth,
    paint_nose,
    paint_skull,
    skin_colour,
)
from frugan.data.faces._hair import (
    hair_colour,
    paint_beard,
    paint_brows,
    paint_hair_behind,
    paint_hair_in_front,
    paint_hat,
)
from frugan.data.faces._head import Faces, cut_window, place_head
from frugan.data.faces._scene import light_up, paint_background, paint_body

__all__ = ["CHANCES", "Faces", "draw"]

CHANCES = (
    "shift_x", "shift_y", "scale", "tilt", "yaw", "light", "glow", "warmth", "wide", "tall", "jaw", "hair", "part",
    "volume", "hairline", "bald", "brows", "eyes", "iris", "lids", "nose", "mouth", "frames", "beard", "hat", "brim",
    "cloth", "skin", "background", "scene",
)  # fmt: skip
"""What is random in a face besides its attributes, each uniform on [0, 1)."""


def draw(faces: Faces, height: int, width: int) -> Array:
    """Draw faces: uint8 ``[n, height, width, 3]``."""
    count = len(faces.chances["yaw"])
    canvas = Canvas(count, height, width)
    head = place_head(faces, canvas)
    skin = skin_colour(faces)
    hair = hair_colour(faces)
    paint_background(faces, canvas)
    paint_hair_behind(faces, canvas, head, hair)
    paint_body(faces, canvas, head, skin)
    paint_skull(faces, canvas, head, skin)
    paint_age(faces, *cut_window(canvas, head, 0.60, -0.50, 0.50), skin)
    eyes = cut_window(canvas, head, 0.55, -0.34, 0.20)
    paint_eyes(faces, *eyes)
    paint_nose(faces, *cut_window(canvas, head, 0.36, -0.20, 0.32), skin)
    paint_mouth(faces, *cut_window(canvas, head, 0.42, 0.18, 0.58), skin)
    paint_beard(faces, *cut_window(canvas, head, 0.65, -0.02, 0.75), hair)
    paint_brows(faces, *eyes, hair)
    paint_hair_in_front(faces, canvas, head, hair)
    paint_hat(faces, *cut_window(canvas, head, 0.85, -0.85, -0.10))
    paint_glasses(faces, *cut_window(canvas, head, 0.70, -0.28, 0.18))
    return light_up(faces, canvas)
