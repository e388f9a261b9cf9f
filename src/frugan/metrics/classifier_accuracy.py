"""How often the classifier that a run ships is right on images held out: what its labels have taught it.

The share of held-out images whose likeliest class is their own, and the same for each class. Not to be confused with
`classification_accuracy`, which asks what other classifiers learn from a generator's images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._pixels import accept_pixels
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.artefact import Classifier


def compute(*, classifier: Classifier, held_out_pixels: Tensor, held_out_labels: Tensor) -> dict[str, float]:
    """`accuracy`, and `accuracy_of_class_0` ... for the classes that there are images of.

    Args:
        classifier: what `frugan.load` gives; anything that classifies bytes ``[n, height, width, channels]``.
        held_out_pixels: bytes ``[count, channels, height, width]``; held_out_labels: their classes ``[count]``.

    Raises UserError for labels that are not one class for each image.
    """
    pixels = accept_pixels("classifier_accuracy", "held_out_pixels", held_out_pixels, side=1)
    if held_out_labels.ndim != 1 or len(held_out_labels) != len(pixels):
        raise UserError(
            f"classifier_accuracy: 'held_out_labels' are {list(held_out_labels.shape)} for {len(pixels)} images. It "
            "needs one class for each image."
        )
    told = torch.from_numpy(classifier.classify(pixels.permute(0, 2, 3, 1).numpy()))
    right = (told == held_out_labels).double()
    of_class = {
        f"accuracy_of_class_{number}": float(right[held_out_labels == number].mean())
        for number in held_out_labels.unique().tolist()
    }
    return {"accuracy": float(right.mean()), **of_class}


variant = Metric(
    "classifier_accuracy", compute, ("classifier", "held_out_pixels", "held_out_labels"), better="higher",
    headline="accuracy", least=100,
)
