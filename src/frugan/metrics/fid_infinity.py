"""The Fréchet distance that infinitely many fakes would have (Chong & Forsyth 2020, arXiv 1911.07023, section 3).

FID is biased upwards, by about a constant divided by the number of fakes. The constant depends on the generator, so
even at equal counts the worse generator can have the lower FID. Here FID is computed for random subsets of growing
size, and a line through its values over 1 / count is extended to 0. The bias from the number of real images stays: all
of them are used each time, so compare only values with equal counts of real images. Small negative values are possible.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._features import CHUNK, accept_pair, collect
from frugan.metrics.fid import Rooted
from frugan.registry import UserError


def compute(*, real: Tensor, fake: Tensor, sizes: int = 15, smallest: int = 5000, seed: int = 0) -> dict[str, float]:
    """``{"fid_infinity": value, "fid_infinity_residual": deviation}`` of features ``[n, d]`` and ``[m, d]``.

    The residual is the root mean square distance of the values from the line. If it is not small compared with the
    values, the result means little. Subsets smaller than the width of the features bend the line.

    Args:
        sizes: how many subsets of the fakes; their sizes are evenly spaced up to all fakes.
        smallest: size of the smallest subset, or a tenth of the fakes (at least 2) if that is less.
        seed: for the subsets, each drawn without replacement.

    Raises:
        UserError: too few images for that many sizes, unequal widths, non-finite or all equal real features.
    """
    if sizes < 2 or smallest < 2:
        raise UserError(
            f"fid_infinity: sizes={sizes}, smallest={smallest}. To fit a line, it needs 2 or more sizes of 2 or more "
            "images."
        )
    real, fake = accept_pair("fid_infinity", real, fake)
    counts = subset_sizes(len(fake), sizes, smallest)
    if len(set(counts)) < sizes:
        raise UserError(
            f"fid_infinity: from {len(fake)} images in 'fake' it cannot take {sizes} subsets of different sizes. Make "
            "more images."
        )
    draws = seeds.generator(seed, "fid_infinity")
    known = Rooted.of(collect(real.split(CHUNK)))
    distances = []
    for count in counts:
        rows = torch.randperm(len(fake), generator=draws)[:count]
        distances.append(known.distance(collect(fake[part] for part in rows.split(CHUNK))))
    return dict(zip(("fid_infinity", "fid_infinity_residual"), extrapolate(counts, distances), strict=True))


def subset_sizes(count: int, sizes: int, smallest: int) -> list[int]:
    """`sizes` evenly spaced numbers up to `count`.

    They begin at `smallest`, or at a tenth of `count` (but 2 or more) where that is less.
    """
    first = min(smallest, max(count // 10, 2))
    return [first + round((count - first) * step / (sizes - 1)) for step in range(sizes)]


def extrapolate(counts: list[int], distances: list[float]) -> tuple[float, float]:
    """The value at 0 of the least-squares line of the distances over 1 / count, and their distance from it (rms)."""
    inverse = 1 / torch.tensor(counts, dtype=torch.float64)
    values = torch.tensor(distances, dtype=torch.float64)
    centred = inverse - inverse.mean()
    slope = (centred * values).sum() / centred.square().sum()
    intercept = values.mean() - slope * inverse.mean()
    residual = (values - intercept - slope * inverse).square().mean().sqrt()
    return float(intercept), float(residual)


variant = Metric("fid_infinity", compute, needs=("real", "fake"), better="lower", headline="fid_infinity", least=5000)
