"""What is around the face: the wall, neck and shoulders, and the light on everything."""

from __future__ import annotations

import numpy as np

from frugan.data.faces._canvas import Array, Canvas, box, curve, ellipse
from frugan.data.faces._head import Colours, Faces, Head, either

BLUE: Colours = ((0.36, 0.58, 0.88), (0.60, 0.80, 0.96))
SCENES: tuple[Colours, ...] = (
    ((0.95, 0.87, 0.72), (0.90, 0.78, 0.60)),  # sand
    ((0.95, 0.78, 0.76), (0.88, 0.64, 0.64)),  # rose
    ((0.78, 0.86, 0.68), (0.64, 0.76, 0.56)),  # sage
)
CLOTHS = (
    (0.80, 0.22, 0.24), (0.18, 0.42, 0.36), (0.22, 0.26, 0.48), (0.93, 0.91, 0.86), (0.46, 0.30, 0.54),
    (0.30, 0.31, 0.34), (0.90, 0.58, 0.20),
)  # fmt: skip


def paint_background(faces: Faces, canvas: Canvas) -> None:
    """Paint a wall that is lit from above, blue if the attribute says so."""
    scene = (faces.chances["scene"] * len(SCENES)).astype(int)
    other = np.stack([faces.shade("background", colours) for colours in SCENES])[scene, np.arange(len(scene))]
    colour = either(faces.bits["blue_background"], faces.shade("background", BLUE), other)
    side = faces.between("light", -1, 1)
    canvas.colours += colour * (0.97 - 0.10 * canvas.y + 0.08 * side * canvas.x)[:, None]


def paint_body(faces: Faces, canvas: Canvas, head: Head, skin: Array) -> None:
    """Paint shoulders in a shirt, the neck, and the shadow of the chin on the neck."""
    x = canvas.x - faces.between("shift_x", -0.12, 0.12)
    y = canvas.y - faces.between("shift_y", -0.04, 0.08)
    neck = box(x, y - 0.62, head.wide * 0.44, 0.34, 0.1)
    shade = 1 - 0.30 * np.clip((0.86 - y) / 0.3, 0, 1)
    shoulders = np.minimum(
        ellipse(x, y - 1.28, head.wide * 1.85, 0.55),
        curve(x, y - 0.80, head.wide * 0.75, 0.12, 0.07),
    )
    collar = ellipse(x, y - 0.72, head.wide * 0.44, 0.17)
    cloth = faces.pick("cloth", CLOTHS)
    fold = 1 - 0.22 * np.clip(np.abs(x) * 1.2 - 0.1, 0, 1)
    canvas.paint(canvas.cover(np.maximum(shoulders, -collar)), cloth * fold[:, None])
    canvas.paint(canvas.cover(np.maximum(neck, -np.maximum(-collar, 0.80 - y))), skin * shade[:, None])


def light_up(faces: Faces, canvas: Canvas) -> Array:
    """Make the whole image brighter or darker, warmer or cooler; return bytes, channels last."""
    glow, warm = faces.between("glow", 0.88, 1.06), faces.between("warmth", -0.05, 0.05)
    gain = np.stack([glow + warm, glow, glow - warm], axis=1)
    levels = np.clip(canvas.colours * gain, 0, 1) * 255 + 0.5
    return levels.astype(np.uint8).transpose(0, 2, 3, 1)
