"""Density and coverage by nearest neighbours of the real images (Naeem et al. 2020, arXiv 2002.09797, eq. 4 and 5).

Density: in how many neighbourhoods of real images a fake lies, divided by k. It is about 1 for the same distribution,
and more where fakes crowd together. Coverage: the share of real neighbourhoods that hold a fake. Unlike precision and
recall, they use no neighbourhoods around fakes, so a few fakes far away cannot raise them.

For the same distribution the expected coverage follows from the counts alone: 1 - prod_(i=1..k) (n - i) / (n + m - i)
for n real and m fake images, 0.969 for 10,000 of each and k = 5.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._neighbours import accept_neighbours, inside, radii


def compute(*, real: Tensor, fake: Tensor, k: int = 5, equal_counts: bool = True, seed: int = 0) -> dict[str, float]:
    """``{"coverage", "density"}`` of features ``[n, d]`` and ``[m, d]``. A feature exactly at a radius is outside.

    Args:
        k: the radius is the distance to the k-th nearest other image.
        equal_counts: use only as many images of the larger set as the smaller one has, since coverage depends on both
            counts.
        seed: for the choice of these images.

    Raises:
        UserError: `k` images or fewer, unequal widths, non-finite features, or real features that are all equal.
    """
    real, fake = accept_neighbours("density_coverage", real, fake, k, equal_counts, seed)
    counts = inside(fake, real, radii(real, k))
    return {
        "coverage": float((counts.of_balls > 0).double().mean()),
        "density": float(counts.of_points.double().mean() / k),
    }


variant = Metric("density_coverage", compute, needs=("real", "fake"), better="higher", headline="coverage", least=200)
