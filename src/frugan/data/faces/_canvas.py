"""The canvas that faces are painted on, and the shapes that everything is made of.

Shapes are signed distances (negative inside), so their edges are smooth at every size without supersampling. Lengths
are in halves of the image's shorter side; x points right, y down, and (0, 0) is the middle.
"""

from __future__ import annotations

import copy

import numpy as np

Array = np.ndarray


class Canvas:
    """Unfinished images ``[n, 3, rows, columns]``, which layers are painted on."""

    def __init__(self, count: int, height: int, width: int) -> None:
        side = min(height, width)
        self.pixel = np.float32(2 / side)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 - width)[None, None, :] / np.float32(side)
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) * 2 - height)[None, :, None] / np.float32(side)
        self.colours = np.zeros((count, 3, height, width), np.float32)

    def window(self, rows: slice, columns: slice) -> Canvas:
        """A part of this canvas. What is painted on the part appears on the whole canvas."""
        part = copy.copy(self)
        part.x, part.y = self.x[:, :, columns], self.y[:, rows]
        part.colours = self.colours[:, :, rows, columns]
        return part

    def cover(self, distance: Array, soft: float = 1.0) -> Array:
        """How much of each pixel lies inside, 0 to 1; an edge is `soft` pixels wide."""
        return np.clip(0.5 - distance / (self.pixel * soft), 0, 1)

    def paint(self, alpha: Array, colour: Array) -> None:
        """Paint a colour over the images; `alpha` ``[n, rows, columns]`` is its share of each pixel."""
        self.colours += alpha[:, None] * (colour - self.colours)


def ellipse(x: Array, y: Array, wide: Array | float, tall: Array | float) -> Array:
    """Signed distance from an ellipse around (0, 0); exact on the two axes only."""
    return (np.sqrt((x / wide) ** 2 + (y / tall) ** 2) - 1) * np.asarray(np.minimum(wide, tall), np.float32)


def box(x: Array, y: Array, wide: Array | float, tall: Array | float, round_: float) -> Array:
    """Signed distance from a box with rounded corners around (0, 0)."""
    over_x, over_y = np.abs(x) - wide + round_, np.abs(y) - tall + round_
    outside = np.sqrt(np.maximum(over_x, 0) ** 2 + np.maximum(over_y, 0) ** 2)
    return outside + np.minimum(np.maximum(over_x, over_y), 0) - round_


def curve(x: Array, y: Array, half: Array | float, bend: Array | float, thick: Array | float) -> Array:
    """Signed distance from a stroke along the parabola y = bend * (x / half)^2, from x = -half to x = half."""
    along = np.clip(x / half, -1, 1)
    return np.sqrt((x - along * half) ** 2 + (y - bend * along * along) ** 2) - thick


def stripes(along: Array) -> Array:
    """A triangle wave between 0 and 1 with period 1."""
    return np.abs(2 * (along - np.floor(along)) - 1)
