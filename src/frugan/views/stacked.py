"""Stacked digits, one colour channel at a time, by a classifier of single digits.

The class of a stacked image is its three digits, so its log-probability is the sum of theirs. Features are those of
red, green and blue side by side. The classifier is trained on the red channels only: they are single digits of all
classes, from any source. Each different image is used once, since a copy could be in training and also in the images
that measure accuracy.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frugan import views
from frugan.batch import ImageShape
from frugan.data.pack import content_hash
from frugan.registry import UserError
from frugan.views import Builder, Seen, View

if TYPE_CHECKING:
    from frugan.data import Dataset


def build(*, dataset: Dataset | None, cache: Path, device: str, announce: Callable[[str], None], seed: int = 0) -> View:
    """The view for a stacked data set. Its classifier is from the cache or is trained now.

    Raises UserError if the data are not stacked, or too few to learn from.
    """
    if dataset is None or not suits(dataset):
        problem = "no data were given" if dataset is None else f"{dataset.name} has none"
        raise UserError(
            f"The view 'stacked' needs images that are three labelled images in one, but {problem}. Use data such as "
            "stacked:glyphs, or another view."
        )
    singles = _singles(dataset)
    single = views.build("classifier", dataset=singles, cache=cache, device=device, announce=announce, seed=seed)

    def look(images: Tensor) -> Seen:
        if tuple(images.shape[1:]) != tuple(dataset.shape):
            raise UserError(
                f"This view was built for images {list(dataset.shape)}, but these are {list(images.shape[1:])}."
            )
        singles = [single.look(images[:, channel : channel + 1]) for channel in range(3)]
        red, green, blue = (one.log_probabilities for one in singles if one.log_probabilities is not None)
        joint = red[:, :, None, None] + green[:, None, :, None] + blue[:, None, None, :]
        return Seen(torch.cat([one.features for one in singles], 1), joint.flatten(1))

    return View(
        name="stacked",
        version=f"stacked-{single.version}",
        width=3 * single.width,
        input_size=single.input_size,
        look=look,
        classes=single.classes**3,
        description={**single.description, "channels": "each by itself", "accuracy_of": "single images"},
    )


def suits(dataset: Dataset) -> bool:
    """Whether these data are stacked images (three labelled images in one) with all their classes."""
    return dataset.labels is not None and dataset.shape.channels == 3 and bool(_single_classes(dataset.classes))


def _single_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes of which joint ones called ``a-a-a``, ``a-a-b``, ... are made; () if these are not."""
    count = round(len(classes) ** (1 / 3))
    if count < 2 or count**3 != len(classes):
        return ()
    first = classes[0][: (len(classes[0]) - 2) // 3]
    singles = tuple(name.removeprefix(f"{first}-{first}-") for name in classes[:count])
    return singles if tuple("-".join(three) for three in itertools.product(singles, repeat=3)) == classes else ()


def _singles(dataset: Dataset) -> Dataset:
    """The red images of stacked data, each once, with their own labels."""
    assert dataset.labels is not None  # else the view would not suit
    classes = _single_classes(dataset.classes)
    red = dataset.images[:, :1]
    first: dict[bytes, int] = {}
    for row, image in enumerate(red.numpy()):
        first.setdefault(image.tobytes(), row)
    rows = torch.tensor(list(first.values()))
    images, labels = red.index_select(0, rows), dataset.labels.index_select(0, rows) // len(classes) ** 2
    return dataclasses.replace(
        dataset,
        name=f"the single images of {dataset.name}",
        shape=ImageShape(1, *dataset.shape[1:]),
        images=images,
        labels=labels,
        classes=classes,
        content_hash=content_hash([images.numpy()], labels.numpy(), images.shape),
        folder=None,
    )


variant = Builder("stacked", build, needs=("images", "labels"), suits=suits)
