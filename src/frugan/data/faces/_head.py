"""The numbers that faces are drawn from, and the head: where it is, how it is turned, and its outline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from frugan.data.faces._canvas import Array, Canvas, ellipse

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]  # the ends of a range


@dataclass(frozen=True)
class Faces:
    """Faces to draw: attributes by name, bool ``[n]``; random numbers by the names in `CHANCES`, ``[n]`` in [0, 1)."""

    bits: Mapping[str, Array]
    chances: Mapping[str, Array]

    def between(self, name: str, low: float, high: float) -> Array:
        """The random number `name`, scaled to lie from `low` to `high`: ``[n, 1, 1]``."""
        return (low + (high - low) * self.chances[name]).astype(np.float32)[:, None, None]

    def bit(self, name: str) -> Array:
        """An attribute as 0.0 or 1.0, ``[n, 1, 1]``."""
        return self.bits[name].astype(np.float32)[:, None, None]

    def shade(self, name: str, colours: Colours) -> Array:
        """A colour between two colours, chosen by the random number `name`: ``[n, 3, 1, 1]``."""
        place = self.chances[name].astype(np.float32)[:, None]
        first, last = (np.array(colour, np.float32) for colour in colours)
        return (first + (last - first) * place)[:, :, None, None]

    def pick(self, name: str, colours: tuple[tuple[float, float, float], ...]) -> Array:
        """Choose one of several colours for each face by the random number `chance`: ``[n, 3, 1, 1]``."""
        chosen = (self.chances[name] * len(colours)).astype(int)
        return np.array(colours, np.float32)[chosen][:, :, None, None]


def either(bit: Array, yes: Array, no: Array) -> Array:
    """`yes` for faces whose bit is set, `no` for others: colours ``[n, 3, 1, 1]`` or numbers ``[n, rows, columns]``."""
    return np.where(bit.reshape(-1, *[1] * (yes.ndim - 1)) > 0.5, yes, no)


@dataclass(frozen=True)
class Head:
    """Coordinates relative to the head at every pixel, the head's half width and height, and how it is turned."""

    x: Array
    y: Array
    wide: Array
    tall: Array
    turn: Array  # sine of the yaw: where depth goes sideways
    unit: Array  # the head's length unit in image units

    def at(self, x: Array | float, depth: float) -> Array:
        """Where point x of the face is seen on a turned head: the nearer to the viewer (`depth`), the more it moves."""
        return x * (1 - 0.5 * self.turn * self.turn) + self.turn * depth


def place_head(faces: Faces, canvas: Canvas) -> Head:
    """Place the heads: shifted, scaled, tilted and turned."""
    angle = faces.between("tilt", -0.2, 0.2)
    # Sine and cosine by their series: within 2e-5 for so small an angle, and rounded alike everywhere.
    square = angle * angle
    sin, cos = angle * (1 - square / 6), 1 - square / 2 + square * square / 24
    scale = faces.between("scale", 0.96, 1.20)
    x = canvas.x - faces.between("shift_x", -0.12, 0.12)
    y = canvas.y - faces.between("shift_y", -0.04, 0.08)
    # It turns about the neck and not about its middle.
    return Head(
        x=(x * cos + (y - 0.5) * sin) / scale,
        y=((y - 0.5) * cos - x * sin) / scale + 0.5,
        wide=faces.between("wide", 0.42, 0.49),
        tall=faces.between("tall", 0.56, 0.62),
        turn=faces.between("yaw", -0.30, 0.30),
        unit=scale,
    )


def cut_window(canvas: Canvas, head: Head, wide: float, top: float, bottom: float) -> tuple[Canvas, Head]:
    """Cut the window that shows this box of every head, `wide` to both sides. Small features then cost less time.

    The window depends on all faces drawn together. This changes no face, since outside it the feature is invisible.
    """
    inside = (np.abs(head.x) < wide) & (head.y > top) & (head.y < bottom)
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(rows):  # smaller than a pixel
        return canvas, head
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return canvas.window(*window), dataclasses.replace(head, x=head.x[:, *window], y=head.y[:, *window])


def outline_face(head: Head, jaw: Array, more: float = 0.0) -> Array:
    """Signed distance from the face's outline: an ellipse that narrows to the chin."""
    low = np.clip(head.y / head.tall, 0, 1)
    return ellipse(head.x, head.y, (head.wide + more) * (1 - jaw * low * low), head.tall + more)
