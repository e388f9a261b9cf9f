"""How well a code that was learnt without labels tells the class: each value stands for the class that it means most.

What an encoder puts out first is read as a category (InfoGAN's ``category_0``): its largest number is the value. Each
value is matched with the class that most real images of this value have (with none, if no real image has it), and the
share of held-out images that are then named rightly is the accuracy (Chen et al. 2016, arXiv 1606.03657, section 7.2,
who give 95 % on MNIST). Labels serve this matching alone. Always the commonest class would be right too, as often as it
is there: `chance`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from frugan.metrics import Metric
from frugan.registry import UserError

NAME = "code_accuracy"


def compute(
    *, real_encoded: Tensor, real_labels: Tensor, held_out_encoded: Tensor, held_out_labels: Tensor
) -> dict[str, float]:
    """``{"accuracy", "standard_error", "chance", "information", "values_used"}``.

    `information` is the mutual information of value and class of held-out images, in nats; `values_used` is how many
    values any of them has.

    Args:
        real_encoded, held_out_encoded: what the encoder finds, ``[count, values]``; real_labels, held_out_labels: their
            classes ``[count]``.

    Raises UserError for labels that are missing or not one class an image, and for an encoding of one number.
    """
    for name, labels, encoded in (
        ("real_labels", real_labels, real_encoded), ("held_out_labels", held_out_labels, held_out_encoded)
    ):  # fmt: skip
        if labels is None or labels.shape != (len(encoded),):
            shape = "missing" if labels is None else f"{list(labels.shape)}"
            raise UserError(f"{NAME}: '{name}' are {shape}. It needs one class for each of {len(encoded)} images.")
        if encoded.ndim != 2 or encoded.shape[1] < 2:
            raise UserError(
                f"{NAME}: what the encoder finds has the shape {list(encoded.shape)}. It needs two numbers or more for "
                "each image, the largest of which is the value."
            )
    classes = int(max(real_labels.max(), held_out_labels.max())) + 1
    known = _counted(real_encoded, real_labels, classes)
    meant = known.argmax(1)
    counts = _counted(held_out_encoded, held_out_labels, classes)
    total = counts.sum()
    right = counts[torch.arange(len(counts)), meant] * (known.sum(1) > 0)  # a value that no real image has means none
    share = float(right.sum() / total)
    joint = counts / total
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    information = torch.special.xlogy(joint, joint / apart.where(joint > 0, 1.0)).sum()
    return {
        "accuracy": share, "standard_error": (share * (1 - share) / float(total)) ** 0.5,
        "chance": float(counts.sum(0).max() / total), "information": float(information),
        "values_used": float((counts.sum(1) > 0).sum()),
    }  # fmt: skip


def _counted(encoded: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images have each value and class, float64 ``[values, classes]``."""
    values = functional.one_hot(encoded.cpu().argmax(1), encoded.shape[1]).double()
    return values.T @ functional.one_hot(labels.cpu().long(), classes).double()


variant = Metric(
    NAME, compute, better="higher", headline="accuracy", least=100,
    needs=("real_encoded", "real_labels", "held_out_encoded", "held_out_labels"),
)
