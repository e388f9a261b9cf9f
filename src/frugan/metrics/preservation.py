"""The share of attributes that stay as they should when an image is translated, by an independent classifier.

Only the attributes that the translator was asked to keep count. The classifier makes errors, so `before` is the share
that it predicts right for the images before translation; a translation can hardly reach more. A translator that changes
nothing keeps everything, so read this together with `target_accuracy`.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import accept_labels
from frugan.registry import UserError


def compute(*, labels: Tensor, source_labels: Tensor, told: Tensor, source_told: Tensor) -> dict[str, float]:
    """``{"preservation", "before"}``: the share of attributes predicted right, of those that should be kept.

    Args:
        labels: what the translator was asked for, attributes ``[count, bits]``.
        source_labels: the labels of the images before translation.
        told, source_told: the classifier's predictions for the images after and before translation.

    Raises:
        UserError: labels are classes instead of attributes, shapes are unequal, or no attribute was to be kept.
    """
    asked, own, after, before = accept_labels("preservation", labels, source_labels, told, source_told)
    kept = asked == own
    if asked.ndim == 1 or not bool(kept.any()):
        held = "one class per image" if asked.ndim == 1 else "no attribute that was not to change"
        raise UserError(
            f"preservation: these labels have {held}, so there is no other attribute to keep. Leave this metric out."
        )
    return {
        "preservation": float((after == asked)[kept].double().mean()),
        "before": float((before == asked)[kept].double().mean()),
    }


variant = Metric(
    "preservation", compute, needs=("labels", "source_labels", "told", "source_told"), better="higher",
    headline="preservation", least=50,
)  # fmt: skip
