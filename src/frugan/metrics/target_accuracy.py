"""The share of translated images in which an independent classifier sees what the translation was asked for.

What was asked for is the difference between the labels given to the translator and the image's own: one class, or some
attributes (for a new hair colour, the new one and the old one). The classifier must predict all of them right. `before`
is the same share before translation, where it should be near 0. The floor is the share for real images of the target; a
translation can hardly reach more. `rise` is the difference of the two shares, from pairs: each image before and after.
Its interval is that of Agresti and Min 2005 (Statistics in Medicine 24, 729-740), with half an image added to each of
the four cells.

StarGAN's paper measures this as an error (Choi et al. 2018, arXiv 1711.09020, section 5.5).
"""

from __future__ import annotations

import math

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import accept_labels
from frugan.registry import UserError

QUANTILE_95 = 1.959963984540054


def compute(*, labels: Tensor, source_labels: Tensor, told: Tensor, source_told: Tensor) -> dict[str, float]:
    """``{"target_accuracy", "before", "rise", "rise_low", "rise_high"}``: shares of the images.

    Args:
        labels: what the translator was asked for, classes ``[count]`` or attributes ``[count, bits]``.
        source_labels: the labels of the images before translation.
        told, source_told: the classifier's predictions for the images after and before translation.

    Raises:
        UserError: tables of unequal shapes, fewer than two images, or an image whose labels were not to change.
    """
    asked, own, after, before = (
        one if one.ndim == 2 else one[:, None]
        for one in accept_labels("target_accuracy", labels, source_labels, told, source_told)
    )
    changed = asked != own
    if not bool(changed.any(1).all()):
        raise UserError(
            f"target_accuracy: {int((~changed.any(1)).sum())} of {len(asked)} images were translated to the class that "
            "they already have. Give images of other classes (identity_error measures these)."
        )
    reached = [((one == asked) | ~changed).all(1) for one in (before, after)]
    gained, lost = (int((a & ~b).sum()) for a, b in ((reached[1], reached[0]), (reached[0], reached[1])))
    low, high = paired_interval(gained, lost, len(asked))
    shares = [float(one.double().mean()) for one in reached]
    return {
        "target_accuracy": shares[1], "before": shares[0], "rise": (gained - lost) / len(asked),
        "rise_low": low, "rise_high": high,
    }  # fmt: skip


def paired_interval(gained: int, lost: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares of the same `count` images.

    `gained` images changed from wrong to right, `lost` images from right to wrong.
    """
    more, fewer, total = gained + 0.5, lost + 0.5, count + 2.0
    centre = (more - fewer) / total
    half = QUANTILE_95 * math.sqrt(more + fewer - (more - fewer) ** 2 / total) / total
    return max(centre - half, -1.0), min(centre + half, 1.0)


variant = Metric(
    "target_accuracy", compute, needs=("labels", "source_labels", "told", "source_told"), better="higher",
    headline="target_accuracy", least=50,
)  # fmt: skip
