"""What an evaluation does with what was left open: how many images, through which view, by which metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from frugan import metrics, views
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Fakes
from frugan.evaluation.opening.reals import Reals, Statistics
from frugan.evaluation.values.names import PRIMARY
from frugan.evaluation.values.of_fakes import Task, asks_for
from frugan.evaluation.values.of_translations import Translations
from frugan.metrics import parse_need
from frugan.recipe import parse_count
from frugan.registry import UserError, options_of

if TYPE_CHECKING:
    from frugan.metrics import Metric
    from frugan.views import View


SMALL = 20_000
"""Against fewer training images than these, distances reward their copies, and memorisation is measured beside them."""


def default_view(dataset: Dataset) -> str:
    """The view that data are looked at with unless another is asked for."""
    return next((name for name in ("stacked", "classifier") if views.find(name).suits(dataset)), "pixels")


def read_count(count: int | str | None) -> int | None:
    """A count as it was given. Raises UserError, which names the option."""
    try:
        return None if count is None else parse_count(count)
    except UserError as error:
        raise UserError(f"--count {count}: {error}") from None


def count_of(fakes: Fakes, reals: Reals | Statistics, count: int | None) -> int:
    """How many fakes to look at. Raises UserError if so many were not given."""
    if fakes.dataset is not None:
        there = len(fakes.dataset)
        if count is not None and count > there:
            raise UserError(f"{fakes.name} holds {there:,} images; give a --count of at most so many, or leave it out.")
        return count or there
    if count is not None:
        return count
    return min(10_000, max(1000, len(reals.reference))) if isinstance(reals, Reals) else 10_000


def view_of(
    view: str | View | None, seed: int, fakes: Fakes, reals: Reals | Statistics, device: str,
    announce: Callable[[str], None],
) -> View:
    """That view, the one called so, or the one that suits. Raises UserError where nothing tells which."""
    if view is not None and not isinstance(view, str):
        return view
    if isinstance(reals, Reals):
        name = view or default_view(reals.train)
        return views.build(name, dataset=reals.train, device=device, announce=announce, **_seeded(name, seed))
    if view is None and len(reals.mean) != 2048:
        raise UserError(
            f"--real {reals.name} describes {len(reals.mean)} features an image; say which view saw them with --view "
            f"({', '.join(views.names())})."
        )
    return views.build(view or "inception", dataset=fakes.dataset, device=device, announce=announce)


def views_for(
    view: str | View | None, seed: int, device: str, announce: Callable[[str], None]
) -> tuple[Callable[[Dataset], View], Callable[[Dataset], View]]:
    """What builds the view from the data that it may learn from, and the classifier that tells their labels."""

    def build(name: str, dataset: Dataset) -> View:
        return views.build(name, dataset=dataset, device=device, announce=announce, **_seeded(name, seed))

    def build_view(dataset: Dataset) -> View:
        return view if view is not None and not isinstance(view, str) else build(view or default_view(dataset), dataset)

    return build_view, lambda dataset: build("classifier", dataset)


def _seeded(name: str, seed: int) -> dict[str, Any]:
    """The option `seed` of a view, if it is another than that of every view. Raises UserError if it takes none."""
    if seed and "seed" not in options_of(views.find(name).build):
        raise UserError(f"The view '{name}' learns nothing, so it has no seed; leave view_seed out.")
    return {"seed": seed} if seed else {}


def sensible(named: list[Metric] | None, task: Task | Translations) -> list[Metric]:
    """The metrics to be computed. Raises UserError for a named one that cannot be, or if none is left."""
    chosen = named
    if chosen is None:
        chosen = [metrics.find(name) for name in (task.usual if isinstance(task, Translations) else _usual(task))]
    kept, first = [], ""
    for metric in chosen:
        refusal = task.refusal(metric) if isinstance(task, Translations) else _refusal(metric, task)
        if not refusal:
            kept.append(metric)
        elif named is not None:
            raise UserError(refusal)
        else:
            first = first or refusal
            task.announce(f"{metric.name} is left out: {refusal}")
    if not kept:
        raise UserError(first or "No metric was named; leave --metrics out, or name some, e.g. fid,kid.")
    return kept if isinstance(task, Translations) else [*kept, *_memorisation(kept, task)]


def _usual(task: Task) -> tuple[str, ...]:
    """What is measured of a generator unless told."""
    reals = task.reals
    classes = len(reals.train.classes) if isinstance(reals, Reals) else 0
    more = ("kid",) if isinstance(reals, Reals) else ()
    own = ("class_coverage",) if classes and classes == task.view.classes else ()
    return (PRIMARY, *more, *own)


def _refusal(metric: Metric, task: Task) -> str:
    """Why `metric` cannot be computed, in a line that says what to do; empty if it can. Warns of what was allowed.

    Against images it asks nothing of the view, which may take minutes to train.
    """
    needs = [parse_need(word) for word in metric.needs]
    kinds = {need.kind for need in needs}
    if metrics.of_translations(metric):
        return f"{metric.name} judges what is made of real images, and {task.fakes.name} translates none; leave it out."
    if task.fakes.generator is None and kinds & {"generator", "look"}:
        return f"{metric.name} asks a generator for images of its own; {task.fakes.name} holds images alone."
    if not isinstance(task.reals, Reals):
        if metric.name != "fid" and (asks_for(metric, "real") or asks_for(metric, "held_out")):
            return f"{metric.name} needs real images; the statistics {task.reals.name} serve fid alone."
        if asks_for(metric, "real") and len(task.reals.mean) != task.view.width:
            return (
                f"--real {task.reals.name} describes {len(task.reals.mean)} features an image and the view "
                f"'{task.view.name}' has {task.view.width}; give the view it was made with, e.g. --view inception."
            )
    elif any(need.images == "held_out" and not need.optional for need in needs) and task.reals.held_out is None:
        return f"{metric.name} needs held-out images, and {task.reals.train.name} has no split test."
    elif task.reals.train.attributes and any(need.kind == "labels" and not need.optional for need in needs):
        return f"{metric.name} needs one class an image, and {task.reals.train.name} has attributes: leave it out."
    short = task.short_of(metric)
    if not short:
        return ""
    if metric.name in task.few:
        task.announce(
            f"{metric.name}: {short}. Of so few it is far from what more images would give, and compares with values "
            "of the same counts alone; its protocol says so."
        )
        return ""
    return (
        f"{metric.name} takes at least {metric.least} images: there are {short.partition(' images')[0]}. Give more "
        f"(--count, for fakes of a generator), or allow it by name: --allow-few {metric.name}"
    )


def _memorisation(chosen: list[Metric], task: Task) -> list[Metric]:
    """What is to be measured unasked beside distances to few training images, which reward copies of them."""
    name, reals = "memorisation", task.reals
    if not isinstance(reals, Reals) or reals.reference is not reals.train or len(reals.train) >= SMALL:
        return []
    if any(metric.name == name for metric in chosen) or not any(asks_for(metric, "real") for metric in chosen):
        return []
    metric = metrics.find(name)
    refusal = _refusal(metric, task)
    if refusal:
        task.announce(f"{name} is not measured beside: {refusal}")
    return [] if refusal else [metric]
