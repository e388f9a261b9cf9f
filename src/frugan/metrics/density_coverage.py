"""Density and coverage by nearest neighbours of the real images (Naeem et al. 2020, arXiv 2002.09797, eq. 4 and 5).

Density: how many of the real images' neighbourhoods a fake lies in, against k; about 1 for the same distribution, more
where the fakes crowd together. Coverage: which share of the real neighbourhoods holds a fake. Unlike precision and
recall they draw no neighbourhoods around fakes, so that a few fakes far out cannot raise them.

For the same distribution the expected coverage follows from the counts alone: 1 - prod_(i=1..k) (n - i) / (n + m - i)
for n real and m fake images, 0.969 for 10,000 of each and k = 5.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._neighbours import accept_neighbours, inside, radii


def compute(*, real: Tensor, fake: Tensor, k: int = 5, equal_counts: bool = True, seed: int = 0) -> dict[str, float]:
    """``{"coverage", "density"}`` of features ``[n, d]`` and ``[m, d]``. What lies at a radius exactly is outside.

    Args:
        k: which neighbour's distance is the radius, the image itself not counted.
        equal_counts: thin the larger set to the count of the smaller one, as coverage depends on both counts.
        seed: of that thinning.

    Raises:
        UserError: no more than `k` images, unequal widths, non-finite features or real features that are all equal.
    """
    real, fake = accept_neighbours("density_coverage", real, fake, k, equal_counts, seed)
    counts = inside(fake, real, radii(real, k))
    return {
        "coverage": float((counts.of_balls > 0).double().mean()),
        "density": float(counts.of_points.double().mean() / k),
    }


variant = Metric("density_coverage", compute, needs=("real", "fake"), better="higher", headline="coverage", least=1000)
