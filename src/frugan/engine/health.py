"""Health: what is going wrong with a run, seen in numbers before it is seen in pictures.

Measured on 128 images of fixed latents, against 128 real ones. For a translator: on 128 real images after translation,
against the same images before it, since it should keep most of them:

- `spread`: mean distance between two fakes over that between two reals. One image for everything gives 0.
- `nearest`: median distance of a fake to its nearest other fake, over the same distance for real images. It falls when
  a few images are repeated, even if those few are far apart.
- `flicker`: how far the images of the same latents moved since the last look, over the distance between two reals.
- `classes`: the share of the data's classes that at least 1 % of the fakes fall into, where a classifier is at hand.

Distances are taken in the space of `features`, which is pixels shrunk to at most 16 x 16 unless a view is given.
The verdicts in `findings` are pure functions of the log, so the report and the running program agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from frugan.batch import Batch
from frugan.engine.observers import Moment, Rhythm, every
from frugan.engine.run import RunFolder

WARM_UP = 20_000
WARM_UP_ROUNDS = 250
TINY = 1e-6
COLLAPSED_SPREAD = 0.5
COLLAPSED_NEAREST = 0.4
LOST_CLASSES = 0.5
SATURATED_LOSS = 0.05
SATURATED_IMAGES = 20_000
FLICKERING = 0.6


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, since how many images, and what to do about it."""

    kind: str
    images: int
    text: str


def shrunk(images: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` as vectors of at most 16 x 16 pixels, by area."""
    size = (min(16, images.shape[-2]), min(16, images.shape[-1]))
    return functional.adaptive_avg_pool2d(images, size).flatten(1)


def spread(points: Tensor) -> float:
    """Mean distance between two different points of ``[n, d]``."""
    count = len(points)
    return float(torch.cdist(points, points).sum() / max(count * (count - 1), 1))


def nearest(points: Tensor) -> float:
    """Median distance of a point of ``[n, d]`` to its nearest other one; 0 if there is no other."""
    if len(points) < 2:
        return 0.0
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(float("inf"))
    return float(distances.amin(dim=1).median())


@dataclass
class Health:
    """An observer that writes the spread and the movement of fixed latents' images to the log.

    Args:
        real: real images, in the generator's range; for a translator, its inputs.
        like: as many images with the labels to sample with.
        tell: called with each new `Finding`.
        classify: images -> class numbers, where a classifier is at hand; classes: how many there are.
    """

    folder: RunFolder
    real: Tensor
    like: Batch
    seed: int
    tell: Callable[[Finding], None]
    due: Rhythm = field(default_factory=lambda: every(5000))
    features: Callable[[Tensor], Tensor] = shrunk
    classify: Callable[[Tensor], Tensor] | None = None
    classes: int = 0
    _before: Tensor | None = None
    _known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        real = self.features(self.real)
        # Real images that are all alike give large numbers, not a division by zero.
        self._real_spread, self._real_nearest = max(spread(real), TINY), max(nearest(real), TINY)

    def look(self, moment: Moment) -> None:
        """Measure, write to the log, and report what is newly wrong."""
        images = moment.sample(self.like, self.seed)
        fake = self.features(images)
        numbers = {
            "health.spread": spread(fake) / self._real_spread, "health.nearest": nearest(fake) / self._real_nearest,
        }
        if self._before is not None:
            numbers["health.flicker"] = float((fake - self._before).norm(dim=1).mean()) / self._real_spread
        if self.classify is not None:
            shares = torch.bincount(self.classify(images), minlength=self.classes) / len(images)
            numbers["health.classes"] = float((shares >= 0.01).float().mean())
        self._before = fake
        rounded = {name: round(value, 4) for name, value in numbers.items()}
        self.folder.append(self.folder.log, {"images": moment.images, "rounds": moment.rounds, **rounded})
        for finding in findings(self.folder.lines(self.folder.log)):
            if finding.kind not in self._known:
                self._known.add(finding.kind)
                self.tell(finding)


def findings(lines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What is wrong with a run now, by its log: a pure function of the lines.

    A collapse (too little spread, too near neighbours, or too few classes) must be seen at the two newest looks, a
    flicker at the three newest ones, a saturated discriminator (both accuracies above 0.99 and its loss below 0.05) for
    20,000 images.

    Nothing is reported in the first 20,000 images, when an averaged generator still makes nearly the same image of
    everything, nor in the first 250 rounds. (StarGAN's translator takes one step for 80 images. It made the same grey
    of all images after 5,000, and kept three quarters of their spread after 10,000. With larger batches it needs as
    many rounds.)
    """
    wrong = []
    lines = [line for line in lines if line["images"] >= WARM_UP and line.get("rounds", math.inf) >= WARM_UP_ROUNDS]
    looks = [line for line in lines if "health.spread" in line]
    recent = looks[-2:]
    if len(recent) == 2 and all(_collapsed(line) for line in recent):
        since = next(line for number, line in enumerate(looks) if all(map(_collapsed, looks[number:])))
        wrong.append(
            Finding(
                "collapse", since["images"],
                f"mode collapse: fakes are {recent[-1]['health.spread']:.2f} as far apart as real images, nearest "
                f"neighbours {recent[-1]['health.nearest']:.2f}{_classes(recent[-1])}. Lower learning_rate, or add "
                "penalties=r1.",
            )
        )
    moving = looks[-3:]
    if len(moving) == 3 and all(line.get("health.flicker", 0) > FLICKERING for line in moving):
        wrong.append(
            Finding(
                "flicker", moving[0]["images"],
                f"flicker: images of fixed latents move {moving[-1]['health.flicker']:.2f} of the distance between two "
                "real images from look to look. Lower learning_rate or betas, or lengthen the average's half_life.",
            )
        )
    losses = [line for line in lines if "discriminator.loss" in line]
    if losses:
        newest = losses[-1]["images"]
        window = [line for line in losses if line["images"] > newest - SATURATED_IMAGES]
        if newest >= SATURATED_IMAGES and all(_saturated(line) for line in window):
            wrong.append(
                Finding(
                    "saturated", window[0]["images"],
                    "saturated discriminator: it is right on everything with a loss below 0.05, the generator learns "
                    "little. Lower the discriminator's learning_rate, or add penalties=r1.",
                )
            )
    return wrong


def _collapsed(line: Mapping[str, Any]) -> bool:
    few = line.get("health.classes", 1.0) < LOST_CLASSES
    return line["health.spread"] < COLLAPSED_SPREAD or line["health.nearest"] < COLLAPSED_NEAREST or few


def _classes(line: Mapping[str, Any]) -> str:
    """The part of a message about the classes, if the line has their share."""
    covered = line.get("health.classes")
    return "" if covered is None else f", and {covered:.0%} of the classes are made"


def _saturated(line: Mapping[str, Any]) -> bool:
    right = min(line.get("discriminator.accuracy_real", 0.0), line.get("discriminator.accuracy_fake", 0.0))
    # Below zero there is no such end: a Wasserstein loss falls as far as it may.
    return right > 0.99 and 0 <= line["discriminator.loss"] < SATURATED_LOSS
