"""Hair behind and in front of the face, beards, and the hat."""

from __future__ import annotations

import numpy as np

from frugan.data.faces._canvas import Array, Canvas, box, curve, ellipse, stripes
from frugan.data.faces._head import Colours, Faces, Head, either, outline_face

HAIR: dict[str, Colours] = {
    "black_hair": ((0.05, 0.05, 0.07), (0.13, 0.11, 0.12)),
    "blond_hair": ((0.97, 0.83, 0.45), (0.90, 0.71, 0.28)),
    "brown_hair": ((0.42, 0.23, 0.10), (0.33, 0.17, 0.07)),
}
GINGER: Colours = ((0.86, 0.38, 0.13), (0.75, 0.28, 0.08))
GREY: Colours = ((0.90, 0.91, 0.93), (0.74, 0.75, 0.79))
HATS = ((0.82, 0.16, 0.20), (0.12, 0.50, 0.42), (0.16, 0.20, 0.52), (0.50, 0.20, 0.56), (0.92, 0.46, 0.62))


def hair_colour(faces: Faces) -> Array:
    """The colour of the hair, by the attribute. Without one: ginger, or white if old. Old hair is greyer."""
    old = faces.bits["old"]
    colour = either(old, faces.shade("hair", GREY), faces.shade("hair", GINGER))
    for name, colours in HAIR.items():
        own = faces.shade("hair", colours)
        aged = own + 0.12 * (faces.shade("hair", GREY) - own)
        colour = either(faces.bits[name], either(old, aged, own), colour)
    return colour


def is_bald(faces: Faces) -> Array:
    """Which faces are bald. A face with a hair colour or long hair is not: attributes must be visible."""
    haired = faces.bits["black_hair"] | faces.bits["blond_hair"] | faces.bits["brown_hair"] | faces.bits["long_hair"]
    return (~haired & (faces.chances["bald"] < 0.6)).astype(np.float32)[:, None, None]


def locks(faces: Faces, head: Head, hair: Array) -> Array:
    """The hair's colour at every pixel: with strands, a band of light, and grey strands on old people."""
    strands = stripes(head.x * 7 + 0.5 * head.y)
    band = np.clip(1 - np.abs(head.y + 0.42) * 6, 0, 1)
    glossy = hair * (1 - 0.16 * strands)[:, None] + (0.10 * band)[:, None]
    grey = faces.shade("hair", GREY) - glossy
    streak = np.clip(stripes(head.x * 5 + 0.9 * head.y + 0.3) * strands * 3 - 0.9, 0, 1) * faces.bit("old") * 0.35
    return glossy + streak[:, None] * grey


def paint_hair_behind(faces: Faces, canvas: Canvas, head: Head, hair: Array) -> None:
    """Paint long hair behind the face, down to the shoulders."""
    shown = faces.bit("long_hair") * (1 - is_bald(faces))
    more = faces.between("volume", 0.08, 0.15)
    x = head.x + head.turn * 0.05
    top = ellipse(x, head.y + 0.05, head.wide + more, head.tall + 0.08)
    fall = box(x, head.y - 0.32, head.wide + more * 1.1, 0.50, 0.16)
    whole = under_hat(faces, head, np.minimum(top, fall))
    canvas.paint(canvas.cover(whole) * shown, locks(faces, head, hair * 0.80))


def paint_hair_in_front(faces: Faces, canvas: Canvas, head: Head, hair: Array) -> None:
    """Paint hair around the face: down to the hairline, and at the sides to the ears, or long to the shoulders."""
    shown = 1 - is_bald(faces)
    long = faces.bit("long_hair")
    more = faces.between("volume", 0.03, 0.09)
    outer = ellipse(
        head.x + head.turn * 0.04, head.y + 0.05, head.wide + more, head.tall + more * 0.9
    )
    part = faces.between("part", -0.14, 0.14)
    face_x = head.x - head.at(0.0, 0.10)
    line = faces.between("hairline", 0.33, 0.40)
    # The hairline: low at the temples, its highest point at the part.
    over = (face_x - part) / head.wide
    edge = head.y + line - np.minimum(0.42 * over * over, line - 0.13)
    sides = np.abs(face_x) - head.wide * 0.86
    opening = np.maximum(-edge, sides)
    short = np.maximum(outer, head.y - 0.06)
    strands = np.maximum(
        box(head.x + head.turn * 0.05, head.y - 0.25, head.wide + more, 0.52, 0.10),
        -ellipse(head.x - head.at(0.0, 0.10), head.y - 0.15, head.wide * 0.89, head.tall * 1.3),
    )
    free = ellipse(face_x, head.y - 0.20, head.wide * 0.9, head.tall * 0.95)
    whole = np.maximum(either(long, np.maximum(np.minimum(outer, strands), -free), short), -opening)
    canvas.paint(canvas.cover(under_hat(faces, head, whole)) * shown, locks(faces, head, hair))


def under_hat(faces: Faces, head: Head, hair: Array) -> Array:
    """The hair that is seen under a hat: only the part below the brim."""
    return either(faces.bit("hat"), np.maximum(hair, -0.30 - head.y), hair)


def paint_brows(faces: Faces, canvas: Canvas, head: Head, hair: Array) -> None:
    thick = faces.between("brows", 0.020, 0.030)
    colour = either(faces.bits["old"], hair + 0.6 * (faces.shade("hair", GREY) - hair), hair * 0.85)
    for side in (-1.0, 1.0):
        x, y = head.x - head.at(side * 0.20, 0.14), head.y + 0.205
        stroke = curve(x, y - 0.10 * side * x, 0.105, 0.035, thick)
        canvas.paint(canvas.cover(stroke), colour)


def paint_beard(faces: Faces, canvas: Canvas, head: Head, hair: Array) -> None:
    """Paint a beard from the ears over the chin, and a moustache; the mouth stays free."""
    beard = faces.bit("beard")
    outline = outline_face(head, faces.between("jaw", 0.08, 0.32), 0.02)
    x, y = head.x - head.at(0.0, 0.15), head.y - 0.36
    free = box(x, y - 0.01, 0.205, 0.095, 0.09)
    edge = 0.22 - faces.between("beard", 0.0, 0.06)
    cheeks = ellipse(head.x - head.at(0.0, 0.10), head.y + 0.02, head.wide * 0.86, edge + 0.07)
    below = np.maximum(np.maximum(0.06 - head.y, -cheeks), outline)
    moustache = curve(x, head.y - 0.235, 0.155, 0.055, 0.034)
    whole = np.minimum(np.maximum(below, -free), moustache)
    aged = hair + 0.55 * (faces.shade("hair", GREY) - hair)
    colour = either(faces.bits["old"], aged, hair) * 0.80
    texture = 1 - 0.16 * stripes(head.x * 9 + head.y * 2)
    canvas.paint(canvas.cover(whole, 1.5) * beard, colour * texture[:, None])


def paint_hat(faces: Faces, canvas: Canvas, head: Head) -> None:
    """Paint a cap over the hair, with a band and a brim."""
    hat = faces.bit("hat")
    colour = faces.pick("hat", HATS)
    x = head.x - head.turn * 0.02
    dome = np.maximum(
        ellipse(x, head.y + 0.28, head.wide * 1.14, 0.44), head.y + 0.30
    )
    shade = 1 - 0.20 * np.clip(np.abs(x) * 2 - 0.2, 0, 1) - 0.10 * stripes(x * 6)
    canvas.paint(canvas.cover(dome) * hat, colour * shade[:, None])
    reach = faces.between("brim", 1.10, 1.36)
    brim = curve(x, head.y + 0.31, head.wide * reach, 0.05, 0.055)
    canvas.paint(canvas.cover(brim) * hat, colour * 0.72)
