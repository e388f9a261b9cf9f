"""Fréchet distance between two sets of features, as if each was Gaussian (Heusel et al. 2017, 1706.08500, eq. 6).

With the view `inception` it is the FID of the literature. With another view, compare it only with values of the same
view. It is biased upwards, more with fewer images (N(0, I) in d dimensions against N samples of itself: d/N +
d(d+1)/(4N)). So compare only values of equal counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from frugan.metrics import Metric
from frugan.metrics._features import CHUNK, Statistics, accept_pair, collect
from frugan.registry import UserError


def compute(*, real: Tensor, fake: Tensor) -> dict[str, float]:
    """``{"fid": value}`` of features ``[n, d]`` and ``[m, d]``.

    Raises UserError for fewer than two images, unequal widths, non-finite features or real features that are all equal.
    """
    real, fake = accept_pair("fid", real, fake)
    if max(len(real), len(fake)) <= real.shape[1]:
        return {"fid": _from_few(real.double(), fake.double())}
    return {"fid": frechet(collect(real.split(CHUNK)), collect(fake.split(CHUNK)))}


def frechet(real: Statistics, fake: Statistics) -> float:
    """The Fréchet distance |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), in float64.

    Raises UserError if it is not finite.
    """
    return Rooted.of(real).distance(fake)


class Rooted(NamedTuple):
    """One side of the distance with a root R of its covariance (R R' = S1), to compare with several other sides.

    The trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of R' S2 R. This matrix is symmetric, so no
    complex numbers can come out, and singular covariances need no correction. R is lower triangular.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor

    @classmethod
    def of(cls, statistics: Statistics) -> Rooted:
        _, mean, covariance = _double(statistics)
        trace = _finite(covariance.trace())
        root, failed = torch.linalg.cholesky_ex(covariance)
        if failed:  # singular; by eigenvectors it takes many times as long
            values, vectors = torch.linalg.eigh(covariance)
            root = torch.linalg.qr((vectors * values.clamp_min(0).sqrt()).T, mode="r").R.T
        return cls(mean, root, trace)

    def distance(self, other: Statistics) -> float:
        """The Fréchet distance to another set, as `frechet` computes it."""
        _, mean, covariance = _double(other)
        apart = _finite((self.mean - mean).square().sum() + self.trace + covariance.trace())
        shared = torch.linalg.eigvalsh(_between(self.root, covariance)).clamp_min(0).sqrt().sum()
        return _difference(apart, shared)


def _from_few(real: Tensor, fake: Tensor) -> float:
    """The same value without covariances, which are singular for no more images than features.

    The trace of (S1 S2)^(1/2) is the nuclear norm of X Y' / sqrt((n - 1)(m - 1)), X and Y the centred features.
    """
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    real, fake = ((one - one.mean(0)) / (len(one) - 1) ** 0.5 for one in (real, fake))
    apart = _finite(shift + real.square().sum() + fake.square().sum())
    return _difference(apart, torch.linalg.svdvals(real @ fake.T).sum())


def _finite(apart: Tensor) -> Tensor:
    if not bool(torch.isfinite(apart)):
        raise UserError("fid: these features are too large for float64; the generator may have diverged.")
    return apart


def _difference(apart: Tensor, shared: Tensor) -> float:
    """`apart` - 2 `shared`; a value below 0 by rounding becomes 0, one farther below is an error."""
    value = float(apart - 2 * shared)
    if value < -1e-6 * float(apart):
        raise UserError(
            f"fid: the distance is {value:g}, which is impossible for covariances of features. Check how these "
            "covariances were computed."
        )
    return max(value, 0.0)


def _double(statistics: Statistics) -> Statistics:
    return Statistics(statistics.count, statistics.mean.double(), statistics.covariance.double())


def _between(root: Tensor, covariance: Tensor) -> Tensor:
    """The lower half of R' S R for a lower triangular R; eigenvalues of a symmetric matrix need no more.

    In blocks, which leaves out the quarter of R that is 0 and the quarter of the product that nobody reads.
    """
    half = len(root) // 2
    left, right = root[:, :half], root[half:, half:]
    by_left, by_right = covariance @ left, covariance[half:, half:] @ right
    product = torch.zeros_like(covariance)
    product[:half, :half] = left.T @ by_left
    product[half:, :half] = right.T @ by_left[half:]
    product[half:, half:] = right.T @ by_right
    return product


def margin(mean: float, view: str) -> float:
    """The margin of FID: 5 % of the baseline's mean, and at least 1 with the view `inception`."""
    return max(1.0 if view == "inception" else 0.0, 0.05 * mean)


variant = Metric("fid", compute, needs=("real", "fake"), better="lower", headline="fid", least=1000, margin=margin)
