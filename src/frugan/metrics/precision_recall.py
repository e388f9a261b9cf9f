"""Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2).

Precision: the share of fakes that lie among the real images, so each could be a real one. Recall: the share of real
images that lie among the fakes, so each could be generated. An image lies among a set if its distance to some image of
the set is less than the distance of that image to its k-th nearest other one. A collapsed generator has high precision
and low recall.

In many dimensions even two sets of the same distribution do not reach 1, and recall depends on the number of images. So
compare with the value of real images against real images, at equal counts.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._neighbours import accept_neighbours, inside, radii


def compute(*, real: Tensor, fake: Tensor, k: int = 3, equal_counts: bool = True, seed: int = 0) -> dict[str, float]:
    """``{"f_score", "precision", "recall"}`` of features ``[n, d]`` and ``[m, d]``.

    The score is the harmonic mean of the other two, 0 if both are 0. A feature exactly at the radius is outside
    (torch-fidelity counts it as inside, which matters only for equal distances).

    Args:
        k: the radius is the distance to the k-th nearest other image.
        equal_counts: use only as many images of the larger set as the smaller one has, since the values depend on both
            counts.
        seed: for the choice of these images.

    Raises:
        UserError: `k` images or fewer, unequal widths, non-finite features, or real features that are all equal.
    """
    real, fake = accept_neighbours("precision_recall", real, fake, k, equal_counts, seed)
    precision = float((inside(fake, real, radii(real, k)).of_points > 0).double().mean())
    recall = float((inside(real, fake, radii(fake, k)).of_points > 0).double().mean())
    both = precision + recall
    return {"f_score": 2 * precision * recall / both if both else 0.0, "precision": precision, "recall": recall}


variant = Metric("precision_recall", compute, needs=("real", "fake"), better="higher", headline="f_score", least=200)
