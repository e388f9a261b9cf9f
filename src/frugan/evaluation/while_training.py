"""Evaluations while a run trains: small and fast. Their names differ from those of final values.

They are in the run's ``log.jsonl``, each with its protocol under "evaluations". (A resumed run deletes those that it
will measure again.) ::

    {"images": 20000, "rounds": 625, "fid_2k": 31.2, "evaluations": [{"metric": "fid_2k", "values": {...}, ...}]}

Fakes are compared with training images. So the choice of a best checkpoint does not use held-out images, which only the
final evaluation sees.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import artefact, files, metrics, seeds
from frugan.data import Dataset
from frugan.engine.observers import Moment, Rhythm
from frugan.engine.run import RunFolder
from frugan.evaluation.opening.fakes import BEST, fakes_of
from frugan.evaluation.opening.reals import Reals, open_reals_of
from frugan.evaluation.opening.targets import Split, find_targets
from frugan.evaluation.opening.translators import ShippedTranslators, hashes_of_data
from frugan.evaluation.opening.view import BuildView, view_builders
from frugan.evaluation.values.of_fakes import MeasurementOfFakes
from frugan.evaluation.values.of_translations import COUNT as FOR_EACH_TARGET
from frugan.evaluation.values.of_translations import MeasurementOfTranslations

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.evaluation.values.measurement import Measurement

from frugan.metrics import Metric
from frugan.registry import UserError, suggest
from frugan.views import View

COUNT = 2000
"""Images of each side: FID of so few is biased upwards by much, but equally so at every look."""

SUFFIX = "_2k"
"""What the name of every value of `COUNT` images ends in."""

TRANSLATED = "_1k"
"""What the name of every value of 1,000 translated images for each target ends in."""

METRICS = ("fid", "class_coverage")
"""What is measured of a generator; the second where the view knows the classes of the data."""

OF_TRANSLATIONS = ("fid", "target_accuracy")
"""What is measured of translators."""


class Look(NamedTuple):
    """What is measured at one look: which metrics, the ending of their names (2k), and a remark on their images."""

    measurement: Measurement
    metrics: list[Metric]
    suffix: str
    about: str


@dataclass
class EvaluationWhileTraining:
    """An observer that evaluates the averaged generator while it trains, and keeps the best one if asked to.

    It uses none of the run's random numbers, so a run has the same weights with it and without it.

    Args:
        folder: the run's folder; the run has begun already.
        sets: the training data, by stream.
        build_view: training data -> the view; build_judge: training data -> the classifier that predicts labels.
        seed: the run's seed. The latents depend on it, and differ from those of any later evaluation.
        due: the rhythm of its looks.
        tell: called with a line if something could not be measured.
        best_by: the metric whose best checkpoint is kept in the folder ``best``, if any.
    """

    folder: RunFolder
    sets: Mapping[str, Dataset]
    build_view: BuildView
    build_judge: BuildView
    seed: int
    due: Rhythm
    tell: Callable[[str], None]
    best_by: str | None = None
    _views: dict[tuple[str, str], View] = field(default_factory=dict)

    def look(self, moment: Moment) -> None:
        """Measure, write to the log, and keep the generator if it is the best so far."""
        facts = self.folder.read_json(self.folder.facts)
        shipped = facts["shipped"]
        made = {role: self._revive(moment, role, about["network"]) for role, about in shipped.items()}
        look = self._look_at_fakes(made) if "generator" in made else self._look_at_translations(made, facts, moment)
        with contextlib.suppress(UserError):  # said below, of the metric that it comes from
            look.measurement.prepare(look.metrics)
        values = []
        for metric in look.metrics:
            try:
                value = look.measurement.measure(metric, look.measurement.protocol(metric))
            except UserError as error:
                self.tell(f"After {moment.images:,} images {metric.name} could not be measured: {error}")
            else:
                values.append(_rename(value, look))
        headlines = {value["metric"]: value["values"][value["headline"]] for value in values}
        line = {"images": moment.images, "rounds": moment.rounds, **headlines, "evaluations": values}
        self.folder.append(self.folder.log, line)
        if self.best_by is not None and self.best_by + SUFFIX in headlines:
            self._keep(made["generator"], headlines[self.best_by + SUFFIX])

    def _look_at_fakes(self, made: Mapping[str, Any]) -> Look:
        first = next(iter(self.sets.values()))
        measurement = MeasurementOfFakes(
            fakes_of(made["generator"], str(self.folder.path), None), Reals(first, None, first),
            lambda: self.build_view(first), COUNT, self._latents_seed(), 256, lambda line: None,
        )  # fmt: skip
        return Look(measurement, choose(first, measurement.view), SUFFIX, f"of {COUNT:,} images")

    def _look_at_translations(self, made: Mapping[str, Any], facts: Mapping[str, Any], moment: Moment) -> Look:
        splits = {stream: Split(dataset, dataset) for stream, dataset in self.sets.items()}
        shipping = ShippedTranslators(str(self.folder.path), made, facts["shipped"], hashes_of_data(facts), None)
        measurement = MeasurementOfTranslations(
            shipping, find_targets(made, facts["shipped"], splits), self.build_view, self.build_judge, FOR_EACH_TARGET,
            self._latents_seed(), 256, lambda line: None, (), self._views,
        )  # fmt: skip
        named = [metrics.find(name) for name in OF_TRANSLATIONS]
        refused = {metric.name: measurement.refusal(metric) for metric in named}
        for why in filter(None, refused.values()):
            self.tell(f"After {moment.images:,} images: {why}")
        possible = [metric for metric in named if not refused[metric.name]]
        return Look(measurement, possible, TRANSLATED, f"of {FOR_EACH_TARGET:,} translated images for each target")

    def _latents_seed(self) -> int:
        return seeds.derive(self.seed, "evaluation while training")

    def _revive(self, moment: Moment, role: str, name: str) -> Any:
        """A copy of what would be shipped: what depends on the weights is settled in it, and nothing in the run."""
        config = artefact.config_of(self.folder, moment.images, role)
        network = (moment.averaged if config["averaged"] else moment.networks)[name]
        return artefact.revive(config, network.state_dict(), device=next(network.parameters()).device)

    def _keep(self, generator: artefact.Generator, value: float) -> None:
        """Bring the folder ``best`` up to date; it is whole at every moment, or not there."""
        name, place = f"{self.best_by}{SUFFIX}", self.folder.path / BEST
        old = place.with_name(f".{BEST}.old")
        if old.exists() and not place.exists():  # stopped between the two renames below
            old.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        looks = len({line["images"] for line in self.folder.lines(self.folder.log) if name in line})
        chosen = {"checkpoint": f"best of {looks} by {name}"}
        kept = _read_config(self.folder)
        # What is there at the first look is of a run that was stopped before its first checkpoint, and began again.
        if looks > 1 and kept is not None and kept["best_by"]["metric"] == name:
            known = kept["best_by"]["value"]
            if not (value < known if metrics.find(self.best_by or "").better == "lower" else value > known):
                self.folder.write(place / "config.json", json.dumps({**kept, **chosen}, indent=2) + "\n")
                return
        config = {**generator.config, **chosen, "best_by": {"metric": name, "value": value}}
        with files.temporary_folder(self.folder.path) as beside:
            artefact.Generator(generator.module, config).save(beside)
            if place.exists():
                place.rename(old)
            beside.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def choose(dataset: Dataset, view: View) -> list[Metric]:
    """The metrics that are measured while a run trains on these data."""
    own_classes = view.classes > 0 and view.classes == len(dataset.classes)
    return [metrics.find(name) for name in METRICS if name != "class_coverage" or own_classes]


def check_metric(best_by: str | None) -> None:
    """Raise UserError for a metric that cannot choose a best checkpoint."""
    if best_by is not None and best_by not in METRICS:
        raise UserError(
            f"--keep-best {best_by}: this metric is not measured while training. {suggest(best_by, METRICS)}"
        )


def observer(
    folder: RunFolder, sets: Mapping[str, Dataset], seed: int, due: Rhythm, *, best_by: str | None, device: str,
    tell: Callable[[str], None],
) -> EvaluationWhileTraining:  # fmt: skip
    """An `EvaluationWhileTraining` with the view that suits the data, which may have to be trained first.

    Raises UserError if there are too few images to compare with, or if `best_by` cannot be measured.
    """
    shipped = folder.read_json(folder.facts)["shipped"]
    _check_shipped(shipped)
    build_view, build_judge = map(functools.cache, view_builders(None, 0, device, tell))
    if "generator" in shipped:
        check_data(next(iter(sets.values())), best_by, build_view)
    elif best_by is not None:
        raise UserError(
            f"--keep-best {best_by} works for generators only, but this game ships {', '.join(shipped)}. Leave it out."
        )
    return EvaluationWhileTraining(folder, sets, build_view, build_judge, seed, due, tell, best_by)


def check_assembly(assembly: Assembly) -> None:
    """Raise UserError if a recipe's data have too few images for evaluations while it trains."""
    _check_shipped(assembly.game.shipped())
    if "generator" in assembly.game.shipped():
        stream = next(iter(assembly.game.streams))
        _check_count(open_reals_of(assembly.recipe.data_of(stream), "train").train)


def _check_shipped(shipped: Mapping[str, Any]) -> None:
    if not any(role == "generator" or role.startswith("translator") for role in shipped):
        raise UserError(
            f"--evaluate-every measures generators and translators while they train, but this game ships "
            f"{', '.join(shipped)}. Leave it out, and use frugan evaluate afterwards."
        )


def _check_count(dataset: Dataset) -> None:
    least = metrics.find("fid").least
    if len(dataset) < least:
        raise UserError(
            f"--evaluate-every needs {least:,} images or more, but {dataset.title} has fewer. Leave it out."
        )


def check_data(dataset: Dataset, best_by: str | None, build_view: Callable[[Dataset], View]) -> None:
    """Raise UserError if there are too few images to compare with, or if `best_by` cannot be measured."""
    _check_count(dataset)
    names = [metric.name for metric in choose(dataset, build_view(dataset))]
    if best_by is not None and best_by not in names:
        raise UserError(f"--keep-best {best_by} needs labels, but {dataset.title} has none. {suggest(best_by, names)}")


def values_of(folder: RunFolder) -> list[dict[str, Any]]:
    """Every value that was measured while the run trained, in order; none without `--evaluate-every`."""
    return [value for line in folder.lines(folder.log) for value in line.get("evaluations", ())]


def _rename(value: dict[str, Any], look: Look) -> dict[str, Any]:
    """A value under a name that says of how many images it is, with a protocol that equals no final one."""
    name = value["metric"]
    renamed = f"{name}{look.suffix}"
    values = {renamed if key == name else key: number for key, number in value["values"].items()}
    headline = renamed if value["headline"] == name else value["headline"]
    protocol = {**value["protocol"], "checkpoint": "while training", "approximate": look.about}
    return {**value, "metric": renamed, "values": values, "headline": headline, "protocol": protocol}


def _read_config(folder: RunFolder) -> dict[str, Any] | None:
    """The config of the best checkpoint that is kept; None if there is none, or it is not whole."""
    try:
        config = json.loads((folder.path / BEST / "config.json").read_text())
        return config if isinstance(config, dict) and "best_by" in config else None
    except (OSError, ValueError):
        return None
