"""Probing: what a run's discriminator or encoder has learnt, by how well a linear classifier tells classes with it.

The protocol is DCGAN's (Radford, Metz and Chintala 2016, arXiv 1511.06434, section 5; the released SVHN code): the
activations of every convolution layer, max-pooled to 4 x 4 and put in one row, an L2-SVM on them, C chosen on images
that neither teach nor judge it. The same is done with the raw pixels and with an untrained network of the same shape,
which any learning has to beat: random features are far from chance.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from frugan import files, owncode, terminal
from frugan.arguments import File, Name, Names, Source, names_in, strict
from frugan.countdown import Countdown
from frugan.owncode import Code
from frugan.ranges import Times
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.data import Dataset
    from frugan.probing._networks import Judging
    from frugan.probing._protocol import Measured

ALL, USUAL = "all", (10, 100, 1000)

Counts = Annotated[Sequence[int | str], "a list of numbers, such as [10, 100, 'all']"]
"""How many images of each class."""


@dataclass(frozen=True)
class Probing:
    """What a probe found.

    Attributes:
        protocol: how it was measured: run, data, parts, classifier, draws, seed.
        measured: one for each kind of features and number of labels.
    """

    protocol: dict[str, Any]
    measured: tuple[Measured, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "protocol": self.protocol,
            "measured": [
                {**dataclasses.asdict(one), "accuracy": one.accuracy, "deviation": one.deviation}
                for one in self.measured
            ],
        }

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        files.write(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def show(self) -> None:
        """Print a table: a row for each kind of features, a column for each number of labels."""
        from rich.table import Table

        counts = list(dict.fromkeys(one.per_class for one in self.measured))
        told = self.protocol
        table = Table(
            title=f"{told['classifier']} on features of {told['run']} after {told['images']:,} images: right on "
            f"{told['test']}, in %",
            title_justify="left", box=None, pad_edge=False,
        )
        table.add_column("features")
        table.add_column("numbers", justify="right")
        for count in counts:
            table.add_column("all labels" if count is None else f"{count:,} per class", justify="right")
        for name in dict.fromkeys(one.features for one in self.measured):
            of = {one.per_class: one for one in self.measured if one.features == name}
            cells = [
                f"{100 * of[count].accuracy:.2f}"
                + ("" if len(of[count].accuracies) == 1 else f" ± {100 * of[count].deviation:.2f}")
                for count in counts
            ]
            table.add_row(name, f"{next(iter(of.values())).width:,}", *cells)
        terminal.console().print(table)
        spread = f"±: standard deviation over {told['draws']} draws of labels. " if told["draws"] > 1 else ""
        terminal.say(f"{spread}Learnt from {told['train']}.")


@strict
def probe(
    run: File, *, data: Source | None = None, only: Sequence[str | int] = (), attribute: Name | None = None,
    network: Name | None = None, features: Names = (), classifier: Name = "svm",
    per_class: Counts | None = None, draws: Times = 5, seed: int = 0, device: Name | None = None,
    code: Code | None = None, trust_code: bool = False, announce: Callable[[str], None] | None = None,
) -> Probing:
    """Train linear classifiers on what a network of a run says of images, and on pixels, and judge them.

    Args:
        run: a run folder; an artefact has no discriminator.
        data: labelled images to probe with, a source as for ``--data``; those of the run if left out, of which what
            it held out judges and teaches nothing. Other data show whether what was learnt carries over.
        only: classes to probe with, by name or number; all if left out.
        attribute: of data with attributes, the one that is to be told.
        network: which of the run's networks that look at images; its discriminator if left out.
        features: some of "layers" (all of them, pooled), "hidden" (the last one) and the network's outputs. If left
            out: the layers of a discriminator, the first output (latents) and the last layer of an encoder.
        classifier: "svm", "logistic", or "nearest" for the class of the nearest image.
        per_class: how many labelled images of each class the classifier learns from; "all" for all. If left out: 10,
            100 and 1,000, as far as there are so many, or all.
        draws: so many random choices of these images are averaged.
        announce: called with a line now and then that says how far it is.

    Raises UserError if the run, the network, its weights or labels are missing, or there are too few images.
    """
    from frugan.engine.precision import choose_device
    from frugan.probing import _features
    from frugan.probing._networks import open_network
    from frugan.probing._protocol import CLASSIFIERS, CS, NEAREST, divide, measure

    if classifier not in CLASSIFIERS:
        raise UserError(f"There is no classifier '{classifier}' for a probe. {suggest(classifier, CLASSIFIERS)}")
    counts = [_count(one) for one in ((*USUAL,) if per_class is None else per_class)]
    if not counts:
        raise UserError("per_class is empty. Give numbers of 1 or more, or leave it out.")
    owncode.load_of(run, code, trust_code=trust_code)
    judging = open_network(Path(run), network, str(choose_device(device)))
    wanted = names_in(features) or _usual(judging)
    looks: dict[str, _features.Look] = {}
    for what in wanted:
        for module, name in ((judging.trained, judging.name), (judging.untrained, f"{judging.name}, untrained")):
            looks[f"{name}: {what}"] = _features.look_by(
                module, what, judging.image_range, f"The network '{judging.name}' of {run}"
            )
    looks[_features.PIXELS] = _features.look_at_pixels
    train, test = _open(judging, data, only, attribute)
    parts = divide(train, test, seed)
    if per_class is None:
        counts = [count for count in USUAL if count <= parts.fewest] or [None]
    for count in counts:
        parts.draw(count, seed)  # before anything is looked at
    for module in (judging.trained, judging.untrained):
        _features.settle_norms(module, train.images, parts.learning, judging.image_range)

    rows = sum(len(parts.learning) if count is None else draws * count * len(train.classes) for count in counts)
    rows += len(parts.judging) + len(parts.validation)
    countdown = Countdown(announce or (lambda line: None), "Fitting the probe", len(looks) * rows, "rows of features")
    fitted = 0

    def done(more: int) -> None:
        nonlocal fitted
        fitted += more
        countdown.at(fitted)

    measured = [
        one for name, look in looks.items()
        for one in measure(name, look, parts, counts, classifier=classifier, draws=draws, seed=seed, done=done)
    ]
    protocol = {
        "run": str(run), "recipe": judging.recipe.name, "images": judging.images, "network": judging.name,
        "train": train.title, "test": (test or train).title, "classes": list(train.classes),
        "learning": len(parts.learning), "validation": len(parts.validation), "judging": len(parts.judging),
        "classifier": classifier, "cs": [] if classifier == NEAREST else list(CS), "draws": draws, "seed": seed,
        "image": list(judging.shape),
    }  # fmt: skip
    return Probing(protocol, tuple(measured))


def _count(given: int | str) -> int | None:
    """How many of each class; None for all."""
    if given == ALL:
        return None
    try:
        count = int(given)
    except ValueError:
        count = 0
    if count < 1:
        raise UserError(f"--per-class {given}: give numbers of 1 or more, or all, e.g. 10,100,all.")
    return count


def _usual(judging: Judging) -> tuple[str, ...]:
    from frugan.games import DISCRIMINATOR
    from frugan.probing._features import HIDDEN, LAYERS

    if judging.role == DISCRIMINATOR:
        return (LAYERS,)
    return (*list(getattr(judging.trained, "outputs", {}))[:1], HIDDEN)


def _open(
    judging: Judging, source: str | None, only: Sequence[str | int], attribute: str | None
) -> tuple[Dataset, Dataset | None]:
    """The labelled images to learn from, and those to judge by: test images, or what the run held out, if any."""
    from frugan import build
    from frugan.games import find

    own = judging.recipe.data_of(find(judging.recipe.game.name).streams[0])
    wanted = build.beside(own, source, judging.shape)
    wanted = dataclasses.replace(wanted, attributes=() if attribute is None else (attribute,))
    # What is held out is a draw from the run's own classes: of other classes it would be another draw.
    later = tuple(only) if wanted.holdout else ()
    if only and not later:
        wanted = dataclasses.replace(wanted, only=tuple(only))

    def labelled(dataset: Dataset) -> Dataset:
        if later and dataset.attributes:
            raise UserError(
                f"--only {','.join(map(str, later))}: the run held out images of {wanted.source}, and these are not "
                "chosen by attribute once more. Leave --only out."
            )
        return _labelled(dataset.only(later) if later else dataset, attribute)

    held_out = build.open_held_out(wanted, allow_unusable=True)
    return labelled(build.open_data(wanted, allow_unusable=True)), None if held_out is None else labelled(held_out)


def _labelled(dataset: Dataset, attribute: str | None) -> Dataset:
    """The data with classes as labels. Raises UserError if they have none."""
    if attribute is not None and dataset.labels is not None:
        return dataclasses.replace(
            dataset, labels=dataset.labels[:, 0], classes=(f"not {attribute}", attribute), attributes=(), exclusive=()
        )
    if dataset.attributes:
        raise UserError(
            f"{dataset.title} has attributes instead of classes. Say which one to probe for: --attribute "
            f"{dataset.attributes[0]} (it has {', '.join(dataset.attributes)})."
        )
    if dataset.labels is not None and len(dataset.classes) < 2:
        raise UserError(f"{dataset.title} has one class, but a probe tells classes apart. Give more: --only A,B.")
    if dataset.labels is None:
        raise UserError(
            f"{dataset.title} has no labels to probe with. Give labelled data: --data SOURCE (frugan data list)."
        )
    return dataset
