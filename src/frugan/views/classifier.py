"""A small classifier, trained here on labelled data, to judge images of that data.

ImageNet's classes say nothing about digits or letters. A net that knows the data's own classes or attributes does: that
of `frugan.classifying`. Features are its 128 units after their ReLU. Only values of the same weights can be compared.
So the weights are kept in the cache, and their hash is part of the view's version.

A tenth of the images is not used for training but to measure the accuracy. A test split is never used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frugan import classifying, seeds
from frugan.batch import ImageShape
from frugan.classifying import BATCH, FEATURES, IMAGES, NET, SMALLEST_SIDE, images_shown, input_size
from frugan.countdown import Countdown, duration
from frugan.registry import UserError
from frugan.views import Builder, Seen, View
from frugan.views._learnt import is_kept, kept_or_learnt

if TYPE_CHECKING:
    from frugan.data import Dataset

BUDGETS, ENOUGH, HOPEFUL, SMALL = (IMAGES, 5 * IMAGES), 0.99, 0.9, 28
"""How many images training shows. If held-back accuracy is below ENOUGH, another net is shown the second number.

One pass over MNIST gives a net that is right on 98.3 % and sure of 96.0 % of the real test digits; what it is not sure
of in generated ones would be blamed on the generator. Five passes give 98.9 % and 98.7 %. But classes that a net tells
apart by less than HOPEFUL are hard in themselves, and of images with a side above SMALL, five passes would take longer
than people wait (or than small generators train).
"""

LONGEST = 60.0
"""Seconds. On a machine where the first budget would take longer, all are halved until it does not."""


def build(*, dataset: Dataset | None, cache: Path, device: str, announce: Callable[[str], None], seed: int = 0) -> View:
    """The classifier for a labelled data set: from the cache, or trained now, in about a minute on two cores.

    The weights depend on images, labels and `seed` only: exactly, on one machine with the same number of threads. (On
    a slow machine fewer images are shown, see `LONGEST`.) `announce` hears how long it will take.

    Raises:
        UserError: no data set, no labels, fewer than 100 images, all of one class or equal in all attributes, sides
            under 6 pixels, or a damaged cache.
    """
    names = _names(dataset)
    assert dataset is not None  # else _names has raised
    folder = _folder(dataset, cache, seed)
    weights, description = kept_or_learnt(folder, "classifier", lambda: train(
        dataset, names, seed=seed, device=device, announce=announce, place=f"in {folder}"
    ))  # fmt: skip
    if "at_chance" in description:
        announce(
            f"The classifier of {dataset.name} is right on {description['accuracy']:.1%} of images held back; "
            f"{description['at_chance']}. So it is not seen to tell apart what the labels do, and its values may mean "
            "little. If the folders are no classes: --data flat:FOLDER. Or take the view that needs no labels: --view "
            "contrast."
        )
    with torch.device("meta"):  # no random numbers are drawn for weights that are read
        net = classifying.network(dataset.shape, len(names))
    net.load_state_dict(weights, assign=True)
    return _view(net, dataset.shape, description, device)


def kept(dataset: Dataset, cache: Path) -> bool:
    """Whether the classifier for this data set has been trained before."""
    return is_kept(_folder(dataset, cache, 0))


def _folder(dataset: Dataset, cache: Path, seed: int) -> Path:
    return cache / f"classifier-{NET}-{dataset.content_hash[:16]}-seed{seed}"


def train(
    dataset: Dataset, names: list[str], *, seed: int, device: str, announce: Callable[[str], None] = lambda line: None,
    place: str = "in the cache",
) -> tuple[dict[str, Tensor], dict[str, Any]]:  # fmt: skip
    """Train a net; return its weights and its description. The global random numbers are not changed.

    For attributes, the accuracy is the mean over the `names`. `announce` hears how long it will take, how far it is,
    and that it is kept at this `place`.
    """
    assert dataset.labels is not None
    labels, attributes = dataset.labels, dataset.labels.ndim == 2
    order = torch.randperm(len(dataset.labels), generator=seeds.generator(seed, "classifier", "held back"))
    held_back, shown = order.tensor_split([len(order) // 10])

    def needed(budget: int) -> float:
        """Seconds that `learn` takes."""
        budget = images_shown(len(shown), budget)
        return classifying.seconds_needed(dataset.images, labels, len(names), budget, device=device)

    def learn(budget: int) -> tuple[nn.Sequential, Tensor]:
        """A net, and its accuracy on the images held back (for each attribute, if there are some)."""
        countdown = Countdown(announce, "Training the classifier", images_shown(len(shown), budget))
        net = classifying.train(
            dataset.images, labels, shown, len(names), seed=seed, device=device, budget=budget, shown=countdown.at
        )
        parts = held_back.split(BATCH)
        predicted = torch.cat(
            [classifying.classify(net, dataset.images[part], attributes=attributes) for part in parts]
        )
        return net, (predicted == labels[held_back]).double().mean(0)

    budgets, seconds = BUDGETS, needed(BUDGETS[0])
    announce(
        f"Training the classifier that judges {dataset.name}: about {duration(min(seconds, LONGEST))} (once for all "
        f"runs on these data; it is kept {place})."
    )
    while seconds > LONGEST:
        budgets, seconds = tuple(budget // 2 for budget in budgets), seconds / 2
    (net, right), images = learn(budgets[0]), images_shown(len(shown), budgets[0])
    for budget in budgets[1:]:
        # Of few images a longer training may be the same one.
        longer = max(dataset.shape[1:]) <= SMALL and images_shown(len(shown), budget) > images
        if HOPEFUL <= float(right.mean()) < ENOUGH and longer:
            announce(
                f"It is right on {right.mean():.1%} of images held back. Another that is shown "
                f"{images_shown(len(shown), budget):,} images will be better: about {duration(needed(budget))}."
            )
            (net, right), images = learn(budget), images_shown(len(shown), budget)
    height, width = input_size(dataset.shape)
    resized = (height, width) != (dataset.shape.height, dataset.shape.width)
    return {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}, {
        "net": NET,
        "data": dataset.name,
        "content_hash": dataset.content_hash,
        "split": dataset.split,
        "seed": seed,
        "classes": [] if attributes else names,
        "attributes": names if attributes else [],
        "images": len(shown),
        "images_seen": images,
        "training_precision": "bfloat16" if classifying.in_half(device) else "float32",
        "accuracy": float(right.mean()),
        **({"accuracy_by_attribute": dict(zip(names, right.tolist(), strict=True))} if attributes else {}),
        "accuracy_on": f"{len(held_back)} images held back from training",
        **_at_chance(float(right.mean()), labels[held_back], names),
        "resizing": f"area to {height}x{width}" if resized else "none",
    }


def _at_chance(right: float, labels: Tensor, names: list[str]) -> dict[str, str]:
    """If a net is not seen to be better than always saying the same: ``{"at_chance": how often that is right}``."""
    if labels.ndim == 2:
        shares = labels.double().mean(0)
        usual, words = torch.maximum(shares, 1 - shares), "always giving each attribute its commoner value"
    else:
        counts = labels.bincount(minlength=len(names)).double() / max(1, len(labels))
        usual, words = counts.max()[None], f"always saying '{names[int(counts.argmax())]}'"
    noise = float((usual * (1 - usual)).mean() / max(1, len(labels))) ** 0.5
    if right > float(usual.mean()) + 2 * noise:
        return {}
    return {"at_chance": f"{words} is right on {usual.mean():.1%}"}


def suits(dataset: Dataset) -> bool:
    """Whether a classifier can learn from these data."""
    return _refusal(dataset) is None


def _refusal(dataset: Dataset) -> str | None:
    """Why a classifier cannot learn from these data, if it cannot."""
    if dataset.labels is None:
        return "it has no labels, but a classifier needs classes or attributes. Use --view contrast, or inception."
    # A data set cut down to one class may still list all of them.
    present = len(dataset.labels.unique(dim=0))
    if len(dataset.labels) < 100 or present < 2:
        what = "combination" if dataset.labels.ndim == 2 else "class"
        what += "" if present == 1 else "s of attributes" if dataset.labels.ndim == 2 else "es"
        return (
            f"it has {len(dataset.labels)} images of {present} {what}, but a classifier needs at least 100 of 2. Use "
            "--view contrast, or inception."
        )
    if min(input_size(dataset.shape)) < SMALLEST_SIDE:
        return f"its images {list(dataset.shape)} have a side under {SMALLEST_SIDE} pixels. Use --view pixels."
    return None


def _names(dataset: Dataset | None) -> list[str]:
    """The names of the classes or attributes."""
    if dataset is None:
        raise UserError("The view 'classifier' is trained on labelled images. Pass the data set: dataset=...")
    refusal = _refusal(dataset)
    if refusal is not None:
        raise UserError(f"The view 'classifier' cannot be trained on {dataset.name}: {refusal}")
    assert dataset.labels is not None  # else it was refused
    if dataset.labels.ndim == 2:
        return list(dataset.attributes) or [str(number) for number in range(dataset.labels.shape[1])]
    return list(dataset.classes) or [str(number) for number in range(int(dataset.labels.max()) + 1)]


def _look(net: nn.Sequential, shape: ImageShape, attributes: bool, device: str) -> Callable[[Tensor], Seen]:
    net = net.to(device).eval()

    def look(images: Tensor) -> Seen:
        if tuple(images.shape[1:]) != tuple(shape):
            raise UserError(
                f"This classifier was trained on images {list(shape)}, but these are {list(images.shape[1:])}. Resize "
                "them to that size, or take a classifier of their own data."
            )
        return Seen(*classifying.predict(net, images, attributes=attributes))

    return look


def _view(net: nn.Sequential, shape: ImageShape, description: dict[str, Any], device: str) -> View:
    attributes = len(description.get("attributes", ()))  # not there in one that was kept before there were any
    return View(
        name="classifier",
        version="-".join(["classifier", NET, description["weights"][:12], *map(str, input_size(shape))]),
        width=FEATURES,
        input_size=input_size(shape),
        look=_look(net, shape, attributes > 0, device),
        classes=len(description["classes"]),
        description=description,
        attributes=attributes,
    )


variant = Builder("classifier", build, needs=("images", "labels"), suits=suits, kept=kept)
