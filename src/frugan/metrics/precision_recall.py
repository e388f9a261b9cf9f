"""Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2).

Precision: which share of the fakes lies among the real images, that is, could be one. Recall: which share of the real
images lies among the fakes, that is, could be generated. "Among" is within the distance from any image of a set to its
k-th nearest other one. A collapsed generator has high precision and low recall.

Even two sets of one distribution do not reach 1 in many dimensions, and recall depends on how many images there are:
compare with the value of real images against real ones, at equal counts.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._neighbours import accept_neighbours, inside, radii


def compute(*, real: Tensor, fake: Tensor, k: int = 3, equal_counts: bool = True, seed: int = 0) -> dict[str, float]:
    """``{"f_score", "precision", "recall"}`` of features ``[n, d]`` and ``[m, d]``.

    The score is their harmonic mean, 0 where both are 0. What lies at the radius exactly is outside (torch-fidelity
    counts it as inside: a difference for ties only).

    Args:
        k: which neighbour's distance is the radius, the image itself not counted.
        equal_counts: thin the larger set to the count of the smaller one, as the values depend on both counts.
        seed: of that thinning.

    Raises:
        UserError: no more than `k` images, unequal widths, non-finite features or real features that are all equal.
    """
    real, fake = accept_neighbours("precision_recall", real, fake, k, equal_counts, seed)
    precision = float((inside(fake, real, radii(real, k)).of_points > 0).double().mean())
    recall = float((inside(real, fake, radii(fake, k)).of_points > 0).double().mean())
    both = precision + recall
    return {"f_score": 2 * precision * recall / both if both else 0.0, "precision": precision, "recall": recall}


variant = Metric("precision_recall", compute, needs=("real", "fake"), better="higher", headline="f_score", least=1000)
