"""A measurement: fakes against real images, opened from the arguments of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from frugan.evaluation.opening.classifiers import CLASSIFIER, ShippedClassifier, open_classifier
from frugan.evaluation.opening.fakes import Fakes, fakes_of, open_fakes
from frugan.evaluation.opening.reals import Reals, Statistics, open_reals, open_reals_of
from frugan.evaluation.opening.targets import Split, find_targets
from frugan.evaluation.opening.translators import ShippedTranslators, open_split, open_splits, open_translators
from frugan.evaluation.opening.view import build_view, view_builders
from frugan.evaluation.values.of_classifiers import MeasurementOfClassifier
from frugan.evaluation.values.of_fakes import MeasurementOfFakes
from frugan.evaluation.values.of_translations import COUNT, MeasurementOfTranslations
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.engine.run import RunFolder
    from frugan.evaluation.arguments import EvaluationArguments
    from frugan.metrics import Metric


class Measurement(Protocol):
    """What an evaluation measures, and how. There are three: `MeasurementOfFakes`, `MeasurementOfTranslations` and
    `MeasurementOfClassifier`.

    Attributes:
        announce: called with a line before something slow, or with something that the user should know.
        run: the run that keeps the values, if there is one.
        usual: names of the metrics that are measured if the user names none.
    """

    announce: Callable[[str], None]

    @property
    def run(self) -> RunFolder | None: ...

    @property
    def usual(self) -> tuple[str, ...]: ...

    def refusal(self, metric: Metric) -> str:
        """Why there can be no value of `metric`, in a line that says what to do; empty if there can be one."""
        ...

    def too_few(self, metric: Metric) -> str:
        """Which images are fewer than `metric` needs, in words; empty if there are enough."""
        ...

    def unasked(self, chosen: Sequence[Metric]) -> list[Metric]:
        """Metrics that are measured besides the `chosen` ones, without being named."""
        ...

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """The protocol of the value of `metric`: how it is made, as JSON."""
        ...

    def prepare(self, chosen: Sequence[Metric]) -> None:
        """Make what several of the metrics need, once; called before they are measured."""
        ...

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> dict[str, Any]:
        """Measure the value of `metric`, as it is kept in ``metrics.jsonl``. Raises UserError if it has none."""
        ...


def open_measurement(asked: EvaluationArguments) -> Measurement:
    """Open fakes and real images. `asked` is what `resolve_arguments` returned.

    Raises UserError as `frugan.evaluate` does.
    """
    of = {"size": asked.size, "channels": asked.channels, "allow_unusable": asked.allow_unusable}
    announce, device = _announcer(asked), str(asked.device)
    shipping = open_translators(asked.fakes, device=device)
    if shipping is not None:
        if asked.truncation is not None:
            raise UserError(f"{shipping.name} ships translators, which have no latents. Leave --truncation out.")
        splits = open_splits(shipping, asked.real, asked.reference, announce, **of)
        return _of_translators(shipping, splits, asked)
    alone = open_classifier(asked.fakes, device=device)
    if alone is not None:
        if asked.truncation is not None:
            raise UserError(f"{alone.name} ships a classifier, which has no latents. Leave --truncation out.")
        return _of_classifier(alone, open_reals(alone, asked.real, asked.reference, announce, **of), asked)
    fakes = open_fakes(asked.fakes, device=device, allow_unusable=asked.allow_unusable, announce=announce)
    if asked.truncation is not None:
        fakes = _truncated(fakes, asked.truncation)
    reals = open_reals(fakes, asked.real, asked.reference, announce, **of)
    beside = None if fakes.generator is None else open_classifier(asked.fakes, device=device, beside=fakes.generator)
    return _of_fakes(fakes, reals, asked, beside)


def foresee_measurement(assembly: Assembly, name: str, asked: EvaluationArguments) -> Measurement:
    """The measurement of a recipe that is not trained yet, for checks: it has untrained networks and measures nothing.

    `name` is its name in messages. Raises UserError if the data do not exist or cannot be used.
    """
    from frugan import artefact, build

    recipe, game, announce = assembly.recipe, assembly.game, _announcer(asked)
    shipped = game.shipped()
    averaged = {role: one.averaged and one.network in assembly.averages for role, one in shipped.items()}

    def norms(role: str) -> str | None:
        network = shipped[role].network
        if role == "generator" and averaged[role]:
            told = assembly.blueprints[network].condition and build.needs_labels(recipe)
            return artefact.STANDING_OF_LABELS if told else artefact.STANDING
        return artefact.STANDING if network in build.readers(assembly) else None

    def config(role: str, reals: Reals) -> dict[str, Any]:
        blueprint = assembly.blueprints[shipped[role].network]
        return {
            "image": tuple(blueprint.image), "latents": asdict(recipe.latents), "images": 0,
            "classes": reals.train.classes, "data": {"hash": reals.train.content_hash}, "outputs": blueprint.outputs,
            "averaged": averaged[role], "norms": norms(role),
        }  # fmt: skip

    if "generator" in shipped or CLASSIFIER in shipped:
        reals, reader = open_reals_of(recipe.data_of(next(iter(game.streams))), asked.reference, announce), None
        if CLASSIFIER in shipped:
            untrained = artefact.Classifier(game.networks[shipped[CLASSIFIER].network], config(CLASSIFIER, reals))
            streams = (open_reals_of(recipe.data_of(stream), None, announce) for stream in game.streams)
            hashes = (one.train.content_hash for one in streams)
            reader = ShippedClassifier(name, untrained, " ".join(hashes), None)
        if "generator" in shipped:
            generator = artefact.Generator(game.networks[shipped["generator"].network], config("generator", reals))
            encoder = None
            if "encoder" in shipped:
                about = {"role": "encoder", "norms": norms("encoder")}
                encoder = artefact.Encoder(game.networks[shipped["encoder"].network], about)
            return _of_fakes(fakes_of(generator, name, None, encoder), reals, asked, reader)
        assert reader is not None
        return _of_classifier(reader, reals, asked)
    translators = {role: one for role, one in shipped.items() if role.startswith("translator")}
    if not translators:
        raise UserError(f"{name} ships {', '.join(shipped)}, which makes no images, so it cannot be evaluated.")
    untrained = {
        role: artefact.Translator(
            game.networks[one.network],
            {"domains": {"names": (one.direction or ())[1:]}, "images": 0, "averaged": averaged[role]},
        )
        for role, one in translators.items()
    }
    splits = {stream: open_split(recipe.data_of(stream), asked.reference, announce, True) for stream in game.streams}
    described = {role: asdict(one) for role, one in translators.items()}
    hashes = " ".join(split.train.content_hash for split in splits.values())
    return _of_translators(ShippedTranslators(name, untrained, described, hashes, None), splits, asked)


def _of_translators(
    shipping: ShippedTranslators, splits: Mapping[str, Split], asked: EvaluationArguments
) -> Measurement:
    announce = _announcer(asked)
    return MeasurementOfTranslations(
        shipping, find_targets(shipping.translators, shipping.shipped, splits),
        *view_builders(asked.view, asked.view_seed, str(asked.device), announce), _number(asked) or COUNT, asked.seed,
        asked.batch_size, announce, asked.allow_few,
    )  # fmt: skip


def _of_classifier(
    of: ShippedClassifier, reals: Reals | Statistics, asked: EvaluationArguments
) -> MeasurementOfClassifier:
    if isinstance(reals, Statistics):
        raise UserError(
            f"--real {reals.name} holds statistics, and {of.name} ships a classifier, which is judged by images. Give "
            "images, or leave --real out."
        )
    held_out = reals.reference if reals.train.split == "test" else reals.held_out
    return MeasurementOfClassifier(of, reals.train, held_out, _announcer(asked), asked.allow_few)


def _of_fakes(
    fakes: Fakes, reals: Reals | Statistics, asked: EvaluationArguments, beside: ShippedClassifier | None
) -> Measurement:
    announce = _announcer(asked)
    look_through = partial(build_view, asked.view, asked.view_seed, fakes, reals, str(asked.device), announce)
    count = _choose_count(fakes, reals, _number(asked))
    return MeasurementOfFakes(
        fakes, reals, look_through, count, asked.seed, asked.batch_size, announce, asked.allow_few,
        None if beside is None or isinstance(reals, Statistics) else _of_classifier(beside, reals, asked),
    )


def _truncated(fakes: Fakes, truncation: float) -> Fakes:
    """The same generator with truncated latents. Raises UserError if it has none, or none that can be truncated."""
    if fakes.generator is None:
        raise UserError(f"{fakes.name} holds images, which have no latents. Leave --truncation out.")
    fakes.generator.latents.rows(0, 1, 0, truncation)
    return replace(fakes, truncation=truncation)


def _choose_count(fakes: Fakes, reals: Reals | Statistics, count: int | None) -> int:
    """How many fakes to look at. Raises UserError if so many were not given."""
    if fakes.dataset is not None:
        there = len(fakes.dataset)
        if count is not None and count > there:
            raise UserError(
                f"{fakes.name} has only {there:,} images. Give a --count of {there} or fewer, or leave it out."
            )
        return count or there
    if count is not None:
        return count
    return min(10_000, max(1000, len(reals.reference))) if isinstance(reals, Reals) else 10_000


def _number(asked: EvaluationArguments) -> int | None:
    assert asked.count is None or isinstance(asked.count, int)  # as `resolve_arguments` returns it
    return asked.count


def _announcer(asked: EvaluationArguments) -> Callable[[str], None]:
    return asked.progress or (lambda line: None)
