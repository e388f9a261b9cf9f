"""The protocol of a probe: which images teach it, which choose C, which judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frugan import linear, seeds
from frugan.data import Dataset
from frugan.probing._features import Look, extract
from frugan.registry import UserError

CS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""What C is chosen from. Features are divided by one number first, so that their rows have the mean square norm 1 about
their mean: C then means the same for all features."""

NEAREST = "nearest"
CLASSIFIERS = (*linear.LOSSES, NEAREST)

LARGEST_VALIDATION = 10_000

_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Parts:
    """Labelled images in three parts that share none.

    `learning` and `validation` are rows of `train`, `judging` rows of `test`.
    """

    train: Dataset
    test: Dataset
    learning: Tensor
    validation: Tensor
    judging: Tensor

    def labels(self, rows: Tensor) -> Tensor:
        """Of rows of `train`."""
        assert self.train.labels is not None
        return self.train.labels[rows]

    @property
    def fewest(self) -> int:
        """How many learning images the smallest class has."""
        return int(self.labels(self.learning).bincount(minlength=len(self.train.classes)).min())

    def draw(self, per_class: int | None, seed: int) -> Tensor:
        """So many learning images of each class, or all of them. Those of a smaller number are among a larger one's.

        Raises UserError if there are not so many.
        """
        if per_class is None:
            return self.learning
        order = self.learning[torch.randperm(len(self.learning), generator=seeds.generator(seed, "probe", "draw"))]
        labels, chosen = self.labels(order), []
        for number, name in enumerate(self.train.classes):
            rows = order[labels == number]
            if len(rows) < per_class:
                raise UserError(
                    f"--per-class {per_class}: {self.train.title} has {len(rows):,} images of '{name}' for the probe "
                    f"to learn from ({len(self.validation):,} of all choose C). Give {len(rows)} or fewer, or all."
                )
            chosen.append(rows[:per_class])
        return torch.cat(chosen)


def divide(train: Dataset, test: Dataset | None, seed: int) -> Parts:
    """A sixth of the training images, at most 10,000, choose C; without test images, another sixth judges."""
    order = torch.randperm(len(train), generator=seeds.generator(seed, "probe", "parts"))
    held = min(LARGEST_VALIDATION, len(order) // 6)
    if test is None:
        return Parts(train, train, order[2 * held :], order[:held], order[held : 2 * held])
    return Parts(train, test, order[held:], order[:held], torch.arange(len(test)))


@dataclass(frozen=True)
class Measured:
    """How often a probe is right on the judging images.

    Attributes:
        features, width: what it saw, and how many numbers of an image.
        per_class: how many images of each class it learnt from; None for all.
        c: the chosen one; None for nearest neighbours.
        validation: the share of the validation images that was right with it, the mean over the draws.
        accuracies: the share of the judging images, for each draw.
    """

    features: str
    width: int
    per_class: int | None
    c: float | None
    validation: float
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the draws."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def deviation(self) -> float:
        """The standard deviation over the draws; 0 of a single one."""
        return float(torch.tensor(self.accuracies, dtype=torch.float64).std(correction=0))


def measure(
    name: str, look: Look, parts: Parts, counts: Sequence[int | None], *, classifier: str, draws: int, seed: int,
    done: Callable[[int], None],
) -> Iterator[Measured]:
    """Measure features with every number of labels.

    C is the one with the best mean over the draws on the validation images, the smallest of equals. Each draw goes
    through the Cs in order until two in a row were worse on these images than the best so far: large ones take most of
    the time. `done` is called with the number of rows that were looked at for judging, and with those of each draw.
    """
    judged, chosen_by = (
        (extract(look, parts.test.images, parts.judging, done), _labels_of(parts.test, parts.judging)),
        (extract(look, parts.train.images, parts.validation, done), parts.labels(parts.validation)),
    )
    for per_class in counts:
        right: dict[float | None, list[tuple[float, float]]] = {}
        drawn = 1 if per_class is None else draws
        for draw in range(drawn):
            rows = parts.draw(per_class, seeds.derive(seed, "draw", draw))
            learnt, best, worse = extract(look, parts.train.images, rows), -1.0, 0
            for c, predict in _fitted(learnt, parts.labels(rows), len(parts.train.classes), classifier):
                valid, test = (float((predict(seen) == own).double().mean()) for seen, own in (chosen_by, judged))
                right.setdefault(c, []).append((valid, test))
                best, worse = max(best, valid), worse + 1 if valid < best else 0
                if worse == 2:
                    break
            done(len(rows))
        means = {c: sum(one for one, _ in shares) / drawn for c, shares in right.items() if len(shares) == drawn}
        chosen = max(means, key=lambda c: means[c])
        accuracies = tuple(one for _, one in right[chosen])
        yield Measured(name, judged[0].shape[1], per_class, chosen, means[chosen], accuracies)


def _labels_of(dataset: Dataset, rows: Tensor) -> Tensor:
    assert dataset.labels is not None
    return dataset.labels[rows]


def _fitted(
    features: Tensor, labels: Tensor, classes: int, classifier: str
) -> Iterator[tuple[float | None, Callable[[Tensor], Tensor]]]:
    """For each C, smallest first, a function from features to classes. Nearest neighbours have no C."""
    if classifier == NEAREST:
        yield None, lambda seen: labels[nearest(seen, features)]
        return
    spread = (features - features.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-12)
    fits = linear.fit_each(features / spread, labels, classes, CS, loss=classifier)
    for c, fit in zip(CS, fits, strict=True):
        yield c, linear.Linear(fit.weight / spread, fit.bias).predict


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The number of the nearest row of `centres` (Euclidean) for each row of `points`."""
    # About the mean, so that less is lost to rounding.
    middle = centres.mean(0)
    centres = centres - middle
    squares = centres.square().sum(1)
    return torch.cat(
        [torch.addmm(squares, part - middle, centres.T, alpha=-2).argmin(1) for part in points.split(_BLOCK)]
    )
