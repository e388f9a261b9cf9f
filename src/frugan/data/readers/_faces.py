"""Faces drawn from shapes: many at once, each layer over the ones before, as arrays over (face, row, column).

Shapes are signed distances (negative inside), so their edges are smooth at every size without supersampling. Lengths
are in halves of the image's shorter side, x to the right, y down, (0, 0) its middle. Between the random numbers and the
bytes only additions, multiplications, divisions, roots and comparisons of float32 stand, which every machine rounds
alike; a face does not depend on those drawn with it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]  # the ends of a range

# What is random in a face besides its attributes, each uniform on [0, 1).
CHANCES = (
    "shift_x", "shift_y", "scale", "tilt", "yaw", "light", "glow", "warmth", "wide", "tall", "jaw", "hair", "part",
    "volume", "hairline", "bald", "brows", "eyes", "iris", "lids", "nose", "mouth", "frames", "beard", "hat", "brim",
    "cloth", "skin", "background", "scene",
)  # fmt: skip

_SKIN: dict[bool, Colours] = {
    False: ((1.00, 0.87, 0.76), (0.93, 0.72, 0.57)),
    True: ((0.62, 0.42, 0.30), (0.46, 0.29, 0.20)),
}
_HAIR: dict[str, Colours] = {
    "black_hair": ((0.05, 0.05, 0.07), (0.13, 0.11, 0.12)),
    "blond_hair": ((0.97, 0.83, 0.45), (0.90, 0.71, 0.28)),
    "brown_hair": ((0.42, 0.23, 0.10), (0.33, 0.17, 0.07)),
}
_GINGER: Colours = ((0.86, 0.38, 0.13), (0.75, 0.28, 0.08))
_GREY: Colours = ((0.90, 0.91, 0.93), (0.74, 0.75, 0.79))
_BLUE: Colours = ((0.36, 0.58, 0.88), (0.60, 0.80, 0.96))
_SCENES: tuple[Colours, ...] = (
    ((0.95, 0.87, 0.72), (0.90, 0.78, 0.60)),  # sand
    ((0.95, 0.78, 0.76), (0.88, 0.64, 0.64)),  # rose
    ((0.78, 0.86, 0.68), (0.64, 0.76, 0.56)),  # sage
)
_CLOTHS = (
    (0.80, 0.22, 0.24), (0.18, 0.42, 0.36), (0.22, 0.26, 0.48), (0.93, 0.91, 0.86), (0.46, 0.30, 0.54),
    (0.30, 0.31, 0.34), (0.90, 0.58, 0.20),
)  # fmt: skip
_HATS = ((0.82, 0.16, 0.20), (0.12, 0.50, 0.42), (0.16, 0.20, 0.52), (0.50, 0.20, 0.56), (0.92, 0.46, 0.62))
_IRISES = ((0.25, 0.14, 0.07), (0.20, 0.42, 0.62), (0.24, 0.46, 0.26), (0.36, 0.38, 0.42))
_FRAMES = ((0.06, 0.06, 0.08), (0.24, 0.10, 0.07), (0.10, 0.12, 0.30))


@dataclass(frozen=True)
class Faces:
    """Faces to be drawn: attributes by name, bool ``[n]``, and `CHANCES` by name, ``[n]`` in [0, 1)."""

    bits: Mapping[str, Array]
    chances: Mapping[str, Array]

    def between(self, name: str, low: float, high: float) -> Array:
        """A chance as a number from `low` to `high`, ``[n, 1, 1]``."""
        return (low + (high - low) * self.chances[name]).astype(np.float32)[:, None, None]

    def bit(self, name: str) -> Array:
        """An attribute as 0.0 or 1.0, ``[n, 1, 1]``."""
        return self.bits[name].astype(np.float32)[:, None, None]

    def shade(self, name: str, colours: Colours) -> Array:
        """A colour of a range by a chance, ``[n, 3, 1, 1]``."""
        place = self.chances[name].astype(np.float32)[:, None]
        first, last = (np.array(colour, np.float32) for colour in colours)
        return (first + (last - first) * place)[:, :, None, None]

    def pick(self, name: str, colours: tuple[tuple[float, float, float], ...]) -> Array:
        """One colour of several by a chance, ``[n, 3, 1, 1]``."""
        chosen = (self.chances[name] * len(colours)).astype(int)
        return np.array(colours, np.float32)[chosen][:, :, None, None]


def _either(bit: Array, yes: Array, no: Array) -> Array:
    """`yes` for the faces whose bit is set: colours ``[n, 3, 1, 1]``, or numbers ``[n, rows, columns]``."""
    return np.where(bit.reshape(-1, *[1] * (yes.ndim - 1)) > 0.5, yes, no)


class _Canvas:
    """Images in the making, ``[n, 3, rows, columns]``, and the layers laid on them."""

    def __init__(self, count: int, height: int, width: int) -> None:
        side = min(height, width)
        self.pixel = np.float32(2 / side)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 - width)[None, None, :] / np.float32(side)
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) * 2 - height)[None, :, None] / np.float32(side)
        self.colours = np.zeros((count, 3, height, width), np.float32)

    def window(self, rows: slice, columns: slice) -> _Canvas:
        """A part of the same canvas: what is laid on it is on the whole."""
        part = copy.copy(self)
        part.x, part.y = self.x[:, :, columns], self.y[:, rows]
        part.colours = self.colours[:, :, rows, columns]
        return part

    def cover(self, distance: Array, soft: float = 1.0) -> Array:
        """How much of each pixel lies inside, 0 to 1; an edge is `soft` pixels wide."""
        return np.clip(0.5 - distance / (self.pixel * soft), 0, 1)

    def paint(self, alpha: Array, colour: Array) -> None:
        """Lay a colour over what is there, by its share of each pixel, ``[n, rows, columns]``."""
        self.colours += alpha[:, None] * (colour - self.colours)


@dataclass(frozen=True)
class _Head:
    """The head's own coordinates at every pixel, its half width and height, and how it is turned."""

    x: Array
    y: Array
    wide: Array
    tall: Array
    turn: Array  # sine of the yaw: where depth goes sideways
    unit: Array  # the head's length unit in image units

    def at(self, x: Array | float, depth: float) -> Array:
        """Where a feature of the face is seen: moved sideways by the turn according to its depth, and foreshortened."""
        return x * (1 - 0.5 * self.turn * self.turn) + self.turn * depth


def _ellipse(x: Array, y: Array, wide: Array | float, tall: Array | float) -> Array:
    """Distance from an ellipse around (0, 0), exact on its axes."""
    return (np.sqrt((x / wide) ** 2 + (y / tall) ** 2) - 1) * np.asarray(np.minimum(wide, tall), np.float32)


def _box(x: Array, y: Array, wide: Array | float, tall: Array | float, round_: float) -> Array:
    """Distance from a box with rounded corners around (0, 0)."""
    over_x, over_y = np.abs(x) - wide + round_, np.abs(y) - tall + round_
    outside = np.sqrt(np.maximum(over_x, 0) ** 2 + np.maximum(over_y, 0) ** 2)
    return outside + np.minimum(np.maximum(over_x, over_y), 0) - round_


def _curve(x: Array, y: Array, half: Array | float, bend: Array | float, thick: Array | float) -> Array:
    """Distance from a stroke along the parabola y = bend * (x / half)^2, as long as `half` on both sides."""
    along = np.clip(x / half, -1, 1)
    return np.sqrt((x - along * half) ** 2 + (y - bend * along * along) ** 2) - thick


def _around(canvas: _Canvas, head: _Head, wide: float, top: float, bottom: float) -> tuple[_Canvas, _Head]:
    """The window that shows this box of every head, `wide` to both sides: small features need no whole image.

    It depends on all faces that are drawn together, but outside it their features have nothing to show.
    """
    inside = (np.abs(head.x) < wide) & (head.y > top) & (head.y < bottom)
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(rows):  # smaller than a pixel
        return canvas, head
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return canvas.window(*window), dataclasses.replace(head, x=head.x[:, *window], y=head.y[:, *window])


def draw(faces: Faces, height: int, width: int) -> Array:
    """The faces as uint8 ``[n, height, width, 3]``."""
    count = len(faces.chances["yaw"])
    canvas = _Canvas(count, height, width)
    head = _place(faces, canvas)
    skin = _either(faces.bits["dark_skin"], faces.shade("skin", _SKIN[True]), faces.shade("skin", _SKIN[False]))
    hair = _hair_colour(faces)
    _background(faces, canvas)
    _hair_behind(faces, canvas, head, hair)
    _body(faces, canvas, head, skin)
    _skull(faces, canvas, head, skin)
    _age(faces, *_around(canvas, head, 0.60, -0.50, 0.50), skin)
    eyes = _around(canvas, head, 0.55, -0.34, 0.20)
    _eyes(faces, *eyes)
    _nose(faces, *_around(canvas, head, 0.36, -0.20, 0.32), skin)
    _mouth(faces, *_around(canvas, head, 0.42, 0.18, 0.58), skin)
    _beard(faces, *_around(canvas, head, 0.65, -0.02, 0.75), hair)
    _brows(faces, *eyes, hair)
    _hair_in_front(faces, canvas, head, hair)
    _hat(faces, *_around(canvas, head, 0.85, -0.85, -0.10))
    _glasses(faces, *_around(canvas, head, 0.70, -0.28, 0.18))
    return _lit(faces, canvas)


def _place(faces: Faces, canvas: _Canvas) -> _Head:
    """The head's pose: shifted, scaled, tilted and turned."""
    angle = faces.between("tilt", -0.2, 0.2)
    # Sine and cosine by their series: within 2e-5 for so small an angle, and rounded alike everywhere.
    square = angle * angle
    sin, cos = angle * (1 - square / 6), 1 - square / 2 + square * square / 24
    scale = faces.between("scale", 0.96, 1.20)
    x = canvas.x - faces.between("shift_x", -0.12, 0.12)
    y = canvas.y - faces.between("shift_y", -0.04, 0.08)
    # It turns about the neck and not about its middle.
    return _Head(
        x=(x * cos + (y - 0.5) * sin) / scale,
        y=((y - 0.5) * cos - x * sin) / scale + 0.5,
        wide=faces.between("wide", 0.42, 0.49),
        tall=faces.between("tall", 0.56, 0.62),
        turn=faces.between("yaw", -0.30, 0.30),
        unit=scale,
    )


def _hair_colour(faces: Faces) -> Array:
    """By the attribute; without one ginger, and white on old people. Age lets grey into every colour."""
    old = faces.bits["old"]
    colour = _either(old, faces.shade("hair", _GREY), faces.shade("hair", _GINGER))
    for name, colours in _HAIR.items():
        own = faces.shade("hair", colours)
        aged = own + 0.12 * (faces.shade("hair", _GREY) - own)
        colour = _either(faces.bits[name], _either(old, aged, own), colour)
    return colour


def _background(faces: Faces, canvas: _Canvas) -> None:
    """A wall with light falling on it from above, blue or not."""
    scene = (faces.chances["scene"] * len(_SCENES)).astype(int)
    other = np.stack([faces.shade("background", colours) for colours in _SCENES])[scene, np.arange(len(scene))]
    colour = _either(faces.bits["blue_background"], faces.shade("background", _BLUE), other)
    side = faces.between("light", -1, 1)
    canvas.colours += colour * (0.97 - 0.10 * canvas.y + 0.08 * side * canvas.x)[:, None]


def _body(faces: Faces, canvas: _Canvas, head: _Head, skin: Array) -> None:
    """Shoulders in a shirt, the neck, and the shadow of the chin on it."""
    x = canvas.x - faces.between("shift_x", -0.12, 0.12)
    y = canvas.y - faces.between("shift_y", -0.04, 0.08)
    neck = _box(x, y - 0.62, head.wide * 0.44, 0.34, 0.1)
    shade = 1 - 0.30 * np.clip((0.86 - y) / 0.3, 0, 1)
    shoulders = np.minimum(
        _ellipse(x, y - 1.28, head.wide * 1.85, 0.55),
        _curve(x, y - 0.80, head.wide * 0.75, 0.12, 0.07),
    )
    collar = _ellipse(x, y - 0.72, head.wide * 0.44, 0.17)
    cloth = faces.pick("cloth", _CLOTHS)
    fold = 1 - 0.22 * np.clip(np.abs(x) * 1.2 - 0.1, 0, 1)
    canvas.paint(canvas.cover(np.maximum(shoulders, -collar)), cloth * fold[:, None])
    canvas.paint(canvas.cover(np.maximum(neck, -np.maximum(-collar, 0.80 - y))), skin * shade[:, None])


def _outline(head: _Head, jaw: Array, more: float = 0.0) -> Array:
    """Distance from the face's outline: an ellipse that narrows to the chin."""
    low = np.clip(head.y / head.tall, 0, 1)
    return _ellipse(head.x, head.y, (head.wide + more) * (1 - jaw * low * low), head.tall + more)


def _skull(faces: Faces, canvas: _Canvas, head: _Head, skin: Array) -> None:
    """Ears and face, darker to the rim and on the side away from the light, with a touch of colour on the cheeks."""
    light = faces.between("light", -1, 1)
    free = 1 - faces.bit("long_hair") * (1 - _bald(faces))
    for side in (-1.0, 1.0):
        at = side * head.wide * (1 - 0.04 * side * head.turn) - head.turn * 0.10
        ear_x, ear_y = head.x - at, head.y - 0.04
        canvas.paint(canvas.cover(_ellipse(ear_x, ear_y, 0.085, 0.135)) * free, skin * 0.90)
        canvas.paint(canvas.cover(_ellipse(ear_x, ear_y, 0.04, 0.08)) * free, skin * 0.76)
    outline = _outline(head, faces.between("jaw", 0.08, 0.32))
    rim = np.clip(1 + outline / 0.22, 0, 1)
    across = head.x / head.wide
    shade = 1 - 0.16 * rim * rim + 0.10 * light * across - 0.05 * head.y
    tone = skin * shade[:, None]
    canvas.paint(canvas.cover(outline), tone)
    blush = np.array([0.88, 0.38, 0.36], np.float32)[None, :, None, None]
    for side in (-1.0, 1.0):
        cheek = _ellipse(
            head.x - head.at(side * head.wide * 0.56, 0.16), head.y - 0.20, 0.13, (0.10)
        )
        canvas.paint(np.clip(-cheek * 4, 0, 0.20), blush)


def _age(faces: Faces, canvas: _Canvas, head: _Head, skin: Array) -> None:
    """Wrinkles: on the forehead, beside the eyes, under them, and from the nose to the corners of the mouth."""
    old = faces.bit("old")
    line = np.maximum(0.011, canvas.pixel * 0.42 / head.unit)
    lines = []
    middle = head.x - head.at(0.0, 0.15)
    for number in range(3):
        lines.append(_curve(middle, head.y + (0.27 + 0.075 * number), head.wide * 0.48, 0.02, line))
    for side in (-1.0, 1.0):
        eye_x, eye_y = head.x - head.at(side * 0.195, 0.13), head.y + 0.06
        for number in (-1, 0, 1):
            start_x, start_y = eye_x * side - 0.17, eye_y - 0.035 * number
            slope = start_y - 0.55 * number * start_x
            lines.append(_curve(start_x - 0.035, slope, 0.045, 0.0, line))
        lines.append(_curve(eye_x, eye_y - 0.165, 0.10, -0.035, line))
        fold_x = (head.x - head.at(side * 0.155, 0.16)) * side
        fold_y = head.y - 0.285
        lines.append(_curve(fold_y, fold_x - 0.55 * fold_y, 0.10, -0.03, line))
    canvas.paint(canvas.cover(functools.reduce(np.minimum, lines), 1.3) * old * 0.75, skin * 0.58)


def _eyes(faces: Faces, canvas: _Canvas, head: _Head) -> None:
    """White, iris, pupil, glint and the line of the upper lid."""
    tall = faces.between("lids", 0.056, 0.078)
    wide = faces.between("eyes", 0.098, 0.115)
    iris = faces.pick("iris", _IRISES)
    white = np.full((1, 3, 1, 1), 0.97, np.float32)
    dark = np.full((1, 3, 1, 1), 0.06, np.float32)
    for side in (-1.0, 1.0):
        near = wide * (1 - 0.25 * side * head.turn)
        x, y = head.x - head.at(side * 0.195, 0.13), head.y + 0.06
        opening = canvas.cover(_ellipse(x, y, near, tall))
        canvas.paint(opening, white)
        look = x - head.turn * 0.06
        canvas.paint(opening * canvas.cover(_ellipse(look, y, tall * 0.92, tall * 0.92)), iris)
        canvas.paint(opening * canvas.cover(_ellipse(look, y, tall * 0.5, tall * 0.5)), dark)
        glint = _ellipse(look - 0.02, y + 0.022, tall * 0.24, tall * 0.24)
        canvas.paint(canvas.cover(glint) * 0.9, white)
        lid = _curve(x, y + tall, near, tall * 0.9, 0.013)
        canvas.paint(canvas.cover(lid) * 0.85, dark)


def _brows(faces: Faces, canvas: _Canvas, head: _Head, hair: Array) -> None:
    thick = faces.between("brows", 0.020, 0.030)
    colour = _either(faces.bits["old"], hair + 0.6 * (faces.shade("hair", _GREY) - hair), hair * 0.85)
    for side in (-1.0, 1.0):
        x, y = head.x - head.at(side * 0.20, 0.14), head.y + 0.205
        stroke = _curve(x, y - 0.10 * side * x, 0.105, 0.035, thick)
        canvas.paint(canvas.cover(stroke), colour)


def _nose(faces: Faces, canvas: _Canvas, head: _Head, skin: Array) -> None:
    """A bridge in light, a shadow on the side away from it, the tip and nostrils."""
    wide = faces.between("nose", 0.055, 0.078)
    light = faces.between("light", -1, 1)
    x, y = head.x - head.at(0.0, 0.24), head.y - 0.13
    side = np.where(light > 0, np.float32(-1), np.float32(1))
    ridge = head.x - head.at(0.0, 0.19) - head.turn * 0.25 * (head.y - 0.05)
    flank = _ellipse(ridge - side * 0.03, head.y - 0.05, 0.035, 0.14)
    canvas.paint(np.clip(-flank * 16, 0, 0.30), skin * 0.70)
    under = _ellipse(x, y - 0.055, wide * 1.15, 0.034)
    canvas.paint(canvas.cover(under) * 0.75, skin * 0.66)
    canvas.paint(canvas.cover(_ellipse(x, y - 0.02, wide, 0.050), 2), skin * 0.98)
    glow = _ellipse(x + side * 0.012, y - 0.005, wide * 0.5, 0.028)
    canvas.paint(np.clip(-glow * 18, 0, 0.35), np.minimum(skin * 1.22, 1))


def _mouth(faces: Faces, canvas: _Canvas, head: _Head, skin: Array) -> None:
    """Smiling: a wide open crescent with teeth. Otherwise closed lips, level or a little down."""
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
    stroke = _curve(x, y - 0.035, wide, 0.0, 0.034 * (1 - 0.6 * lift))
    canvas.paint(canvas.cover(stroke) * closed, lips)
    seam = _curve(x, y - 0.035, wide * 1.02, 0.004, 0.008)
    canvas.paint(canvas.cover(seam) * closed, lips * 0.45)


def _beard(faces: Faces, canvas: _Canvas, head: _Head, hair: Array) -> None:
    """From the ears over the chin, and a moustache; the mouth stays free."""
    beard = faces.bit("beard")
    outline = _outline(head, faces.between("jaw", 0.08, 0.32), 0.02)
    x, y = head.x - head.at(0.0, 0.15), head.y - 0.36
    free = _box(x, y - 0.01, 0.205, 0.095, 0.09)
    edge = 0.22 - faces.between("beard", 0.0, 0.06)
    cheeks = _ellipse(head.x - head.at(0.0, 0.10), head.y + 0.02, head.wide * 0.86, edge + 0.07)
    below = np.maximum(np.maximum(0.06 - head.y, -cheeks), outline)
    moustache = _curve(x, head.y - 0.235, 0.155, 0.055, 0.034)
    whole = np.minimum(np.maximum(below, -free), moustache)
    aged = hair + 0.55 * (faces.shade("hair", _GREY) - hair)
    colour = _either(faces.bits["old"], aged, hair) * 0.80
    texture = 1 - 0.16 * _stripes(head.x * 9 + head.y * 2)
    canvas.paint(canvas.cover(whole, 1.5) * beard, colour * texture[:, None])


def _stripes(along: Array) -> Array:
    """A wave between 0 and 1 with period 1, of straight lines."""
    return np.abs(2 * (along - np.floor(along)) - 1)


def _bald(faces: Faces) -> Array:
    """Only those without a hair colour and without long hair can be bald: their attributes stay to be seen."""
    haired = faces.bits["black_hair"] | faces.bits["blond_hair"] | faces.bits["brown_hair"] | faces.bits["long_hair"]
    return (~haired & (faces.chances["bald"] < 0.6)).astype(np.float32)[:, None, None]


def _locks(faces: Faces, head: _Head, hair: Array) -> Array:
    """The hair's colour at every pixel: strands, a band of light, and grey strands on old people."""
    strands = _stripes(head.x * 7 + 0.5 * head.y)
    band = np.clip(1 - np.abs(head.y + 0.42) * 6, 0, 1)
    glossy = hair * (1 - 0.16 * strands)[:, None] + (0.10 * band)[:, None]
    grey = faces.shade("hair", _GREY) - glossy
    streak = np.clip(_stripes(head.x * 5 + 0.9 * head.y + 0.3) * strands * 3 - 0.9, 0, 1) * faces.bit("old") * 0.35
    return glossy + streak[:, None] * grey


def _hair_behind(faces: Faces, canvas: _Canvas, head: _Head, hair: Array) -> None:
    """Long hair, down to the shoulders behind the face."""
    shown = faces.bit("long_hair") * (1 - _bald(faces))
    more = faces.between("volume", 0.08, 0.15)
    x = head.x + head.turn * 0.05
    top = _ellipse(x, head.y + 0.05, head.wide + more, head.tall + 0.08)
    fall = _box(x, head.y - 0.32, head.wide + more * 1.1, 0.50, 0.16)
    whole = _under_hat(faces, head, np.minimum(top, fall))
    canvas.paint(canvas.cover(whole) * shown, _locks(faces, head, hair * 0.80))


def _hair_in_front(faces: Faces, canvas: _Canvas, head: _Head, hair: Array) -> None:
    """What frames the face: over the skull down to the hairline, beside it to the ears, or long to the shoulders."""
    shown = 1 - _bald(faces)
    long = faces.bit("long_hair")
    more = faces.between("volume", 0.03, 0.09)
    outer = _ellipse(
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
        _box(head.x + head.turn * 0.05, head.y - 0.25, head.wide + more, 0.52, 0.10),
        -_ellipse(head.x - head.at(0.0, 0.10), head.y - 0.15, head.wide * 0.89, head.tall * 1.3),
    )
    free = _ellipse(face_x, head.y - 0.20, head.wide * 0.9, head.tall * 0.95)
    whole = np.maximum(_either(long, np.maximum(np.minimum(outer, strands), -free), short), -opening)
    canvas.paint(canvas.cover(_under_hat(faces, head, whole)) * shown, _locks(faces, head, hair))


def _under_hat(faces: Faces, head: _Head, hair: Array) -> Array:
    """What a hat leaves of the hair: nothing above its brim."""
    return _either(faces.bit("hat"), np.maximum(hair, -0.30 - head.y), hair)


def _hat(faces: Faces, canvas: _Canvas, head: _Head) -> None:
    """A cap over the hair, with a band and a brim."""
    hat = faces.bit("hat")
    colour = faces.pick("hat", _HATS)
    x = head.x - head.turn * 0.02
    dome = np.maximum(
        _ellipse(x, head.y + 0.28, head.wide * 1.14, 0.44), head.y + 0.30
    )
    shade = 1 - 0.20 * np.clip(np.abs(x) * 2 - 0.2, 0, 1) - 0.10 * _stripes(x * 6)
    canvas.paint(canvas.cover(dome) * hat, colour * shade[:, None])
    reach = faces.between("brim", 1.10, 1.36)
    brim = _curve(x, head.y + 0.31, head.wide * reach, 0.05, 0.055)
    canvas.paint(canvas.cover(brim) * hat, colour * 0.72)


def _glasses(faces: Faces, canvas: _Canvas, head: _Head) -> None:
    """Two lenses with a glint, their rims, the bridge, and arms to the ears."""
    glasses = faces.bit("glasses")
    colour = faces.pick("frames", _FRAMES)
    round_ = faces.chances["frames"].astype(np.float32)[:, None, None] * 3 % 1  # which form, apart from the colour
    rim = np.maximum(0.017, canvas.pixel * 0.5 / head.unit)
    y = head.y + 0.045
    outlines = []
    glass = np.full((1, 3, 1, 1), 0.92, np.float32)
    for side in (-1.0, 1.0):
        x = head.x - head.at(side * 0.20, 0.15)
        wide = 0.155 * (1 - 0.25 * side * head.turn)
        lens = _either(round_ < 0.5, _ellipse(x, y, wide, 0.145), _box(x, y, wide, 0.118, 0.04))
        canvas.paint(canvas.cover(lens) * glasses * 0.22, glass)
        edge = np.abs(lens) - rim
        arm = _curve(
            head.x - side * head.wide * 0.90, y + 0.03, 0.09, 0.0, rim * 0.8
        )
        outlines += [edge, np.maximum(arm, -lens)]
    bridge = _curve(head.x - head.at(0.0, 0.17), y + 0.03, 0.05, 0.02, rim)
    canvas.paint(canvas.cover(functools.reduce(np.minimum, outlines, bridge)) * glasses, colour)


def _lit(faces: Faces, canvas: _Canvas) -> Array:
    """The whole under its light: brighter or darker, warmer or cooler; as bytes, channels last."""
    glow, warm = faces.between("glow", 0.88, 1.06), faces.between("warmth", -0.05, 0.05)
    gain = np.stack([glow + warm, glow, glow - warm], axis=1)
    levels = np.clip(canvas.colours * gain, 0, 1) * 255 + 0.5
    return levels.astype(np.uint8).transpose(0, 2, 3, 1)
