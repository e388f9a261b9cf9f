"""Classification accuracy score: how well a classifier trained on fakes classifies held-out real images.

A small classifier is trained on fakes only, then tested on real images (Ravuri & Vinyals 2019, arXiv 1905.10887). It
fails if fakes are bad, all alike, or of another class than asked for. Classifiers are also trained on mixtures of real
and fake images, always equally many, so the curve shows how much of the real data fakes can replace. And the nets that
saw only real images judge the fakes, class by class.

The number in tables is the accuracy after training on fakes only. It depends on the data and on the number of images.
So compare it with the accuracy at 0, which is reached with real images instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from frugan import classifying, seeds
from frugan.batch import ImageShape
from frugan.metrics import Metric
from frugan.metrics._pixels import accept_pixel_pair, accept_pixels
from frugan.registry import UserError

FEWEST_NETS = 3


def compute(
    *,
    pixels: Tensor,
    labels: Tensor,
    real_pixels: Tensor,
    real_labels: Tensor,
    held_out_pixels: Tensor,
    held_out_labels: Tensor,
    shares: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    nets: int = FEWEST_NETS,
    seed: int = 0,
) -> dict[str, float]:
    """The accuracies, from bytes ``[count, c, h, w]`` and classes ``[count]``:

    - `accuracy_at_0` ... `accuracy_at_1`: the share of held-out images that are classified right, after training on
    this share of fakes, the rest real. It is the mean over the nets; `_std` is their population deviation.
    - `gap`, `gap_std`: the accuracy at 0 minus that at 1, net by net.
    - `accuracy_of_fakes`: the share of fakes that the nets of share 0 classify as what was asked for; `_of_class_3`:
      the same for fakes of class 3. These nets also err on real images: see `accuracy_at_0`.

    Every net is trained as in `frugan.classifying`, on as many images as the smaller set has. Nets with the same number
    begin with the same weights at every share. A larger share has all fakes of the smaller one. All nets of all shares
    are trained here, on the device of `real_pixels`: some minutes for fifteen nets on 10,000 images.

    Args:
        labels: what the fakes were asked to be.
        shares: shares of fakes, from 0 to 1; both must be among them.
        nets: how many nets are trained for each share, 3 or more: one net alone could be luck.
        seed: for their weights, and for which images they learn from.

    Raises:
        UserError: labels are missing, several for an image, or of a class that real images do not have; fewer than two
            images in a set, or fewer than two classes; images that are not bytes, too small, of unequal shapes or all
            equal.
    """
    if nets < FEWEST_NETS or not {0, 1} <= set(shares) or not all(0 <= share <= 1 for share in shares):
        raise UserError(
            f"classification_accuracy: nets={nets}, shares={list(shares)}. Give nets={FEWEST_NETS} or more, and shares "
            "of generated images from 0 to 1, with 0 and 1 among them."
        )
    device = str(real_pixels.device)
    real, fake, held_out = _accept_pixels(real_pixels, pixels, held_out_pixels)
    answers = _accept_labels("real_labels", real_labels, len(real), None)
    classes = int(answers.max()) + 1
    if len(answers.unique()) < 2:
        raise UserError(
            "classification_accuracy: all real images have the same class, so a classifier has nothing to learn. Use "
            "data with two classes or more."
        )
    asked = _accept_labels("labels", labels, len(fake), classes)
    expected = _accept_labels("held_out_labels", held_out_labels, len(held_out), classes)

    images, known = torch.cat([real, fake]), torch.cat([answers, asked])
    accuracies: dict[float, list[float]] = {share: [] for share in sorted(set(shares))}
    predicted = []
    for number in range(nets):
        orders = _orders(len(real), len(fake), seed, number)
        for share, of_share in accuracies.items():
            rows = mixture(*orders, share)
            start = seeds.derive(seed, "classification_accuracy", number)
            net = classifying.train(images, known, rows, classes, seed=start, device=device)
            of_share.append(float((classifying.classify(net, held_out) == expected).double().mean()))
            if share == 0:
                predicted.append(classifying.classify(net, fake))
    gaps = [at_0 - at_1 for at_0, at_1 in zip(accuracies[0], accuracies[1], strict=True)]
    of_class = [by_class(one, asked) for one in predicted]
    return {
        **{
            key: value
            for share, of_share in accuracies.items() for key, value in _over(f"accuracy_at_{share:g}", of_share)
        },
        **dict(_over("gap", gaps)),
        "accuracy_of_fakes": _mean([float((one == asked).double().mean()) for one in predicted]),
        **{f"accuracy_of_class_{number}": _mean([one[number] for one in of_class]) for number in of_class[0]},
    }


def by_class(predicted: Tensor, asked: Tensor) -> dict[int, float]:
    """For each class that was asked for, the share of its images that were predicted as it; both int64 ``[count]``."""
    return {number: float((predicted[asked == number] == number).double().mean()) for number in asked.unique().tolist()}


def mixture(real: Tensor, fake: Tensor, share: float) -> Tensor:
    """Mix two orders of rows: as many rows as the shorter one has, of which `share` (rounded) are fakes."""
    total = min(len(real), len(fake))
    fakes = round(share * total)
    return torch.cat([real[: total - fakes], fake[:fakes]])


def _orders(real: int, fake: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """Rows of the real images and of the fakes behind them, each in random order."""
    draws = seeds.generator(seed, "classification_accuracy", number, "images")
    return torch.randperm(real, generator=draws), real + torch.randperm(fake, generator=draws)


def _over(name: str, values: list[float]) -> list[tuple[str, float]]:
    mean = _mean(values)
    spread = [(f"{name}_std", _mean([(value - mean) ** 2 for value in values]) ** 0.5)] if len(values) > 1 else []
    return [(name, mean), *spread]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _accept_pixels(real: Tensor, fake: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    side = classifying.SMALLEST_SIDE
    real, fake = accept_pixel_pair("classification_accuracy", real, fake, side=side)
    held_out = accept_pixels("classification_accuracy", "held_out_pixels", held_out, side=side)
    shape = ImageShape(*real.shape[1:])
    if held_out.shape[1:] != real.shape[1:]:
        raise UserError(
            f"classification_accuracy: the real images are {' x '.join(map(str, shape))}, but the held-out ones are "
            f"{' x '.join(map(str, held_out.shape[1:]))} (channels, height, width). Both must have the same shape."
        )
    if min(classifying.input_size(shape)) < side:
        raise UserError(
            f"classification_accuracy: images of {shape.height} x {shape.width} are too narrow. Its classifier shrinks "
            f"the longer side to {classifying.LARGEST_SIDE} pixels, and then the other side has fewer than {side}."
        )
    return real, fake, held_out


def _accept_labels(name: str, labels: Tensor | None, images: int, classes: int | None) -> Tensor:
    """One class an image, below `classes` if they are known."""
    if labels is None:
        raise UserError(
            f"classification_accuracy: '{name}' are missing. It needs labelled data and fakes that were made for "
            "labels. Without labels use the metric modes."
        )
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) != images:
        raise UserError(
            f"classification_accuracy: '{name}' are {labels.dtype} {list(labels.shape)} for {images} images. It needs "
            "one whole number for each image, its class."
        )
    labels = labels.detach().cpu().long()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        wrong = low if low < 0 else high
        known = "classes are numbered from 0" if classes is None else f"the real images have classes 0 to {classes - 1}"
        raise UserError(f"classification_accuracy: '{name}' hold the class {wrong}; {known}.")
    return labels


variant = Metric(
    "classification_accuracy",
    compute,
    needs=("pixels", "labels", "real_pixels", "real_labels", "held_out_pixels", "held_out_labels"),
    better="higher",
    headline="accuracy_at_1",
    least=1000,
    learns=True,
    least_side=classifying.SMALLEST_SIDE,
)
