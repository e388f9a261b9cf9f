"""Evaluation: measure images that a run, or any other program, has made. Every number is kept with its protocol.

A value is one line of the run's ``metrics.jsonl``::

    {"metric": "fid", "values": {"fid": 7.9}, "headline": "fid", "better": "lower", "images": 60000,
     "protocol": {...}, "floor": {"value": 0.4, "values": {...}, "protocol": {...}}}

The `protocol` says how the value was made. Only values with equal protocols may be in one table; `unequal` says how two
protocols differ. `floor` is the metric's value for real images instead of fakes: no fakes can be seen to be better.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import terminal
from frugan.arguments import File, Names, WholeNumbers, strict, taking
from frugan.evaluation.arguments import EvaluationArguments
from frugan.evaluation.values.kept_images import made_once
from frugan.evaluation.values.names import OF_FEW, PRIMARY, by_target, of_all
from frugan.files import expanded
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.engine.run import RunFolder
    from frugan.evaluation.opening.targets import Sheet

__all__ = ["MAY_DIFFER", "PRIMARY", "Noise", "Value", "by_target", "check_names", "evaluate", "find_primary", "foresee",
           "made_once", "noise", "of_all", "shared", "sheets", "unequal"]  # fmt: skip

Value = dict[str, Any]
"""One measured value as it stands in ``metrics.jsonl``."""

MAY_DIFFER = ("generator", "encoder", "generator_code", "sampling_seed", "given", "exported")
"""What two values of one table need not share: whose they are, the user's own code that their networks are made of (but
of one variant one code, see `unequal`), the latents that were drawn, the weights that a run was given to begin
with, and the runtime that computes an exported file."""

DERIVED = ("view_at_chance",)
"""What follows from the view's version, so it is no difference of its own. Older values of the same view lack it."""


@taking(EvaluationArguments)
def evaluate(asked: EvaluationArguments) -> list[Value]:
    """Measure fakes against real images. For a run: its newest checkpoint, and values are added to ``metrics.jsonl``.

    A value that is there already with an equal protocol is not computed again. The fakes of a generator are the bytes
    that it would save, made with its averaged weights. A conditional generator gets labels drawn from its training
    labels. If the fakes are images that another program made, nothing is written into their folder.

    The fakes of a translator are real images of other domains, translated to each target in turn. They are held-out
    images if the data have any. A value is then the mean over the targets; ``fid_to_glasses`` is the value of one
    target.

    Raises:
        UserError: the fakes, real images, a metric or the view do not exist; the data are not those of the run; shapes
            differ; or there are too few images for a metric that was named.
    """
    from frugan import owncode
    from frugan.evaluation.refusals import choose_metrics, resolve_arguments
    from frugan.evaluation.values.measurement import open_measurement

    # Code of the user's own may add what is named. Names are checked before anything is opened, metrics before anything
    # is looked at.
    owncode.load_of(expanded(asked.fakes), asked.code, trust_code=asked.trust_code)
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
            _keep(run, values[metric.name])
    return [values[metric.name] for metric in chosen]


def _keep(run: RunFolder, value: Value) -> None:
    """Add a value to the run's. One that cannot be kept is still told."""
    try:
        run.append(run.metrics, value)
    except OSError as error:
        terminal.tell(
            f"frugan: {value['metric']} is not kept: {run.metrics} cannot be written ({error.strerror or error})."
        )


def check_names(**asked: Any) -> None:
    """Check every name in arguments of `evaluate`, before there are fakes. Raises UserError for an unknown one."""
    from frugan.evaluation.refusals import resolve_arguments

    resolve_arguments(EvaluationArguments("", **asked))


def foresee(assembly: Assembly, name: str, *, needed: str | None = None, **asked: Any) -> dict[str, dict[str, Any]]:
    """Find out what `evaluate` will measure of a recipe before it is trained, by the same checks.

    Args:
        assembly: the recipe's objects, see `frugan.build.assemble`.
        name: the recipe's name in messages.
        needed: a metric that must be computed, whether it is named or not.
        **asked: arguments of `evaluate`. The view is built, which may take minutes; it is kept, and the evaluation uses
            it later.

    Returns:
        For each metric, the protocol that its value will have, without the facts about the weights.

    Raises:
        UserError: whenever `evaluate` would raise it later.
    """
    from frugan.evaluation.refusals import choose_metrics, resolve_arguments
    from frugan.evaluation.values.measurement import foresee_measurement

    resolved = resolve_arguments(EvaluationArguments(name, **asked))
    measurement = foresee_measurement(assembly, name, resolved)
    chosen = choose_metrics(resolved.metrics, measurement, needed)
    return {metric.name: shared(measurement.protocol(metric)) for metric in chosen}


def find_primary(assembly: Assembly, name: str, say: Callable[[str], None], **asked: Any) -> str:
    """The metric that decides where none is named: `PRIMARY`, or `OF_FEW` where there are too few images for it.

    Arguments as of `foresee`. Raises UserError if neither can be computed.
    """
    try:
        foresee(assembly, name, metrics=[PRIMARY], progress=say, **asked)
    except UserError as error:
        foresee(assembly, name, metrics=[OF_FEW], progress=say, **asked)
        say(
            f"{OF_FEW} decides, not {PRIMARY}: {str(error).partition('. ')[0]}. For another metric: --metrics NAME (of "
            "frugan fit: --metric NAME)."
        )
        return OF_FEW
    return PRIMARY


def sheets(run: File, count: int) -> list[Sheet]:
    """The first `count` images that a run's translators are judged by, with their translations, for people to look at.

    Run the run's own code first (`frugan.owncode.load_of`). Raises UserError if the run has no translators, or its data
    do not exist.
    """
    from frugan.evaluation.opening.targets import draw_sheets, find_targets
    from frugan.evaluation.opening.translators import open_splits, open_translators

    shipping = open_translators(run, device="cpu")
    if shipping is None:
        raise UserError(f"{run} has no translators. To see what a generator makes, use frugan sample.")
    splits = open_splits(shipping, None, None, lambda line: None, size=None, channels=None)
    return draw_sheets(find_targets(shipping.translators, shipping.shipped, splits), count)


class Noise(NamedTuple):
    """How much a value changes when the same checkpoint is evaluated with other latents.

    `values` are the headline values in the order of the seeds, `sd` their sample deviation (over count - 1). Training
    seeds change values too. If `sd` is more than a third of their deviation, evaluate more images or train more seeds.
    """

    mean: float
    sd: float
    values: tuple[float, ...]
    protocol: dict[str, Any]


@strict
def noise(
    run: File,
    *,
    metrics: Names | None = None,
    seeds: WholeNumbers = range(5),
    **settings: Any,
) -> dict[str, Noise]:
    """The noise of evaluation itself, for each metric: evaluate one checkpoint with several sampling seeds.

    Args:
        run: a run or an artefact.
        metrics: names of metrics. If left out: as for `evaluate`.
        seeds: seeds for the latents, at least two.
        **settings: other arguments of `evaluate` (view, count, real, reference, device, code, progress, ...).

    Values are kept as by `evaluate`, so known values are not computed again. Raises UserError as `evaluate` does.
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
    """How protocols differ, as lines ``key: one | another``; empty if their values may be in one table."""
    listed = list(protocols)
    # A folder that was renamed holds what it held.
    same_images = len({protocol.get("content_hash") for protocol in listed}) == 1 and "content_hash" in listed[0]
    lines = []
    for key in dict.fromkeys(key for protocol in listed for key in protocol):
        items: list[Any] = []
        for protocol in listed:
            if protocol.get(key) not in items:
                items.append(protocol.get(key))
        if len(items) > 1 and key not in (*MAY_DIFFER, *DERIVED) and not (key == "data" and same_images):
            lines.append(f"{key}: {' | '.join(map(str, items))}")
    # Arms may be of different variants, but what is called by one name was made by one code.
    codes = [protocol.get("generator_code", {}) for protocol in listed]
    for variant in dict.fromkeys(variant for code in codes for variant in code):
        hashes = dict.fromkeys(code[variant] for code in codes if variant in code)
        if len(hashes) > 1:
            lines.append(f"code of the {variant}: {' | '.join(hashes)}")
    return lines


def shared(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a protocol that must be equal for all values of a table."""
    return {key: value for key, value in protocol.items() if key not in MAY_DIFFER}
