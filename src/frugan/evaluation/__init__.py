"""Evaluation: measure what a run, or any other program, makes, and keep every number with how it was made.

A value is one line of the run's ``metrics.jsonl``::

    {"metric": "fid", "values": {"fid": 7.9}, "headline": "fid", "better": "lower", "images": 60000,
     "protocol": {...}, "floor": {"value": 0.4, "values": {...}, "protocol": {...}}}

What is in `protocol` decides which numbers may stand in one table; `unequal` says in what two of them differ. `floor`
is what the metric says of real images in the place of fakes: nothing better than that can be seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan.arguments import taking
from frugan.evaluation.arguments import EvaluationArguments
from frugan.evaluation.values.kept_images import made_once
from frugan.evaluation.values.names import PRIMARY, by_target, of_all
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder
    from frugan.evaluation.opening.targets import Sheet
    from frugan.metrics import Metric
    from frugan.recipe import Recipe

__all__ = ["MAY_DIFFER", "PRIMARY", "Noise", "Value", "by_target", "evaluate", "made_once", "noise", "of_all",
           "refusals_of_translations", "shared", "sheets", "unequal"]  # fmt: skip

Value = dict[str, Any]
"""One measured value as it stands in ``metrics.jsonl``."""

MAY_DIFFER = ("generator", "generator_code", "sampling_seed", "given")
"""What two values of one table need not share: whose they are, the user's own code that their networks are made of (but
of one variant one code, see `unequal`), the latents that were drawn, and the weights that a run was given to begin
with."""


@taking(EvaluationArguments)
def evaluate(asked: EvaluationArguments) -> list[Value]:
    """Measure fakes against real images. Of a run, its newest checkpoint, and the values join its ``metrics.jsonl``.

    A value that is there already with an equal protocol is not computed again. Of a generator, the fakes are the bytes
    that would be saved, of the shipped (averaged) weights; a conditional one gets labels drawn from those it was
    trained on. Of images that any program made, they are these images; nothing is written beside them.

    Of a translator, the fakes are real images of other domains, translated to each target in turn: held-out ones where
    the data have any. A value is then the mean over the targets, and ``fid_to_glasses`` is that of one.

    Raises:
        UserError: no such fakes, reals, metric or view, other data than the run was trained on, unequal shapes, or too
            few images for a metric that was named.
    """
    from frugan import metrics as known
    from frugan import owncode, views
    from frugan.engine.precision import choose_device
    from frugan.evaluation.refusals import read_count, sensible
    from frugan.evaluation.values.measurement import open_task

    owncode.load_of(_path_of(asked.fakes), asked.code, trust_code=asked.trust_code)
    named = None if asked.metrics is None else [known.find(name) for name in asked.metrics]
    for name in asked.allow_few:
        known.find(name)
    if isinstance(asked.view, str):
        views.find(asked.view)
    announce = asked.progress or (lambda line: None)

    task = open_task(
        asked.fakes, real=asked.real, reference=asked.reference, size=asked.size, channels=asked.channels,
        allow_unusable=asked.allow_unusable, view=asked.view, view_seed=asked.view_seed,
        count=read_count(asked.count), seed=asked.seed, batch_size=asked.batch_size,
        few=asked.allow_few, device=str(choose_device(asked.device)), announce=announce,
    )
    chosen = sensible(named, task)

    kept_values = [] if task.run is None else task.run.lines(task.run.metrics)
    missing: list[tuple[Metric, dict[str, Any]]] = []
    found: dict[str, Value] = {}
    for metric in chosen:
        protocol = task.protocol(metric)
        kept = next((v for v in kept_values if v["metric"] == metric.name and v["protocol"] == protocol), None)
        if kept is None:
            missing.append((metric, protocol))
        else:
            found[metric.name] = kept
    task.prepare([metric for metric, _ in missing])
    for metric, protocol in missing:
        found[metric.name] = task.measure(metric, protocol)
        if task.run is not None:
            task.run.append(task.run.metrics, found[metric.name])
    return [found[metric.name] for metric in chosen]


def refusals_of_translations(
    metrics: Sequence[Metric], recipe: Recipe, *, count: int | None = None, reference: str | None = None,
    view: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """Why the translators that a recipe trains will have no value of a metric: a line by the name of each such metric.

    Found before any training, which takes hours. Raises UserError if the data are not there.
    """
    from dataclasses import asdict

    from frugan import artefact, build
    from frugan.evaluation.opening.targets import groups
    from frugan.evaluation.opening.translators import split_of
    from frugan.evaluation.values.of_translations import COUNT, of_attributes, refusal, short_of
    from frugan.metrics import parse_need

    game = build.assemble(recipe).game
    shipped = game.shipped()
    untrained = {
        role: artefact.Translator(game.networks[item.network], {"domains": {"names": (item.direction or ())[1:]}})
        for role, item in shipped.items()
    }
    splits = {stream: split_of(recipe.data_of(stream), reference, True) for stream in game.streams}
    by_view = groups(untrained, {role: asdict(item) for role, item in shipped.items()}, splits)
    targets = [target for group in by_view for target in group.targets]
    found = {metric.name: refusal(metric, targets) or short_of(metric, targets, count or COUNT) for metric in metrics}
    if view in (None, "classifier") and of_attributes(targets):
        for metric in metrics:
            if any(parse_need(word).kind == "probabilities" for word in metric.needs):
                found[metric.name] = f"{metric.name} needs class probabilities, and attributes are no classes."
    return {name: why for name, why in found.items() if why}


def sheets(run: str | Path | RunFolder, count: int) -> list[Sheet]:
    """What a run's translators make of the first `count` images that they are judged by, for people to look at.

    The run's own code must have been run (`frugan.owncode.load_of`). Raises UserError if the run has no translators, or
    its data are not there.
    """
    from frugan.evaluation.opening.targets import groups
    from frugan.evaluation.opening.targets import sheets as made
    from frugan.evaluation.opening.translators import ship, splits_of

    shipping = ship(run, device="cpu")
    if shipping is None:
        raise UserError(f"{run} has no translators; frugan sample shows what a generator makes.")
    splits = splits_of(shipping, None, None, size=None, channels=None)
    return made(groups(shipping.translators, shipping.shipped, splits), count)


class Noise(NamedTuple):
    """How far a value moves when one and the same checkpoint is evaluated with other latents.

    `sd` is the sample deviation (over count - 1) of the headline `values`, in the order of the seeds. Training seeds
    are another matter: where this is over a third of their deviation, evaluate more images or train more seeds.
    """

    mean: float
    sd: float
    values: tuple[float, ...]
    protocol: dict[str, Any]


def noise(
    run: str | Path | RunFolder,
    *,
    metrics: Sequence[str] | None = None,
    seeds: Sequence[int] = range(5),
    **settings: Any,
) -> dict[str, Noise]:
    """The noise of evaluation itself: one checkpoint measured with several sampling seeds, by metric.

    Args:
        run: what `evaluate` takes that makes its images: a run or an artefact.
        metrics: names; as for `evaluate` if left out.
        seeds: of the latents, at least two.
        **settings: what else `evaluate` takes (view, count, real, reference, device, code, progress, ...).

    Each value is kept as `evaluate` keeps it, so what is known is not computed again. Raises UserError as it does.
    """
    if len(set(seeds)) < 2:
        raise UserError(f"Noise of {len(set(seeds))} seeds cannot be told; give at least two different ones.")
    rounds = [evaluate(run, metrics=metrics, seed=seed, **settings) for seed in seeds]
    found = {}
    for values in zip(*rounds, strict=True):
        numbers = tuple(value["values"][value["headline"]] for value in values)
        protocol = shared(values[0]["protocol"])
        found[values[0]["metric"]] = Noise(statistics.fmean(numbers), statistics.stdev(numbers), numbers, protocol)
    return found


def unequal(protocols: Iterable[Mapping[str, Any]]) -> list[str]:
    """In what protocols differ, as ``key: one | another`` lines; empty if their values may stand in one table."""
    listed = list(protocols)
    lines = []
    for key in dict.fromkeys(key for protocol in listed for key in protocol):
        found: list[Any] = []
        for protocol in listed:
            if protocol.get(key) not in found:
                found.append(protocol.get(key))
        if len(found) > 1 and key not in MAY_DIFFER:
            lines.append(f"{key}: {' | '.join(map(str, found))}")
    # Arms may be of different variants, but what is called by one name was made by one code.
    codes = [protocol.get("generator_code", {}) for protocol in listed]
    for variant in dict.fromkeys(variant for code in codes for variant in code):
        hashes = dict.fromkeys(code[variant] for code in codes if variant in code)
        if len(hashes) > 1:
            lines.append(f"code of the {variant}: {' | '.join(hashes)}")
    return lines


def _path_of(fakes: str | Path | RunFolder) -> Path:
    return Path(fakes).expanduser() if isinstance(fakes, (str, Path)) else fakes.path


def shared(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a protocol that all values of one table have in common."""
    return {key: value for key, value in protocol.items() if key not in MAY_DIFFER}
