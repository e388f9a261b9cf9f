"""What a classifier of the data's own classes sees in the fakes: how many it is sure of, and how evenly they spread.

A generator that draws well makes images of which an independent classifier is sure; one that has dropped a class leaves
it without a share. Both can be had by repeating one good image of each class, so this stands beside a distance to the
real images and never in its place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._probabilities import accept_probabilities


def compute(*, probabilities: Tensor, sure: float = 0.9, covered: float = 0.01) -> dict[str, float]:
    """``{"confident_share", "smallest_share", "classes_covered", "class_entropy"}`` of the fakes.

    `confident_share` is the share of images whose likeliest class has at least `sure`; each image counts for its
    likeliest class: `smallest_share` is that of the rarest one, `classes_covered` the share of the classes that at
    least `covered` of the images fall into, `class_entropy` the entropy of the shares over its largest possible value.

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
