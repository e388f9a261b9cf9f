"""Whether fakes are copies of training images: their distances to training images, compared with held-out images.

There are three measures, and none is dependable (Stein et al. 2023, arXiv 2306.04675), so look at the pairs of
`neighbours` as well. `real` must be all training images: a copy of an image that is missing there is not found.

None of these numbers says that images are good. A bad generator may look innocent, since images far from all real ones
are not copies; one whose images are all bland looks guilty, since they lie near the middle of all real ones. Held-out
images show how far a new real image is from the training images; a larger distance is not better. So the number in
tables is how much lower the fakes' authenticity is than that of held-out images, or 0 if it is not lower. If there are
no held-out images, each training image in turn is taken as a new one and compared with all others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._features import CHUNK, accept, accept_pair, collect
from frugan.metrics._neighbours import Nearest, in_float64, nearest, nearest_other
from frugan.registry import UserError

WIDEST = 64
"""Cells are sought in so many principal components of the training features where these are wider."""

FEWEST = 20
"""A cell counts that holds more fakes than this."""

_RESTARTS, _ROUNDS = 5, 100


def compute(*, real: Tensor, fake: Tensor, held_out: Tensor | None, cells: int = 3, seed: int = 0) -> dict[str, float]:
    """How near fakes lie to training images, from features ``[n, d]``, ``[m, d]`` and ``[l, d]``; these numbers:

    - `nearest_fake`, `nearest_held_out`: the median distance to the nearest training image.
    - `authenticity`: the percentage of fakes that are authentic (Alaa et al. 2022, arXiv 2102.08921). A fake is
      authentic if it is farther from its nearest training image than that image is from its own nearest training image.
      `authenticity_held_out`: the same for held-out images. `authenticity_shortfall`: how many percentage points lower
      the fakes' value is; 0 if it is not lower.
    - `nearest_training`, `authenticity_training`: used instead if there are no held-out images: each training image
      compared with the others. Copies among the training images lower these values.
    - `c_t`: whether fakes are nearer to training images than held-out images are, cell by cell (Meehan et al. 2020,
      arXiv 2004.05675), in standard deviations. Far below 0 means copies; far above 0 means fakes that miss the data.
      It grows with the square root of the counts. It is left out if there are no held-out images, or if no cell has
      enough fakes and a held-out image. `c_t_cells`: in how many cells it was measured.

    Args:
        real: features of the images that the generator was trained on.
        held_out: features of real images that it was not trained on, or None.
        cells: how many cells k-means divides the training features into.
        seed: for the start of k-means.

    Raises:
        UserError: fewer than two images in a set, unequal widths, non-finite or all equal real features, no cell.
    """
    if cells < 1:
        raise UserError(f"memorisation: cells={cells}. Give 1 or more.")
    real, fake, held_out = _accept(real, fake, held_out)
    among = nearest_other(real)
    of_fake, of_new = nearest(fake, real), among if held_out is None else nearest(held_out, real)
    authentic, expected = (authenticity(nearest_training, among.distances) for nearest_training in (of_fake, of_new))
    new = "training" if held_out is None else "held_out"
    numbers = {
        "nearest_fake": float(of_fake.distances.quantile(0.5)),
        f"nearest_{new}": float(of_new.distances.quantile(0.5)),
        "authenticity": authentic,
        f"authenticity_{new}": expected,
        "authenticity_shortfall": max(0.0, expected - authentic),
    }
    if held_out is None:
        return numbers
    reduce = _components(real)
    centres = k_means(reduce(real), cells, seed)
    of_cell = [nearest(reduce(one), centres).rows for one in (fake, held_out)]
    scores, weights = [], []
    for cell in range(len(centres)):
        near = [one.distances[rows == cell] for one, rows in zip((of_fake, of_new), of_cell, strict=True)]
        if len(near[0]) > FEWEST and len(near[1]):
            scores.append(nearer(*near))
            weights.append(len(near[1]))
    if scores:
        numbers["c_t"] = sum(z * weight for z, weight in zip(scores, weights, strict=True)) / sum(weights)
    return {**numbers, "c_t_cells": float(len(scores))}


def neighbours(real: Tensor, fake: Tensor) -> Nearest:
    """The nearest training image of each fake, for a picture of the pairs: distances and rows of `real`, ``[m]``.

    `real` ``[n, d]`` and `fake` ``[m, d]`` are features, or pixels (``images.flatten(1)``). Raises UserError as
    `compute` does.
    """
    real, fake = accept_pair("memorisation", real, fake, least=1)
    return nearest(in_float64("memorisation", "fake", fake), in_float64("memorisation", "real", real))


def authenticity(nearest_training: Nearest, spacing: Tensor) -> float:
    """The percentage of authentic images: farther from their nearest training image than its `spacing`."""
    return 100 * float((spacing[nearest_training.rows] < nearest_training.distances).double().mean())


def nearer(fake: Tensor, held_out: Tensor) -> float:
    """Mann and Whitney's U of distances ``[n]`` and ``[m]``, in standard deviations; below 0 the fakes are nearer.

    U is the number of pairs in which the fake is farther; equal distances count half. Half a pair is subtracted from
    its mean, as in the authors' code, so swapping the sets does not exactly swap the sign.
    """
    ordered = held_out.sort().values
    u = sum(int(torch.searchsorted(ordered, fake, right=right).sum()) for right in (False, True)) / 2
    n, m = len(fake), len(held_out)
    return (u - (n * m / 2 - 0.5)) / (n * m * (n + m + 1) / 12) ** 0.5


def k_means(features: Tensor, cells: int, seed: int) -> Tensor:
    """Centres ``[cells, d]`` of features ``[n, d]`` in float64; fewer centres if there are fewer different features.

    The best of a few searches is returned; each begins with centres far apart (Arthur & Vassilvitskii 2007, k-means++).
    """
    draws = seeds.generator(seed, "memorisation", "cells")
    best, least = features[:1], torch.inf
    for _ in range(_RESTARTS):
        centres = _far_apart(features, cells, draws)
        squared = torch.cdist(features, centres).square()
        for _ in range(_ROUNDS):
            of = squared.argmin(1)
            counts = torch.bincount(of, minlength=len(centres))
            sums = torch.zeros_like(centres).index_add_(0, of, features)
            moved = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
            unmoved = torch.equal(moved, centres)
            centres, squared = moved, torch.cdist(features, moved).square()
            if unmoved:
                break
        spread = float(squared.min(1).values.sum())
        if spread < least:
            best, least = centres, spread
    return best


def _far_apart(features: Tensor, cells: int, draws: torch.Generator) -> Tensor:
    """Features to begin with, each drawn with odds by its squared distance to those drawn before."""
    chosen = features[torch.randint(len(features), (1,), generator=draws)]
    while len(chosen) < cells:
        squared = torch.cdist(features, chosen, compute_mode="donot_use_mm_for_euclid_dist").min(1).values.square()
        if not squared.any():
            break
        places = squared.cumsum(0)
        drawn = torch.searchsorted(places, torch.rand(1, generator=draws, dtype=torch.float64) * places[-1], right=True)
        chosen = torch.cat([chosen, features[drawn]])
    return chosen


def _components(real: Tensor) -> Callable[[Tensor], Tensor]:
    """What turns features into those that cells are sought in: principal components of wide ones, else themselves."""
    if real.shape[1] <= WIDEST:
        return lambda features: features
    _, mean, covariance = collect(real.split(CHUNK))
    vectors = torch.linalg.eigh(covariance).eigenvectors[:, -WIDEST:]
    return lambda features: (features - mean) @ vectors


def _accept(real: Tensor, fake: Tensor, held_out: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    real, fake = accept_pair("memorisation", real, fake)
    real, fake = in_float64("memorisation", "real", real), in_float64("memorisation", "fake", fake)
    if held_out is None:
        return real, fake, None
    held_out = accept("memorisation", "held_out", held_out)
    if held_out.shape[1] != real.shape[1]:
        raise UserError(
            f"memorisation: 'real' has {real.shape[1]} features per image, but 'held_out' has {held_out.shape[1]}. "
            "Compute both with the same view."
        )
    return real, fake, in_float64("memorisation", "held_out", held_out)


variant = Metric(
    "memorisation", compute, needs=("real", "fake", "held_out?"), better="lower", headline="authenticity_shortfall",
    least=2,
)  # fmt: skip
