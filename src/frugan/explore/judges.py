"""Judges: they tell the labels of generated images, so that exemplars can be chosen by what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frugan import build, views
from frugan.artefact import Generator
from frugan.batch import ImageShape
from frugan.classifying import likeliest
from frugan.data import Dataset
from frugan.engine.run import RunFolder
from frugan.evaluation.opening.reals import describe_data
from frugan.explore.samples import Samples
from frugan.recipe import Data, from_run
from frugan.registry import UserError, suggest
from frugan.views import View

NOT = "not "


@dataclass(frozen=True, eq=False)
class Judge:
    """A view that knows classes or attributes, with their names."""

    view: View
    names: tuple[str, ...]

    def bits(self, samples: Samples) -> Tensor:
        """Which labels the images of samples have: bool ``[count, names]``; of classes, one each."""
        images = torch.from_numpy(samples.images()).permute(0, 3, 1, 2)
        logs = views.extract(self.view, images).log_probabilities
        assert logs is not None  # it knows classes or attributes
        told = likeliest(logs, attributes=self.view.attributes > 0)
        if self.view.attributes:
            return told.bool()
        return torch.nn.functional.one_hot(told, len(self.names)).bool()

    def check(self, labels: Iterable[str]) -> None:
        """Raise UserError for a label that it does not know."""
        _check(labels, self.names)

    def having(self, bits: Tensor, labels: Sequence[str]) -> Tensor:
        """Which rows of `bits` have all of these labels ("not glasses" is one too): bool ``[count]``."""
        found = torch.ones(len(bits), dtype=torch.bool)
        for label in labels:
            has = bits[:, self.names.index(label.removeprefix(NOT))]
            found &= ~has if label.startswith(NOT) else has
        return found


def open_judge(
    generator: Generator, run: Path, source: str | None = None, *, seed: int = 0, device: str = "cpu",
    announce: Callable[[str], None] | None = None, labels: Iterable[str] = (), others: Sequence[str] = (),
) -> Judge:
    """The view `classifier`, trained on the labelled data of a run, or of `source`, in the generator's image shape.

    Its weights are kept in the cache. Another seed gives another net, that learnt from other images.

    Args:
        labels: what it will be asked for.
        others: what could have been typed instead of a label.

    Raises UserError if the data have no labels, or are not known, or there is no such label; before anything is
    trained.
    """
    dataset = _data_of(generator, run, source)
    names = dataset.attributes or dataset.classes
    if dataset.labels is None or len(names) < 2:
        raise UserError(
            f"{dataset.title} has no labels, so no image can be chosen by one. Choose by the numbers of frugan explore "
            "grid, or give labelled data of the same kind: --data SOURCE."
        )
    _check(labels, names, others)
    view = views.build("classifier", dataset=dataset, device=device, announce=announce, seed=seed)
    return Judge(view, tuple(names))


def _check(labels: Iterable[str], names: Sequence[str], others: Sequence[str] = ()) -> None:
    for label in labels:
        name = label.removeprefix(NOT)
        if name not in names:
            raise UserError(f"There is no label '{name}' in these data. {suggest(name, [*names, *others])}")


def open_view(
    name: str, generator: Generator, run: Path, source: str | None = None, *, device: str = "cpu",
    announce: Callable[[str], None] | None = None,
) -> View:
    """A view, trained on the data of a run (or of `source`) if it learns.

    Raises UserError for an unknown view, or one that those data do not suit.
    """
    builder = views.find(name)
    dataset = _data_of(generator, run, source) if builder.needs else None
    if dataset is not None and not builder.suits(dataset):
        raise UserError(f"The view '{name}' does not suit {dataset.title}. Use another: {', '.join(views.names())}.")
    return views.build(name, dataset=dataset, device=device, announce=announce)


def _data_of(generator: Generator, run: Path, source: str | None) -> Dataset:
    """The images that a judge learns from: never those that the run held out."""
    shape, about = ImageShape(*generator.config["image"]), generator.config["data"]
    if RunFolder(run).exists():
        wanted = build.beside(from_run(RunFolder(run)).data, source, shape)
    elif "source" in about:
        wanted = build.beside(describe_data(about), source, shape)
    elif source is not None:
        wanted = Data(source, (shape.height, shape.width), shape.channels)
    else:
        raise UserError(f"{run} does not say where its data {about['title']} are. Give them: --data SOURCE.")
    return build.open_data(wanted, allow_unusable=True)
