"""How far a translated image keeps the attributes that were not to change, as an independent classifier sees it.

For each image those attributes count that the translator was asked to keep. The classifier is not always right, so
`before` is the share that it predicts right for the images before translation: no translation can be seen to keep more
than that. A translator that changes nothing keeps everything; read it beside `target_accuracy`.
"""

from __future__ import annotations

from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._translated import accept_labels
from frugan.registry import UserError


def compute(*, labels: Tensor, source_labels: Tensor, told: Tensor, source_told: Tensor) -> dict[str, float]:
    """``{"preservation", "before"}``: the share of kept attributes that are predicted right, over images and bits.

    Args:
        labels: what the translator was asked for, attributes ``[count, bits]``.
        source_labels: what the images were before.
        told, source_told: what the classifier predicts for the translated images and for those before.

    Raises:
        UserError: classes, of which an image has no other to be kept; unequal shapes; nothing that was to be kept.
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
