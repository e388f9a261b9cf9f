"""How well a linear classifier of an encoder's features tells the classes of images that it was not fitted on.

Logistic regression on what the encoder's last stage says of the real images, its regularisation chosen on a fifth of
them, and the share of held-out images that it classifies rightly. This is how representations are compared (BigBiGAN,
Donahue and Simonyan 2019, arXiv 1907.02544, section 3: on the average of the last map). Beside it the same of the
latents that the encoder finds.

An untrained encoder is far from chance, so compare with one. ``frugan probe`` does more: few labels, other networks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import linear
from frugan.metrics import Metric
from frugan.metrics._rows import check_classes
from frugan.registry import UserError

NAME = "linear_probe"
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""C, the weight of the data against that of small weights, of standardised features."""


def compute(
    *, real_encoded: Tensor, real_hidden: Tensor, real_labels: Tensor, held_out_encoded: Tensor,
    held_out_hidden: Tensor, held_out_labels: Tensor,
) -> dict[str, float]:  # fmt: skip
    """``{"accuracy", "standard_error", "accuracy_latents", "c"}``: shares of the held-out images, and what was chosen.

    Args:
        real_encoded, held_out_encoded: the latents that the encoder finds, ``[count, size]``.
        real_hidden, held_out_hidden: its last stage, ``[count, width]``.
        real_labels, held_out_labels: classes ``[count]``.

    Raises UserError if labels are missing or not one an image, features are not finite, or no image is left to choose
    the regularisation by.
    """
    check_classes(NAME, "real_labels", real_labels, len(real_encoded))
    check_classes(NAME, "held_out_labels", held_out_labels, len(held_out_encoded))
    labels, asked = real_labels.cpu(), held_out_labels.cpu()
    share, strength = _probe(real_hidden, labels, held_out_hidden, asked)
    of_latents, _ = _probe(real_encoded, labels, held_out_encoded, asked)
    return {
        "accuracy": share, "standard_error": (share * (1 - share) / len(asked)) ** 0.5, "accuracy_latents": of_latents,
        "c": strength,
    }  # fmt: skip


def _probe(real: Tensor, labels: Tensor, held_out: Tensor, asked: Tensor) -> tuple[float, float]:
    """The share of held-out rows that are classified rightly, and the strength that was chosen."""
    seen, tested = _standardised(real, held_out)
    classes = int(max(labels.max(), asked.max())) + 1
    left = len(seen) - len(seen) // 5
    if not 0 < left < len(seen):
        raise UserError(f"{NAME}: {len(seen)} real images are too few to set some apart. Give 5 or more.")
    # The order of the images says nothing of their classes: they were drawn, or are a data set's random choice.
    order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))
    fitted, chosen = order[:left], order[left:]
    tried = linear.fit_each(seen[fitted], labels[fitted], classes, STRENGTHS, loss="logistic")
    right = [float((one.predict(seen[chosen]) == labels[chosen]).double().mean()) for one in tried]
    strength = STRENGTHS[right.index(max(right))]
    whole = linear.fit(seen, labels, classes, loss="logistic", c=strength)
    return float((whole.predict(tested) == asked).double().mean()), strength


def _standardised(real: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the real rows' mean taken away, divided by their deviations; a feature without any becomes 0."""
    real, held_out = real.cpu().float().flatten(1), held_out.cpu().float().flatten(1)
    if not bool(torch.isfinite(real).all() and torch.isfinite(held_out).all()):
        raise UserError(f"{NAME}: some features are not finite. Look at the images: the networks may have diverged.")
    mean, spread = real.mean(0), real.std(0, correction=0)
    spread = torch.where(spread > 1e-6 * spread.max().clamp_min(1e-12), spread, torch.inf)
    return (real - mean) / spread, (held_out - mean) / spread


variant = Metric(
    NAME, compute, better="higher", headline="accuracy", least=100,
    needs=("real_encoded", "real_hidden", "real_labels", "held_out_encoded", "held_out_hidden", "held_out_labels"),
)  # fmt: skip
