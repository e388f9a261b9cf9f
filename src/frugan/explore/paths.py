"""Paths through the latents: straight lines, arcs on the sphere, loops, and grids between corners.

Normal latents lie near a sphere, of radius sqrt(size), and the middle of a straight line lies well inside it, where the
generator has seen few. So their paths follow the sphere (White 2016, arXiv 1609.04468). Uniform latents fill a cube,
and their paths are straight, as the DCGAN paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan.latents import Latents
from frugan.registry import UserError, suggest

LINE, SPHERE = "line", "sphere"
PATHS = (LINE, SPHERE)

_FLAT = 1e-6


def usual_path(latents: Latents) -> str:
    """The path that suits latents of this distribution."""
    return SPHERE if latents.distribution == "normal" else LINE


def check_path(path: str, latents: Latents) -> str:
    """`path`, if latents of this distribution can follow it. Raises UserError otherwise."""
    if path not in PATHS:
        raise UserError(f"There is no path '{path}'. {suggest(path, PATHS)}")
    if path == SPHERE and latents.distribution != "normal":
        raise UserError(f"Only normal latents lie near a sphere; these are {latents.distribution}. Use --path line.")
    return path


def between(start: Tensor, end: Tensor, shares: Tensor, path: str = LINE) -> Tensor:
    """Points ``[shares, size]`` on the way from `start` to `end` (each ``[size]``): 0 is the start, 1 the end.

    On the sphere, directions turn evenly, and norms change with them: sin((1 - t) w) / sin(w) start + sin(t w) / sin(w)
    end, w being the angle between the two. Where w is 0 or half a turn the line is taken.
    """
    before, after = 1 - shares[:, None], shares[:, None]
    if path == SPHERE:
        ends = torch.stack([start, end]).double()
        norms = ends.norm(dim=1)
        cosine = (ends[0] @ ends[1] / (norms[0] * norms[1]).clamp_min(1e-300)).clamp(-1, 1)
        angle = cosine.acos()
        if angle.sin() > _FLAT:
            before, after = ((part.double() * angle).sin() / angle.sin() for part in (before, after))
            before, after = before.to(start), after.to(start)
    return before * start + after * end


def walk(points: Tensor, steps: int, *, path: str = LINE, closed: bool = True) -> Tensor:
    """A way through all points ``[n, size]``: ``[frames, size]``, `steps` frames from each point to the next.

    A `closed` way returns to the first point, and its last frame is the one before it: played again and again it has
    no seam. An open one ends with the last point. Raises UserError for fewer than two points or no steps.
    """
    if len(points) < 2 or steps < 1:
        raise UserError(f"A walk of {steps} steps through {len(points)} points: give at least 1 step and 2 points.")
    shares = torch.arange(steps, dtype=points.dtype) / steps
    ends = [*points[1:], points[0]] if closed else points[1:]
    legs = [between(start, end, shares, path) for start, end in zip(points, ends, strict=False)]
    return torch.cat(legs if closed else [*legs, points[-1:]])


def plane(corners: Tensor, rows: int, columns: int, *, path: str = LINE) -> Tensor:
    """A grid ``[rows * columns, size]`` between four corners ``[4, size]``: two above, two below.

    Raises UserError for another number of corners, or fewer than two rows or columns.
    """
    if len(corners) != 4 or min(rows, columns) < 2:
        raise UserError(
            f"A grid of {rows} x {columns} between {len(corners)} corners: give 4 corners, and 2 rows and columns or "
            "more."
        )
    down, across = torch.linspace(0, 1, rows), torch.linspace(0, 1, columns)
    left, right = (between(corners[side], corners[side + 2], down, path) for side in (0, 1))
    return torch.cat([between(one, other, across, path) for one, other in zip(left, right, strict=True)])


def steps_between(features: Tensor, closed: bool = False) -> Tensor:
    """How far each frame's features ``[frames, width]`` are from those before it: ``[frames - 1]``.

    Of a closed walk the way from the last frame to the first is the last of them.
    """
    following = torch.cat([features[1:], features[:1]]) if closed else features[1:]
    return (following - features[: len(following)]).flatten(1).double().norm(dim=1)
