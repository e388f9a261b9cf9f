"""Nearest neighbours of features, as exact as if every distance was computed one by one in float64.

Most distances are computed by a product of matrices, which is ten times faster but inexact between near duplicates. Its
largest possible error is known for each pair. If that error could change a decision, the distance is computed again by
differences. So equal distances are equal, and copies have the distance 0, whatever the blocks. Features are ``[count,
width]`` in float64, as `in_float64` returns them. A block of distances takes about 100 MB, however many features there
are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics._features import accept_pair
from frugan.registry import UserError

_BLOCK = 2**22  # distances at a time
_EPSILON = torch.finfo(torch.float64).eps


class Inside(NamedTuple):
    """In how many balls each point lies ``[points]``, and how many points each ball holds ``[balls]``."""

    of_points: Tensor
    of_balls: Tensor


class Nearest(NamedTuple):
    """The distance of each point to the nearest centre, and the number of that centre: ``[points]``."""

    distances: Tensor
    rows: Tensor


def accept_neighbours(
    metric: str, real: Tensor, fake: Tensor, k: int, equal_counts: bool, seed: int
) -> tuple[Tensor, Tensor]:
    """Check real and fake features, more than `k` of each, and return them.

    With `equal_counts`, a random part of the larger set is used, as many as the smaller one has. Raises UserError,
    which names `metric`, if the features cannot be compared or `k` is below 1.
    """
    if k < 1:
        raise UserError(f"{metric}: k={k}. It measures the distance to the k-th nearest neighbour, so give 1 or more.")
    real, fake = accept_pair(metric, real, fake, least=k + 1)
    real, fake = in_float64(metric, "real", real), in_float64(metric, "fake", fake)
    if equal_counts:
        count = min(len(real), len(fake))
        real, fake = (_thinned(features, count, seed) for features in (real, fake))
    return real, fake


def in_float64(metric: str, images: str, features: Tensor) -> Tensor:
    """Checked features of the set called `images` in float64. Raises UserError if their distances would be infinite."""
    features = features.double()
    if not bool(torch.isfinite(_squares(features)).all()):
        raise UserError(
            f"{metric}: the features of '{images}' are too large for float64; the generator may have diverged."
        )
    return features


def radii(features: Tensor, k: int) -> Tensor:
    """The distance of each feature to the k-th nearest other one: ``[count]``. Equal features in other rows count."""
    kth_distances, squares = [], _squares(features)
    for rows in _blocks(len(features), len(features)):
        squared, slack = _roughly(features[rows], features, squares[rows], squares)
        _without_itself(squared, rows)
        kth = squared.topk(k, largest=False).values[:, -1:]
        # Three times the error: what is left out is nearer or farther than the k-th for certain.
        close = (squared - kth).abs_() <= slack.mul_(3)
        distances = squared.clamp_min_(0).sqrt_()
        distances[close] = _one_by_one(features[rows], features, close)
        kth_distances.append(distances.topk(k, largest=False).values[:, -1])
    return torch.cat(kth_distances)


def nearest(points: Tensor, centres: Tensor) -> Nearest:
    """The nearest centre of each point; an equal centre counts, with the distance 0."""
    return _nearest(points, centres, others=False)


def nearest_other(features: Tensor) -> Nearest:
    """The nearest other feature of each feature; an equal one in another row counts, with the distance 0."""
    return _nearest(features, features, others=True)


def _nearest(points: Tensor, centres: Tensor, *, others: bool) -> Nearest:
    """As `nearest`; with `others` the point of a row is no centre to itself."""
    distances, nearest_rows = [], []
    point_squares, centre_squares = _squares(points), _squares(centres)
    for rows in _blocks(len(points), len(centres)):
        squared, slack = _roughly(points[rows], centres, point_squares[rows], centre_squares)
        if others:
            _without_itself(squared, rows)
        close = squared - slack <= (squared + slack).min(1, keepdim=True).values  # whoever could be the nearest
        squared.fill_(torch.inf)[close] = _one_by_one(points[rows], centres, close)
        first = squared.argmin(1, keepdim=True)
        distances.append(squared.gather(1, first)[:, 0])
        nearest_rows.append(first[:, 0])
    return Nearest(torch.cat(distances), torch.cat(nearest_rows))


def inside(points: Tensor, centres: Tensor, radii: Tensor) -> Inside:
    """Count the points that are nearer to a centre than its radius. Points exactly at the radius do not count."""
    of_points, of_balls = [], torch.zeros(len(centres), dtype=torch.int64)
    point_squares, centre_squares = _squares(points), _squares(centres)
    for rows in _blocks(len(points), len(centres)):
        squared, slack = _roughly(points[rows], centres, point_squares[rows], centre_squares)
        squared -= radii.square()
        held = squared < 0
        close = squared.abs_() <= slack
        nearer = _one_by_one(points[rows], centres, close) < radii.expand_as(close)[close]
        held[close] = nearer
        of_points.append(held.sum(1))
        of_balls += held.sum(0)
    return Inside(torch.cat(of_points), of_balls)


def _thinned(features: Tensor, count: int, seed: int) -> Tensor:
    """`count` of the features; all of them, untouched, if there are no more."""
    if len(features) == count:
        return features
    return features[torch.randperm(len(features), generator=seeds.generator(seed, "equal counts"))[:count]]


def _without_itself(squared: Tensor, rows: slice) -> None:
    """In a block of distances among features, set the distance of each row to itself to infinity."""
    squared[torch.arange(len(squared)), torch.arange(rows.start, rows.start + len(squared))] = torch.inf


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def _squares(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=1).square()


def _roughly(one: Tensor, other: Tensor, one_squares: Tensor, other_squares: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances by |a|^2 + |b|^2 - 2 a'b, and by how much each can differ from one taken by differences.

    A sum of d products is off by at most d times half an epsilon of the sum of their sizes; both ways are counted, and
    a few roundings more.
    """
    squared = torch.addmm(other_squares, one, other.T, alpha=-2).add_(one_squares[:, None])
    slack = (one_squares[:, None] + other_squares).mul_((2 * one.shape[1] + 16) * _EPSILON)
    return squared, slack


def _one_by_one(one: Tensor, other: Tensor, chosen: Tensor) -> Tensor:
    """Distances by differences of the `chosen` pairs ``[len(one), len(other)]``, in the order of `chosen.nonzero()`."""
    direct = "donot_use_mm_for_euclid_dist"
    rows, columns = chosen.nonzero(as_tuple=True)
    if len(rows) * 16 > chosen.numel():  # so many copies that picking the pairs would cost more than taking all
        return torch.cdist(one, other, compute_mode=direct)[chosen]
    size = max(1, _BLOCK // one.shape[1])
    pairs = zip(rows.split(size), columns.split(size), strict=True)
    return torch.cat([torch.cdist(one[i, None], other[j, None], compute_mode=direct).flatten() for i, j in pairs])
