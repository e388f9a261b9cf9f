"""Checks of the features that metrics get (on the CPU, finite, enough of them), and their mean and covariance.

Features keep their type, usually float32 mapped from a file. A metric converts only the rows that it computes with next
to float64, so its memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from frugan.registry import UserError

CHUNK = 8192
"""Rows that are float64 at a time, where a metric needs no more of them together."""


class Statistics(NamedTuple):
    """Mean ``[width]`` and unbiased covariance ``[width, width]`` (over count - 1) of `count` features; float64."""

    count: int
    mean: Tensor
    covariance: Tensor


def accept(metric: str, images: str, features: Tensor, *, least: int = 2) -> Tensor:
    """Check the features ``[count, width]`` of the set called `images`, and return them on the CPU.

    Raises UserError, which names `metric`, if they have another shape, are fewer than `least`, or are not finite.
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise UserError(
            f"{metric}: '{images}' has the shape {list(features.shape)}. Features must have the shape [count, width]."
        )
    if len(features) < least:
        raise UserError(f"{metric}: {_images(len(features))} in '{images}', but it needs {least} or more. Make more.")
    features = features.detach().cpu()
    broken = torch.cat([(~torch.isfinite(part)).any(1) for part in features.split(CHUNK)])
    if broken.any():
        raise UserError(
            f"{metric}: {int(broken.sum())} of {len(features)} images of '{images}' have features that are not finite "
            f"(the first is number {int(broken.nonzero()[0])}). Look at these images: the generator may have diverged."
        )
    return features


def accept_pair(metric: str, real: Tensor, fake: Tensor, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Check real and fake features of equal width, as `accept` does, and return them.

    All fakes may be equal (a collapsed generator). All real ones may not: then the view cannot see anything in them.
    """
    real, fake = accept(metric, "real", real, least=least), accept(metric, "fake", fake, least=least)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"{metric}: 'real' has {real.shape[1]} features per image, but 'fake' has {fake.shape[1]}. Compute both "
            "with the same view."
        )
    if all(bool((part == real[0]).all()) for part in real.split(CHUNK)):
        raise UserError(
            f"{metric}: all {len(real)} real images have equal features, so nothing can be compared with them. Check "
            "the data with `frugan data show`, or use another view."
        )
    return real, fake


def collect(chunks: Iterable[Tensor]) -> Statistics:
    """Mean and covariance of features in chunks ``[any count, width]``; only one chunk is in memory at a time.

    Chunks are merged by their means (Chan, Golub & LeVeque 1979, eq. 2.1). This avoids the cancellation in sum(x x') -
    n m m'.
    """
    count, mean, scatter = 0, torch.zeros(0), torch.zeros(0)
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        centred = chunk.detach().to("cpu", torch.float64, copy=True)
        chunk_mean = centred.mean(0)
        centred -= chunk_mean
        if count == 0:
            count, mean, scatter = len(chunk), chunk_mean, _gram(centred)
            continue
        total, step = count + len(chunk), chunk_mean - mean
        scatter = scatter.add_(_gram(centred)).addr_(step, step, alpha=count * len(chunk) / total)
        mean = mean + step * (len(chunk) / total)
        count = total
    if count < 2:
        raise UserError(f"A covariance needs 2 images or more, but there are {_images(count)}. Make more.")
    return Statistics(count, mean, scatter / (count - 1))


def _gram(rows: Tensor) -> Tensor:
    """``rows.T @ rows`` by numpy, which knows the result to be symmetric and takes half as long for it as torch."""
    in_numpy: Any = rows.numpy()
    with numpy.errstate(over="ignore", invalid="ignore"):  # said in words where the statistics are used
        return torch.from_numpy(in_numpy.T @ in_numpy)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
