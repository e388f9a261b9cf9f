"""How many of the data's classes the fakes cover, and how unevenly (Metz et al. 2017, arXiv 1611.02163).

Each fake counts for its most likely class, by a classifier. On stacked digits (data ``stacked:mnist``, view `stacked`)
these are the 1000 modes of the literature, which uses 26,000 images. With the view `classifier` they are the classes of
any labelled data.

One image is enough to cover a class, even if it is misjudged, so the number of classes soon reaches its maximum. The
divergence still differs then, so it is the number in tables. A perfect generator does not reach 0, since it draws by
chance: on average it has `reverse_kl_floor`, and covers `modes_expected` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._probabilities import accept_probabilities
from frugan.registry import UserError


def compute(*, probabilities: Tensor, shares: Sequence[float] | None = None) -> dict[str, float]:
    """``{"reverse_kl", "reverse_kl_floor", "modes", "modes_expected"}`` of the fakes.

    `reverse_kl` is the sum of p log(p / q) over the classes, in natural logarithms: p is the fakes' share of a class, q
    the right share. A total collapse to one of K equally frequent classes gives log K.

    Args:
        probabilities: natural logarithms ``[count, classes]`` (log-softmax values).
        shares: q, how frequent each class should be, in any unit. If left out: all equal.

    Raises:
        UserError: no images, fewer than two classes, NaN, rows that are not the logarithms of probabilities, or shares
            that are not one number above 0 for each class.
    """
    logs = accept_probabilities("modes", probabilities)
    return covered(torch.bincount(logs.argmax(1), minlength=logs.shape[1]), shares)


def covered(counts: Tensor, shares: Sequence[float] | None = None) -> dict[str, float]:
    """The numbers of `compute` from how many images fall into each class, int64 ``[classes]``."""
    right = torch.tensor([1] * len(counts) if shares is None else shares, dtype=torch.float64)
    if right.shape != counts.shape or not bool((torch.isfinite(right) & (right > 0)).all()):
        raise UserError(
            f"modes: the shares have the shape {list(right.shape)}, but there are {len(counts)} classes. Give one "
            "finite number above 0 for each class."
        )
    right = right / right.sum()
    total = int(counts.sum())
    made = counts.double() / total
    floor, expected = _by_chance(total, right)
    return {
        "reverse_kl": max(0.0, float((torch.xlogy(made, made) - torch.xlogy(made, right)).sum())),
        "reverse_kl_floor": floor,
        "modes": float((counts > 0).sum()),
        "modes_expected": expected,
    }


def _by_chance(total: int, right: Tensor) -> tuple[float, float]:
    """Mean divergence and mean number of classes of `total` images drawn with exactly these shares.

    Each class holds a binomial number k of images, so the means are sums over k. With many images of K classes the
    divergence is about (K - 1) / (2 total).
    """
    k = torch.arange(total + 1, dtype=torch.float64)
    ways = math.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(total - k + 1)
    held = k / total
    divergence = classes = 0.0
    values, multiplicities = right.unique(return_counts=True)
    for share, times in zip(values.tolist(), multiplicities.tolist(), strict=True):
        odds = torch.exp(ways + k * math.log(share) + (total - k) * math.log1p(-share))
        divergence += times * float((odds * (torch.xlogy(held, held) - held * math.log(share))).sum())
        classes += times * (1 - float(odds[0]))
    return divergence, classes


variant = Metric("modes", compute, needs=("probabilities",), better="lower", headline="reverse_kl", least=1000)
