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
    from frugan.build import Assembly
    from frugan.engine.run import RunFolder
    from frugan.evaluation.opening.targets import Sheet

__all__ = ["MAY_DIFFER", "PRIMARY", "Noise", "Value", "by_target", "check_names", "evaluate", "foresee", "made_once",
           "noise", "of_all", "shared", "sheets", "unequal"]  # fmt: skip

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
    from frugan import owncode
    from frugan.evaluation.refusals import choose_metrics, resolve_arguments
    from frugan.evaluation.values.measurement import open_measurement

    # Code of the user's own may add what is named. Names are checked before anything is opened, metrics before anything
    # is looked at.
    owncode.load_of(_path_of(asked.fakes), asked.code, trust_code=asked.trust_code)
    asked = resolve_arguments(asked)
    measurement = open_measurement(asked)
    chosen = choose_metrics(asked.metrics, measurement)

    # What is known under an equal protocol is not measured again.
    run = measurement.run
    protocols = {metric.name: measurement.protocol(metric) for metric in chosen}
    known = [value for value in (() if run is None else run.lines(run.metrics)) if value["metric"] in protocols]
    values = {value["metric"]: value for value in reversed(known) if value["protocol"] == protocols[value["metric"]]}

    # The others, each kept as soon as it is known.
    missing = [metric for metric in chosen if metric.name not in values]
    measurement.prepare(missing)
    for metric in missing:
        values[metric.name] = measurement.measure(metric, protocols[metric.name])
        if run is not None:
            run.append(run.metrics, values[metric.name])
    return [values[metric.name] for metric in chosen]


def check_names(**asked: Any) -> None:
    """Look up every name in arguments of `evaluate`, before there is anything to evaluate. Raises UserError."""
    from frugan.evaluation.refusals import resolve_arguments

    resolve_arguments(EvaluationArguments("", **asked))


def foresee(assembly: Assembly, name: str, *, needed: str | None = None, **asked: Any) -> dict[str, dict[str, Any]]:
    """What `evaluate` will measure of what a recipe trains, by the same checks, before it is trained.

    Args:
        assembly: the recipe's objects, see `frugan.build.assemble`.
        name: what messages call it.
        needed: a metric that must be computed, whether it is named or not.
        **asked: arguments of `evaluate`. The view is built, which may take minutes; it is kept and needed later anyway.

    Returns:
        By metric, the protocol that its value will have, apart from what belongs to the weights.

    Raises:
        UserError: as `evaluate` will.
    """
    from frugan.evaluation.refusals import choose_metrics, resolve_arguments
    from frugan.evaluation.values.measurement import foresee_measurement

    resolved = resolve_arguments(EvaluationArguments(name, **asked))
    measurement = foresee_measurement(assembly, name, resolved)
    chosen = choose_metrics(resolved.metrics, measurement, needed)
    return {metric.name: shared(measurement.protocol(metric)) for metric in chosen}


def sheets(run: str | Path | RunFolder, count: int) -> list[Sheet]:
    """What a run's translators make of the first `count` images that they are judged by, for people to look at.

    The run's own code must have been run (`frugan.owncode.load_of`). Raises UserError if the run has no translators, or
    its data are not there.
    """
    from frugan.evaluation.opening.targets import draw_sheets, find_targets
    from frugan.evaluation.opening.translators import open_splits, open_translators

    shipping = open_translators(run, device="cpu")
    if shipping is None:
        raise UserError(f"{run} has no translators. To see what a generator makes, use frugan sample.")
    splits = open_splits(shipping, None, None, size=None, channels=None)
    return draw_sheets(find_targets(shipping.translators, shipping.shipped, splits), count)


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
        raise UserError(f"Noise cannot be measured with {len(set(seeds))} seed. Give two or more different ones.")
    rounds = [evaluate(run, metrics=metrics, seed=seed, **settings) for seed in seeds]
    noises = {}
    for values in zip(*rounds, strict=True):
        numbers = tuple(value["values"][value["headline"]] for value in values)
        protocol = shared(values[0]["protocol"])
        noises[values[0]["metric"]] = Noise(statistics.fmean(numbers), statistics.stdev(numbers), numbers, protocol)
    return noises


def unequal(protocols: Iterable[Mapping[str, Any]]) -> list[str]:
    """In what protocols differ, as ``key: one | another`` lines; empty if their values may stand in one table."""
    listed = list(protocols)
    lines = []
    for key in dict.fromkeys(key for protocol in listed for key in protocol):
        items: list[Any] = []
        for protocol in listed:
            if protocol.get(key) not in items:
                items.append(protocol.get(key))
        if len(items) > 1 and key not in MAY_DIFFER:
            lines.append(f"{key}: {' | '.join(map(str, items))}")
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
