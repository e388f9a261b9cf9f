"""Diversity of the fakes: the multi-scale structural similarity of pairs, within a class if labels are known.

Lower means more varied (Odena et al. 2017, arXiv 1610.09585, section 4.2; the similarity: Wang et al. 2003, eq. 7). It
detects a generator that repeats itself, and little else: noise has the lowest value of all. So compare it with the
value of real images, and never read it without a distance to the real images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._pixels import accept_pixels
from frugan.registry import UserError

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the full size first
_WINDOW, _SIGMA = 11, 1.5  # of the Gaussian, in pixels
_ALL_SCALES_FROM = 128  # pixels; there the window of the last scale shrinks to 8
_STABLE = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
_PIXELS_AT_ONCE = 2**22


def compute(*, pixels: Tensor, labels: Tensor | None, seed: int = 0) -> dict[str, float]:
    """``{"ms_ssim": mean, "ms_ssim_worst_class": highest mean of a class}`` of bytes ``[count, c, h, w]``.

    The mean is over random pairs; every image is in one pair, and both images of a pair have the same label. Without
    labels all images are one class. The number of scales depends on the image size (see `similarity`), so compare only
    values of images of equal size.

    Args:
        labels: class numbers ``[count]``, or attributes ``[count, bits]``, of which each combination is a class.
        seed: for the pairs.

    Raises:
        UserError: images are not bytes, fewer than 2, have sides under 11 pixels, or no two of one class.
    """
    images = accept_pixels("ms_ssim", "pixels", pixels, side=_WINDOW)
    means, counts = [], []
    for pairs in _pairs(_classes(labels, len(images)), seed):
        step = max(1, _PIXELS_AT_ONCE // images[0].numel())
        values = torch.cat([similarity(*(images[side] for side in part.T)) for part in pairs.split(step)])
        means.append(float(values.mean()))
        counts.append(len(values))
    mean = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
    return {"ms_ssim": mean, "ms_ssim_worst_class": max(means)}


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """The similarity of each image ``[n, c, h, w]``, 0 to 255, to its partner: float64 ``[n]``, at most 1.

    From 128 pixels there are five scales, as published. Smaller images have as many as the window of 11 pixels fits
    into: three from 44 pixels, two from 22. Then the first weights are divided by their sum. Maps are averaged over
    pixels and channels.
    """
    one, other = one.double(), other.double()
    scales = scales_of(*one.shape[2:])
    score = one.new_ones(len(one))
    for scale in range(scales):
        whole, contrast = _similarity_maps(one, other)
        weight = _WEIGHTS[scale] / (1 if scales == len(_WEIGHTS) else sum(_WEIGHTS[:scales]))
        factor = (whole if scale == scales - 1 else contrast).flatten(1).mean(1)
        score *= factor.clamp_min(0) ** weight
        if scale < scales - 1:
            one, other = avg_pool2d(one, 2), avg_pool2d(other, 2)
    return score


def scales_of(height: int, width: int) -> int:
    """At how many scales images of this size are compared, one to five: each scale halves the one before.

    Halving drops the last row or column of an odd size.
    """
    side = min(height, width)
    if side >= _ALL_SCALES_FROM:
        return len(_WEIGHTS)
    return max(scales for scales in range(1, len(_WEIGHTS) + 1) if side >> (scales - 1) >= _WINDOW)


def _similarity_maps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity, and its factor of contrast and structure, at every place where the window fits."""
    height, width = one.shape[2:]
    size = min(_WINDOW, height, width)
    rows, columns = _window(height, size), _window(width, size).T
    mean_one, mean_other = (rows @ images @ columns for images in (one, other))
    products = mean_one * mean_other
    squares = mean_one.square() + mean_other.square()
    shared = rows @ (one * other) @ columns - products
    spread = rows @ (one.square() + other.square()) @ columns - squares
    contrast = (2 * shared + _STABLE[1]) / (spread + _STABLE[1])
    return contrast * (2 * products + _STABLE[0]) / (squares + _STABLE[0]), contrast


def _window(length: int, size: int) -> Tensor:
    """``[length - size + 1, length]``: a Gaussian of `size` pixels at every place, for one axis of the image."""
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kernel = (-0.5 * (place / (_SIGMA * size / _WINDOW)).square()).exp()
    matrix = torch.zeros(length - size + 1, length, dtype=torch.float64)
    for row, values in enumerate(matrix):
        values[row : row + size] = kernel / kernel.sum()
    return matrix


def _classes(labels: Tensor | None, count: int) -> Tensor:
    """The class ``[count]`` of each image, numbered from 0."""
    if labels is None:
        return torch.zeros(count, dtype=torch.int64)
    if len(labels) != count:
        raise UserError(f"ms_ssim: {count} images but {len(labels)} labels. Give one label for each image, or None.")
    return labels.detach().cpu().unique(dim=0, return_inverse=True)[1]


def _pairs(classes: Tensor, seed: int) -> list[Tensor]:
    """For each class with at least two images, all of them but an odd one in random pairs ``[count, 2]``."""
    order = torch.randperm(len(classes), generator=seeds.generator(seed, "ms_ssim"))
    order = order[classes[order].argsort(stable=True)]
    pairs = [
        part[: len(part) // 2 * 2].view(-1, 2) for part in order.split(classes.bincount().tolist()) if len(part) > 1
    ]
    if not pairs:
        raise UserError(
            f"ms_ssim: it compares pairs of one class, but no two of the {len(classes)} images have the same class. "
            "Make more images, or leave the labels out."
        )
    return pairs


variant = Metric("ms_ssim", compute, needs=("pixels", "labels?"), better="lower", headline="ms_ssim", least=1000,
    least_side=_WINDOW,
)
