"""Kernel distance: the squared maximum mean discrepancy with a cubic kernel (Bińkowski et al. 2018, arXiv 1801.01401).

Unlike FID it is not biased by the number of images. Small negative values are possible; they mean "no difference seen".
Papers often show it times 1000; here it is not multiplied.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._features import accept_pair
from frugan.registry import UserError


def compute(
    *, real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> dict[str, float]:
    """``{"kid": mean, "kid_std": deviation}`` over random subsets of features ``[n, d]`` and ``[m, d]``.

    Subsets that would all be the same (of as many images as there are) are computed once, and there is no deviation.

    The deviation is the population deviation over subsets. It is not a standard error, and says nothing about training
    seeds.

    Args:
        subsets: how many pairs of subsets are drawn.
        subset_size: how many images each subset has, drawn without replacement.
        seed: for the draws.

    Raises:
        UserError: fewer images than `subset_size`, unequal widths, non-finite or all equal real features.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(
            f"kid: subsets={subsets}, subset_size={subset_size}. Give at least 1 subset of at least 2 images."
        )
    real, fake = accept_pair("kid", real, fake)
    fewest = min(len(real), len(fake))
    if fewest < subset_size:
        raise UserError(
            f"kid: it needs subsets of {subset_size} images, but there are {len(real)} real and {len(fake)} fake ones. "
            f"Make more, or pass subset_size={fewest}."
        )
    if subset_size == len(real) == len(fake):
        subsets = 1
    draws = seeds.generator(seed, "kid")
    values = torch.stack(
        [
            discrepancy(
                *(
                    features[torch.randperm(len(features), generator=draws)[:subset_size]].double()
                    for features in (real, fake)
                )
            )
            for _ in range(subsets)
        ]
    )
    deviation = {"kid_std": float(values.std(correction=0))} if subsets > 1 else {}
    return {"kid": float(values.mean()), **deviation}


def discrepancy(real: Tensor, fake: Tensor) -> Tensor:
    """The unbiased squared MMD of two equal counts of features ``[m, d]`` (arXiv 1801.01401, eq. 4 and its footnote).

    Within a set, pairs of a feature with itself are left out; between the sets they are kept. So the discrepancy of a
    set with itself is not 0, but -2/m times the difference between the mean of its kernel's diagonal and the mean of
    the rest.
    """
    count = len(real)
    within = sum(matrix.sum() - matrix.trace() for matrix in (kernel(real, real), kernel(fake, fake)))
    return within / (count * (count - 1)) - 2 * kernel(real, fake).mean()


def kernel(one: Tensor, other: Tensor) -> Tensor:
    """(x'y / d + 1)^3 for every pair of features ``[n, d]`` and ``[m, d]``: ``[n, m]``."""
    base = one @ other.T / one.shape[1] + 1
    return base * base * base  # six times faster than a power in float64


variant = Metric("kid", compute, needs=("real", "fake"), better="lower", headline="kid", least=100)
