"""Kernel distance class by class: are the fakes that were asked for as a class like the real images of that class?

A conditional generator that ignores its labels can have a good distance over all images; here it cannot. The form of
KID was chosen (`frugan.metrics.kid`, Bińkowski et al. 2018) because a class has few images, at which FID is far too
large: this stays unbiased. The idea is that of intra-class FID (Miyato and Koyama 2018, arXiv 1802.05637, section 4.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._features import accept_pair
from frugan.metrics.kid import discrepancy
from frugan.registry import UserError

FEWEST, MOST = 50, 1000
"""Images of a class: with fewer the value is noise, more are not looked at."""


def compute(*, real: Tensor, fake: Tensor, real_labels: Tensor, labels: Tensor) -> dict[str, float]:
    """``{"class_kid": mean over classes, "class_kid_worst": the largest, "class_kid_0": of class 0, ...}``.

    Of attributes, a class is all images that have the attribute. Of each class the first images count, as many real
    ones as fakes, at most 1,000.

    Args:
        real, fake: features ``[n, d]`` and ``[m, d]``.
        real_labels, labels: the classes of the real images, and what the fakes were asked to be: numbers ``[count]``,
            or attributes ``[count, bits]``.

    Raises:
        UserError: labels of two forms or of other counts than the features, or a class with fewer than 50 real images
            or fakes.
    """
    real, fake = accept_pair("class_kid", real, fake)
    for name, images, told in (("real", real, real_labels), ("fake", fake, labels)):
        if len(images) != len(told) or told.dim() != real_labels.dim():
            raise UserError(
                f"class_kid: the labels of the {name} images have the shape {list(told.shape)}, but there are "
                f"{len(images)} images, and real labels have {real_labels.dim()} axes. Give one label for each image."
            )
    classes = real_labels.shape[1] if real_labels.dim() == 2 else int(real_labels.max()) + 1
    values = {}
    for number in range(classes):
        both = [images[_members(told, number)] for images, told in ((real, real_labels), (fake, labels))]
        count = min(*map(len, both), MOST)
        if count < FEWEST:
            raise UserError(
                f"class_kid: class {number} has {len(both[0])} real and {len(both[1])} fake images, but it needs "
                f"{FEWEST} of each. Make more images (--count), or choose classes that are more frequent."
            )
        values[f"class_kid_{number}"] = float(discrepancy(*(one[:count].double() for one in both)))
    return {
        "class_kid": sum(values.values()) / classes, "class_kid_worst": max(values.values()), **values,
    }  # fmt: skip


def _members(labels: Tensor, number: int) -> Tensor:
    """Which images are of a class, or have an attribute."""
    labels = labels.cpu()
    return torch.nonzero(labels[:, number] > 0.5 if labels.dim() == 2 else labels == number).flatten()


variant = Metric(
    "class_kid", compute, needs=("real", "fake", "real_labels", "labels"), better="lower", headline="class_kid",
    least=1000,
)
