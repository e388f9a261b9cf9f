"""Labelling: what a trained classifier says of image files or of a source of images, and how often it is right."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import files, owncode, terminal
from frugan.arguments import File, Name, strict
from frugan.countdown import Countdown
from frugan.owncode import Code
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.artefact import Classifier
    from frugan.data import Named, NamedImages
    from frugan.recipe import Data

TOGETHER = 1024
"""Images that are held in memory at a time."""

SHOWN = 40
"""Of more images than this no lines are printed, only how many are of each class."""


class Told(NamedTuple):
    """One image: its path, the likeliest class and its probability, and its own class if that is known."""

    path: str
    told: str
    probability: float
    own: str | None


@dataclass(frozen=True)
class Classification:
    """What a classifier says of images, in their order; `skipped` are those that could not be used, with reasons."""

    classes: tuple[str, ...]
    images: tuple[Told, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def judged(self) -> int:
        """How many images have a class of their own that the classifier knows."""
        return sum(image.own in self.classes for image in self.images)

    @property
    def accuracy(self) -> float | None:
        """The share of the `judged` images whose class was recognised; None if there are no such images."""
        return sum(image.told == image.own for image in self.images) / self.judged if self.judged else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "accuracy": self.accuracy, "judged": self.judged, "images": [image._asdict() for image in self.images],
            "skipped": dict(self.skipped),
        }

    def save(self, path: Path) -> None:
        """Write a table with a line for each image."""
        table = io.StringIO(newline="")
        lines = csv.writer(table)
        lines.writerow(Told._fields)
        lines.writerows((*image[:2], f"{image.probability:.6f}", image.own or "") for image in self.images)
        files.write(path, table.getvalue())

    def show(self, *, every: bool = True) -> None:
        """Print a line for each image if they are few and `every` is asked for, how many are of each class, and how
        many are right."""
        if every and len(self.images) <= SHOWN:
            for image in self.images:
                wrong = f"  (it is {image.own})" if image.own in self.classes and image.own != image.told else ""
                terminal.say(f"{image.path}  {image.told}  {image.probability:.3f}{wrong}")
        counts = Counter(image.told for image in self.images)
        terminal.say(", ".join(f"{counts[name]:,} of {name}" for name in self.classes if counts[name]))
        if self.accuracy is not None:
            right = round(self.accuracy * self.judged)
            terminal.say(f"{right:,} of {self.judged:,} images are right: accuracy {self.accuracy:.4f}")


@strict
def classify(
    run: File, images: File | Sequence[File], *, split: Name | None = None, device: Name | None = None,
    code: Code | None = None, trust_code: bool = False,
) -> Classification:
    """What the classifier of a run or an artefact says of images.

    Args:
        run: a run folder or an artefact that ships a classifier.
        images: image files, folders of them, or sources as for ``--data``; they are converted as in training.
        split: "train" or "test" of a source that has both; test if left out. Of the classifier's own data, test is
            what its run held out.
        code: your files that add what the network needs; a run remembers its own.
        trust_code: run the code that a run names even if you have not run it on this machine.

    An image that cannot be read is named and passed over. Raises UserError if there is no classifier, or there are no
    images.
    """
    from frugan.artefact import open_shipped
    from frugan.engine.precision import choose_device

    given = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    if not given:
        raise UserError("No images were given. Name files, folders or a source: frugan classify RUN IMAGES.")
    owncode.load_of(run, code, trust_code=trust_code)
    classifier: Classifier = open_shipped(run, role="classifier", device=str(choose_device(device)))
    told: list[Told] = []
    skipped: list[tuple[str, str]] = []
    opened = [_read(str(source), run, classifier, split) for source in given]
    countdown = Countdown(terminal.tell, "Classifying", sum(map(len, opened)))
    for named in opened:
        while chunk := list(islice(named, TOGETHER)):
            told += _tell(classifier, [one for one in chunk if one.pixels is not None])
            skipped += [(one.path, one.reason) for one in chunk if one.pixels is None]
            countdown.at(len(told) + len(skipped))
    for path, reason in skipped:
        terminal.tell(f"frugan: set aside: {path}: {reason}")
    if not told:
        raise UserError(f"None of the {len(skipped):,} images could be used: frugan data check SOURCE lists why.")
    return Classification(classifier.classes, tuple(told), tuple(skipped))


def _read(source: str, run: File, classifier: Classifier, split: str | None) -> NamedImages:
    """The images of a source. Of the classifier's own data, those that its run held out; else a line says it."""
    from frugan import data
    from frugan.evaluation.opening.reals import open_reals_of

    channels, height, width = classifier.config["image"]
    wanted: dict[str, Any] = {"size": (height, width), "channels": channels, "split": split}
    trained_on = _trained_on(source, run, classifier)
    if not trained_on:
        return data.read_images(source, **wanted)
    # What any of the streams was trained on was seen.
    own = min((one.data for one in trained_on), key=lambda one: one.holdout or 0)
    largest = max(trained_on, key=lambda one: one.count)
    count = largest.count
    if own.holdout and open_reals_of(largest.data, None, terminal.tell).train.content_hash != largest.hash:
        terminal.tell(
            f"frugan: {source} has changed since the classifier was trained on {count:,} of its images, so nobody can "
            "tell which ones. It is right about those more often than about new ones."
        )
        return data.read_images(source, **wanted)
    if own.holdout:
        wanted |= {"only": own.only, "holdout": own.holdout}
        trained = split == "train"
    else:
        wanted["split"] = split or ("test" if data.has_split(source, "test") else "train")
        trained = wanted["split"] == own.split
    named = data.read_images(source, **wanted)
    if trained:
        terminal.tell(
            f"frugan: {source}: the classifier was trained on {min(count, len(named)):,} of these {len(named):,} "
            "images, so it is right about them more often than about new ones."
        )
    elif own.holdout:
        terminal.tell(
            f"frugan: {source}: only the {len(named):,} images are classified that training held out. The others: "
            "--split train"
        )
    return named


class _TrainedOn(NamedTuple):
    """Data that a classifier was trained on: how many images they had then, and their hash."""

    data: Data
    count: int
    hash: str


def _trained_on(source: str, run: File, classifier: Classifier) -> list[_TrainedOn]:
    """What a classifier was trained on, as far as `source` names it."""
    from frugan import data
    from frugan.engine.run import RunFolder
    from frugan.evaluation.opening.reals import describe_data
    from frugan.recipe import from_run

    folder, about = RunFolder(Path(run)), classifier.config["data"]
    if folder.exists():
        facts, recipe = folder.read_json(folder.facts)["data"], from_run(folder)
        streams = [_TrainedOn(recipe.data_of(stream), one["count"], one["hash"]) for stream, one in facts.items()]
    else:
        streams = [_TrainedOn(describe_data(about), about["count"], about["hash"])] if "source" in about else []
    return [one for one in streams if data.absolute(one.data.source) == data.absolute(source)]


def _tell(classifier: Classifier, images: Sequence[Named]) -> list[Told]:
    import numpy as np

    if not images:
        return []
    pixels = np.stack([one.pixels for one in images if one.pixels is not None]).transpose(0, 2, 3, 1)
    found = classifier.probabilities(pixels)
    return [
        Told(one.path, classifier.classes[int(row.argmax())], float(row.max()), one.label)
        for one, row in zip(images, found, strict=True)
    ]
