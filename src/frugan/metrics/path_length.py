"""Latent path length: how far features move for a small step of the latents (after Karras et al. 2019, 1812.04948).

A low value means that the latents change images smoothly. The PPL of the literature uses a perceptual distance (LPIPS),
which is not used here. So compare values only with others of the same view, never with published PPL.

For each path two latents are drawn, and images are made at the first one and a share `epsilon` of the way to the
second (the literature's end point, t = 0). The path's length is the squared distance of their features, divided by
epsilon squared. Paths below the 1st and above the 99th percentile are left out. Images stay floats: rounding to bytes
would change them by steps that do not shrink with epsilon, and the value would be mostly rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.registry import UserError, suggest

TOGETHER = 64
"""Paths whose images are made together."""


def compute(
    *,
    generator: Any,
    look: Callable[[Tensor], Tensor],
    condition: Tensor | None,
    paths: int = 1000,
    epsilon: float = 1e-2,
    path: str = "lerp",
    seed: int = 0,
) -> dict[str, float]:
    """``{"path_length": mean}`` of a generator; `look` turns its images into features.

    Args:
        generator: what `frugan.load` returns. It is called on latents ``[n, size]`` and labels, if it takes any. It
            has `latents`, `device` and a `module` with an `image_range`.
        look: from float images ``[n, channels, height, width]`` in -1..1 to features ``[n, width]``.
        condition: labels ``[n]`` or ``[n, bits]`` that it can be told, None if it takes none. Path i has the label
            i at both ends, and if there are fewer labels than paths, they are used again.
        paths: how many paths are measured.
        epsilon: the step, as a share of the path. Much smaller steps are lost in float32's rounding.
        path: "lerp" is a straight line, for latents of any distribution. "slerp" follows the circle through both
            directions while the norm changes evenly, so it stays where normal latents are.
        seed: for the latents.

    Raises:
        UserError: fewer than 100 paths, an unknown kind of path, a step outside 0..1, or features that are not finite.
    """
    if paths < 100 or not 0 < epsilon <= 1:
        raise UserError(
            f"path_length: paths={paths}, epsilon={epsilon:g}. Give 100 paths or more (the most extreme percents are "
            "left out), and an epsilon above 0 and at most 1."
        )
    if path not in PATHS:
        raise UserError(f"path_length: there is no path '{path}'. {suggest(path, PATHS)}")
    draws = seeds.generator(seed, "path_length")
    lengths = []
    for start in range(0, paths, TOGETHER):
        count = min(TOGETHER, paths - start)
        first, second = (generator.latents.draw(count, draws) for _ in range(2))
        labels = None if condition is None else condition[torch.arange(start, start + count) % len(condition)]
        ends = [_features(generator, look, latents, labels) for latents in (first, PATHS[path](first, second, epsilon))]
        lengths.append((ends[1] - ends[0]).square().sum(1) / epsilon**2)
    return {"path_length": float(_without_extremes(torch.cat(lengths)).mean())}


def lerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The latents ``[n, size]`` on the straight line from `first` to `second`, after `share` of the way."""
    return first + (second - first) * share


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The same along a great circle, with the norm changing evenly. On one line through 0 it is straight."""
    norms = [latents.norm(dim=1, keepdim=True) for latents in (first, second)]
    one, other = first / norms[0], second / norms[1]
    cosine = (one * other).sum(1, keepdim=True).clamp(-1, 1)
    across = other - one * cosine  # what of the other direction is at right angles to the first
    sine = across.norm(dim=1, keepdim=True)
    angle = torch.atan2(sine, cosine) * share
    direction = one * angle.cos() + across / sine * angle.sin()
    turned = direction * lerp(norms[0], norms[1], share)
    return torch.where(sine > 1e-6, turned, lerp(first, second, share))


PATHS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"lerp": lerp, "slerp": slerp}


def _features(generator: Any, look: Callable[[Tensor], Tensor], latents: Tensor, labels: Tensor | None) -> Tensor:
    """What is seen in the images of these latents, float64 on the CPU."""
    with torch.no_grad():
        images = generator(latents.to(generator.device), None if labels is None else labels.to(generator.device))
        low, high = generator.module.image_range
        features = look((images.float() - low) * (2 / (high - low)) - 1).to("cpu", torch.float64)
    if not bool(torch.isfinite(features).all()):
        raise UserError(
            "path_length: the features of some images are not finite. Look at the generator's images: it may have "
            "diverged."
        )
    return features


def _without_extremes(lengths: Tensor) -> Tensor:
    """Those from the 1st to the 99th percentile, each taken outwards to the nearest length that there is."""
    low = lengths.quantile(0.01, interpolation="lower")
    high = lengths.quantile(0.99, interpolation="higher")
    return lengths[(lengths >= low) & (lengths <= high)]


variant = Metric(
    "path_length", compute, needs=("generator", "look", "condition"), better="lower", headline="path_length", least=2,
    version=2,
)  # fmt: skip
