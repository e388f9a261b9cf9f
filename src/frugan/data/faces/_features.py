"""The face itself: skull and ears, wrinkles, eyes, nose, mouth, and the glasses on it."""

from __future__ import annotations

import functools

import numpy as np

from frugan.data.faces._canvas import Array, Canvas, box, curve, ellipse
from frugan.data.faces._hair import is_bald
from frugan.data.faces._head import Colours, Faces, Head, either, outline_face

SKIN: dict[bool, Colours] = {
    False: ((1.00, 0.87, 0.76), (0.93, 0.72, 0.57)),
    True: ((0.62, 0.42, 0.30), (0.46, 0.29, 0.20)),
}
IRISES = ((0.25, 0.14, 0.07), (0.20, 0.42, 0.62), (0.24, 0.46, 0.26), (0.36, 0.38, 0.42))
FRAMES = ((0.06, 0.06, 0.08), (0.24, 0.10, 0.07), (0.10, 0.12, 0.30))


def skin_colour(faces: Faces) -> Array:
    """The colour of the skin, light or dark as the attribute says."""
    return either(faces.bits["dark_skin"], faces.shade("skin", SKIN[True]), faces.shade("skin", SKIN[False]))


def paint_skull(faces: Faces, canvas: Canvas, head: Head, skin: Array) -> None:
    """Paint ears and face: darker at the rim and on the side away from the light, with some red on the cheeks."""
    light = faces.between("light", -1, 1)
    free = 1 - faces.bit("long_hair") * (1 - is_bald(faces))
    for side in (-1.0, 1.0):
        at = side * head.wide * (1 - 0.04 * side * head.turn) - head.turn * 0.10
        ear_x, ear_y = head.x - at, head.y - 0.04
        canvas.paint(canvas.cover(ellipse(ear_x, ear_y, 0.085, 0.135)) * free, skin * 0.90)
        canvas.paint(canvas.cover(ellipse(ear_x, ear_y, 0.04, 0.08)) * free, skin * 0.76)
    outline = outline_face(head, faces.between("jaw", 0.08, 0.32))
    rim = np.clip(1 + outline / 0.22, 0, 1)
    across = head.x / head.wide
    shade = 1 - 0.16 * rim * rim + 0.10 * light * across - 0.05 * head.y
    tone = skin * shade[:, None]
    canvas.paint(canvas.cover(outline), tone)
    blush = np.array([0.88, 0.38, 0.36], np.float32)[None, :, None, None]
    for side in (-1.0, 1.0):
        cheek = ellipse(
            head.x - head.at(side * head.wide * 0.56, 0.16), head.y - 0.20, 0.13, (0.10)
        )
        canvas.paint(np.clip(-cheek * 4, 0, 0.20), blush)


def paint_age(faces: Faces, canvas: Canvas, head: Head, skin: Array) -> None:
    """Paint wrinkles: on the forehead, beside and under the eyes, and from the nose to the corners of the mouth."""
    old = faces.bit("old")
    line = np.maximum(0.011, canvas.pixel * 0.42 / head.unit)
    lines = []
    middle = head.x - head.at(0.0, 0.15)
    for number in range(3):
        lines.append(curve(middle, head.y + (0.27 + 0.075 * number), head.wide * 0.48, 0.02, line))
    for side in (-1.0, 1.0):
        eye_x, eye_y = head.x - head.at(side * 0.195, 0.13), head.y + 0.06
        for number in (-1, 0, 1):
            start_x, start_y = eye_x * side - 0.17, eye_y - 0.035 * number
            slope = start_y - 0.55 * number * start_x
            lines.append(curve(start_x - 0.035, slope, 0.045, 0.0, line))
        lines.append(curve(eye_x, eye_y - 0.165, 0.10, -0.035, line))
        fold_x = (head.x - head.at(side * 0.155, 0.16)) * side
        fold_y = head.y - 0.285
        lines.append(curve(fold_y, fold_x - 0.55 * fold_y, 0.10, -0.03, line))
    canvas.paint(canvas.cover(functools.reduce(np.minimum, lines), 1.3) * old * 0.75, skin * 0.58)


def paint_eyes(faces: Faces, canvas: Canvas, head: Head) -> None:
    """Paint the eyes: white, iris, pupil, a bright spot, and the line of the upper lid."""
    tall = faces.between("lids", 0.056, 0.078)
    wide = faces.between("eyes", 0.098, 0.115)
    iris = faces.pick("iris", IRISES)
    white = np.full((1, 3, 1, 1), 0.97, np.float32)
    dark = np.full((1, 3, 1, 1), 0.06, np.float32)
    for side in (-1.0, 1.0):
        near = wide * (1 - 0.25 * side * head.turn)
        x, y = head.x - head.at(side * 0.195, 0.13), head.y + 0.06
        opening = canvas.cover(ellipse(x, y, near, tall))
        canvas.paint(opening, white)
        look = x - head.turn * 0.06
        canvas.paint(opening * canvas.cover(ellipse(look, y, tall * 0.92, tall * 0.92)), iris)
        canvas.paint(opening * canvas.cover(ellipse(look, y, tall * 0.5, tall * 0.5)), dark)
        glint = ellipse(look - 0.02, y + 0.022, tall * 0.24, tall * 0.24)
        canvas.paint(canvas.cover(glint) * 0.9, white)
        lid = curve(x, y + tall, near, tall * 0.9, 0.013)
        canvas.paint(canvas.cover(lid) * 0.85, dark)


def paint_nose(faces: Faces, canvas: Canvas, head: Head, skin: Array) -> None:
    """Paint the nose: a bright bridge, a shadow on the side away from the light, tip and nostrils."""
    wide = faces.between("nose", 0.055, 0.078)
    light = faces.between("light", -1, 1)
    x, y = head.x - head.at(0.0, 0.24), head.y - 0.13
    side = np.where(light > 0, np.float32(-1), np.float32(1))
    ridge = head.x - head.at(0.0, 0.19) - head.turn * 0.25 * (head.y - 0.05)
    flank = ellipse(ridge - side * 0.03, head.y - 0.05, 0.035, 0.14)
    canvas.paint(np.clip(-flank * 16, 0, 0.30), skin * 0.70)
    under = ellipse(x, y - 0.055, wide * 1.15, 0.034)
    canvas.paint(canvas.cover(under) * 0.75, skin * 0.66)
    canvas.paint(canvas.cover(ellipse(x, y - 0.02, wide, 0.050), 2), skin * 0.98)
    glow = ellipse(x + side * 0.012, y - 0.005, wide * 0.5, 0.028)
    canvas.paint(np.clip(-glow * 18, 0, 0.35), np.minimum(skin * 1.22, 1))


def paint_mouth(faces: Faces, canvas: Canvas, head: Head, skin: Array) -> None:
    """Paint the mouth. Smiling, it is an open crescent with teeth; otherwise closed lips, level or a little down."""
    smile = faces.bit("smile")
    wide = faces.between("mouth", 0.12, 0.15)
    lips = skin * np.array([0.86, 0.52, 0.50], np.float32)[None, :, None, None]
    x, y = head.x - head.at(0.0, 0.18), head.y - 0.315
    broad = wide * 1.30
    across = np.clip(x / broad, -1, 1)
    lift = across * across
    # Between two parabolas that meet at the corners.
    top, bottom = 0.035 - 0.075 * lift, 0.125 - 0.165 * lift
    inside = np.maximum(np.maximum(top - y, y - bottom), np.abs(x) - broad)
    shown = canvas.cover(inside - 0.022)
    canvas.paint(shown * smile, lips)
    gap = canvas.cover(inside)
    canvas.paint(gap * smile, np.array([0.30, 0.06, 0.08], np.float32)[None, :, None, None])
    teeth = gap * canvas.cover(y - bottom + 0.022)
    canvas.paint(teeth * smile, np.full((1, 3, 1, 1), 0.98, np.float32))
    closed = 1 - smile
    stroke = curve(x, y - 0.035, wide, 0.0, 0.034 * (1 - 0.6 * lift))
    canvas.paint(canvas.cover(stroke) * closed, lips)
    seam = curve(x, y - 0.035, wide * 1.02, 0.004, 0.008)
    canvas.paint(canvas.cover(seam) * closed, lips * 0.45)


def paint_glasses(faces: Faces, canvas: Canvas, head: Head) -> None:
    """Paint glasses: two lenses with a reflection, rims, the bridge, and arms to the ears."""
    glasses = faces.bit("glasses")
    colour = faces.pick("frames", FRAMES)
    round_ = faces.chances["frames"].astype(np.float32)[:, None, None] * 3 % 1  # which form, apart from the colour
    rim = np.maximum(0.017, canvas.pixel * 0.5 / head.unit)
    y = head.y + 0.045
    outlines = []
    glass = np.full((1, 3, 1, 1), 0.92, np.float32)
    for side in (-1.0, 1.0):
        x = head.x - head.at(side * 0.20, 0.15)
        wide = 0.155 * (1 - 0.25 * side * head.turn)
        lens = either(round_ < 0.5, ellipse(x, y, wide, 0.145), box(x, y, wide, 0.118, 0.04))
        canvas.paint(canvas.cover(lens) * glasses * 0.22, glass)
        edge = np.abs(lens) - rim
        arm = curve(
            head.x - side * head.wide * 0.90, y + 0.03, 0.09, 0.0, rim * 0.8
        )
        outlines += [edge, np.maximum(arm, -lens)]
    bridge = curve(head.x - head.at(0.0, 0.17), y + 0.03, 0.05, 0.02, rim)
    canvas.paint(canvas.cover(functools.reduce(np.minimum, outlines, bridge)) * glasses, colour)
