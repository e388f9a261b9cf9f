"""Class coverage: is a classifier of the data's classes sure of the fakes, and do they spread evenly over classes?

A good generator makes images of which an independent classifier is sure. If it never makes some class, that class has
no share. But repeating one good image of each class gives perfect numbers here. So read them together with a distance
to the real images, never alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._probabilities import accept_probabilities


def compute(*, probabilities: Tensor, sure: float = 0.9, covered: float = 0.01) -> dict[str, float]:
    """``{"confident_share", "smallest_share", "classes_covered", "class_entropy"}`` of the fakes.

    `confident_share` is the share of images whose most likely class has a probability of at least `sure`. Each image
    counts for its most likely class: `smallest_share` is the share of the rarest class; `classes_covered` is the share
    of classes that each have at least the share `covered` of the images; `class_entropy` is the entropy of the shares,
    divided by its largest possible value.

    Args:
        probabilities: natural logarithms ``[count, classes]`` (log-softmax values).

    Raises:
        UserError: no images, fewer than two classes, or values that are not finite probabilities.
    """
    logs = accept_probabilities("class_coverage", probabilities)
    classes = logs.shape[1]
    best = logs.max(1)
    shares = torch.bincount(best.indices, minlength=classes).double() / len(logs)
    return {
        "confident_share": float((best.values.double() >= math.log(sure)).double().mean()),
        "smallest_share": float(shares.min()),
        "classes_covered": float((shares >= covered).double().mean()),
        "class_entropy": float(torch.special.entr(shares).sum() / math.log(classes)),
    }


variant = Metric(
    "class_coverage", compute, needs=("probabilities",), better="higher", headline="confident_share", least=1000
)
