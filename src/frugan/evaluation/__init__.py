"""Evaluation: measure what a run makes, and keep every number with how it was made.

A value is one line of the run's ``metrics.jsonl``::

    {"metric": "fid", "values": {"fid": 7.9}, "headline": "fid", "better": "lower", "images": 60000, "protocol": {...}}

What is in `protocol` decides which numbers may stand in one table; `unequal` says in what two of them differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan.cache import cache_root, written_whole
from frugan.registry import UserError, load_code, options_of, suggest

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Generator
    from frugan.data import Dataset
    from frugan.engine.run import RunFolder
    from frugan.metrics import Metric, Need
    from frugan.views import Seen, View

Value = dict[str, Any]
"""One measured value as it stands in ``metrics.jsonl``."""

MAY_DIFFER = ("generator", "sampling_seed")
"""What two values of one table need not share: whose they are, and the latents that were drawn."""


def evaluate(
    run: str | Path | RunFolder,
    *,
    metrics: Sequence[str] | None = None,
    view: str | View | None = None,
    count: int | None = None,
    seed: int = 0,
    reference: str | None = None,
    batch_size: int = 256,
    device: str | None = None,
    code: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Value]:
    """Measure the newest checkpoint of a run and add the values to its ``metrics.jsonl``.

    A value that is there already with an equal protocol is not computed again. The fakes are the bytes that would be
    saved, of the shipped (averaged) weights; a conditional generator gets labels drawn from those it was trained on.

    Args:
        metrics: names, see `frugan.metrics.names`; left out, "fid" and "kid", and "class_coverage" with the
            classifier of the data's own classes.
        view: how images are looked at; left out, "classifier" for labelled data of at least two classes (a small
            net trained on the real images alone), else "pixels".
        count: how many images to make, and how many real ones to draw at most; left out, 10,000, or as many as there
            are real ones, but 1000 at least.
        seed: of the latents.
        reference: "test" or "train", the real images to compare with; left out, the held-out ones where the source
            has enough of them, else those that were trained on. It stands in the protocol.
        batch_size: images that the view looks at together.
        device: where to compute; the best there is if left out.
        code: a file of one's own that adds metrics, views or networks.
        progress: called with a line of text before something slow.

    Raises:
        UserError: no such run, metric or view, other data than the run was trained on, too few images.
    """
    from frugan import artefact, views
    from frugan import metrics as known
    from frugan.engine.precision import choose_device
    from frugan.engine.run import RunFolder

    if code is not None:
        load_code(code)
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    chosen = None if metrics is None else [known.find(name) for name in metrics]
    if isinstance(view, str):
        views.find(view)
    announce = progress or (lambda line: None)
    device = str(choose_device(device))

    generator = artefact.load(folder.path, device=device, code=code)
    real = _Real.open(folder, reference)
    if count is None:
        count = min(10_000, max(1000, len(real.reference)))
    if view is None:
        view = default_view(real.train)
    if isinstance(view, str):
        view = views.build(view, dataset=real.train, device=device, announce=announce)
    if chosen is None:
        own_classes = view.classes > 0 and view.classes == len(real.train.classes)
        chosen = [known.find(name) for name in ("fid", "kid", *(("class_coverage",) if own_classes else ()))]
    chosen = _sensible(chosen, real, count, announce)

    task = _Task(folder, generator, real, view, count, seed, batch_size, announce)
    known_values = folder.lines(folder.metrics)
    values = []
    for metric in chosen:
        protocol = task.protocol(metric)
        value = next((v for v in known_values if v["metric"] == metric.name and v["protocol"] == protocol), None)
        if value is None:
            value = task.measure(metric, protocol)
            folder.append(folder.metrics, value)
        values.append(value)
    return values


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


def default_view(dataset: Dataset) -> str:
    """The view that data are looked at with unless another is asked for."""
    from frugan import views

    return "classifier" if views.find("classifier").suits(dataset) else "pixels"


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
    return lines


def shared(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a protocol that all values of one table have in common."""
    return {key: value for key, value in protocol.items() if key not in MAY_DIFFER}


@dataclass(frozen=True)
class _Real:
    """The real images of an evaluation: those trained on, those held out, and which of them are the reference."""

    train: Dataset
    held_out: Dataset | None
    reference: Dataset

    @classmethod
    def open(cls, folder: RunFolder, reference: str | None) -> _Real:
        from frugan import data
        from frugan.recipe import from_run

        if reference not in (None, "train", "test"):
            raise UserError(f"There is no reference '{reference}'. {suggest(str(reference), ('train', 'test'))}")
        recipe = from_run(folder)
        stream, facts = next(iter(folder.read_json(folder.facts)["data"].items()))
        wanted = recipe.data_of(stream)
        options = {"size": wanted.size, "channels": wanted.channels, "only": wanted.only, "allow_unusable": True}
        train = data.open_dataset(wanted.source, split=wanted.split, limit=wanted.limit, **options)
        if train.content_hash != facts["hash"]:
            raise UserError(
                f"{folder.path} was trained on {facts['title']}, and '{wanted.source}' is {train.title} now: other "
                "images. Put the data back as they were, or train again."
            )
        held_out = None
        if wanted.split != "test" and data.has_split(wanted.source, "test"):
            held_out = data.open_dataset(wanted.source, split="test", **options)
        if reference == "test" and held_out is None:
            raise UserError(f"The data '{wanted.source}' have no held-out images (split test); use reference 'train'.")
        # A handful of held-out images would be a worse yardstick than the many that were trained on.
        enough = held_out is not None and len(held_out) >= min(1000, len(train))
        use_held_out = reference == "test" or (reference is None and enough)
        return cls(train, held_out, held_out if use_held_out and held_out is not None else train)


@dataclass
class _Task:
    """One evaluation: what is looked at is made when a metric first asks for it, and once."""

    folder: RunFolder
    generator: Generator
    real: _Real
    view: View
    count: int
    seed: int
    batch_size: int
    announce: Callable[[str], None]
    _made: dict[str, Any] = field(default_factory=dict)

    def protocol(self, metric: Metric) -> dict[str, Any]:
        real = self._reference(metric)
        conditional = bool(getattr(self.generator.module, "classes", 0))
        return {
            "data": real.name,
            "split": real.split,
            "content_hash": real.content_hash,
            "real_count": min(len(real), self.count),
            "fake_count": self.count,
            "trained_on": self.real.train.content_hash,
            "view": self.view.name,
            "view_version": self.view.version,
            "resizing": self.view.description.get("resizing", "none"),
            "view_accuracy": self.view.description.get("accuracy"),
            "precision": "float32",
            "truncation": None,
            "labels": "drawn from the training labels" if conditional else "none",
            "weights": "averaged" if self.generator.config["averaged"] else "live",
            "checkpoint": "last",
            "options": options_of(metric.compute),
            "sampling_seed": self.seed,
            "generator": self.generator.weights_hash,
        }

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> Value:
        from frugan.metrics import parse_need

        given = {need: self._given(parse_need(need), self._reference(metric)) for need in metric.needs}
        numbers = metric.compute(**given)
        return {
            "metric": metric.name, "values": numbers, "headline": metric.headline, "better": metric.better,
            "images": self.generator.config["images"], "protocol": protocol,
        }  # fmt: skip

    def _reference(self, metric: Metric) -> Dataset:
        """What stands for the real images: a metric that sets held-out ones against them means those trained on."""
        return self.real.train if _asks_held_out(metric) else self.real.reference

    def _given(self, need: Need, reference: Dataset) -> Any:
        """What a metric asked to see."""
        if need.kind == "generator":
            return self.generator
        if need.images == "fake":
            images, labels = self._fakes()
            look = lambda: self._look(images)  # noqa: E731
        else:
            dataset = reference if need.images == "real" else self.real.held_out
            assert dataset is not None  # checked in _sensible
            rows = drawn(dataset, self.count)
            images, labels = dataset.images.index_select(0, rows), dataset.labels
            labels = None if labels is None else labels.index_select(0, rows)
            look = lambda: self._look_once_for_all(dataset, images)  # noqa: E731
        if need.kind == "pixels":
            return images
        if need.kind == "labels":
            if labels is None:
                raise UserError(f"A metric asks for the labels of the {need.images} images, and they have none.")
            return labels
        seen: Seen = self._once(f"{need.images} {reference.split}", look)
        if need.kind == "probabilities" and seen.log_probabilities is None:
            raise UserError(f"A metric asks for class probabilities; the view '{self.view.name}' knows no classes.")
        return seen.features if need.kind == "features" else seen.log_probabilities

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _fakes(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Bytes ``[count, c, h, w]`` and the labels that they were made with."""

        def make() -> tuple[torch.Tensor, torch.Tensor | None]:
            import torch

            from frugan import seeds

            self.announce(f"Making {self.count:,} images.")
            labels, known = None, self.real.train.labels
            if getattr(self.generator.module, "classes", 0) and known is not None:
                rows = torch.randint(len(known), (self.count,), generator=seeds.generator(self.seed, "labels"))
                labels = known.index_select(0, rows)
            images = torch.from_numpy(self.generator.sample(self.count, self.seed, labels))
            return images.permute(0, 3, 1, 2).contiguous(), labels

        return self._once("fakes", make)

    def _look(self, images: torch.Tensor) -> Seen:
        from frugan import views

        self.announce(f"Looking at {len(images):,} images ({self.view.name}).")
        return views.extract(self.view, images, self.batch_size)

    def _look_once_for_all(self, dataset: Dataset, images: torch.Tensor) -> Seen:
        """Real images look the same every time, so what was seen is kept in the cache, by all that it depends on."""
        import numpy as np
        import torch


        name = f"{dataset.content_hash}-{dataset.split}-{len(images)}-{self.view.version}.npy"
        path = cache_root() / "features" / name
        if not path.exists():
            seen = self._look(images)
            columns = [seen.features] if seen.log_probabilities is None else [seen.features, seen.log_probabilities]
            with written_whole(path) as beside, beside.open("wb") as file:
                np.save(file, torch.cat(columns, 1).numpy())
        return _split(torch.from_numpy(np.load(path, allow_pickle=False)), self.view.width)


def drawn(dataset: Dataset, count: int) -> torch.Tensor:
    """The rows of `count` images of a data set, always the same ones; all if there are fewer."""
    import torch

    from frugan import seeds

    order = torch.randperm(len(dataset), generator=seeds.generator(0, "reference"))
    return order[:count].sort().values


def _split(columns: torch.Tensor, width: int) -> Seen:
    from frugan.views import Seen

    return Seen(columns[:, :width], columns[:, width:] if columns.shape[1] > width else None)


def _asks_held_out(metric: Metric) -> bool:
    from frugan.metrics import parse_need

    return any(parse_need(need).images == "held_out" for need in metric.needs)


def _sensible(metrics: list[Metric], real: _Real, count: int, announce: Callable[[str], None]) -> list[Metric]:
    """The metrics that have a meaning with so many images. Raises UserError where the count asked for is too low."""
    kept = []
    for metric in metrics:
        if count < metric.least:
            raise UserError(f"{metric.name} of {count} images means little; give a count of at least {metric.least}.")
        if _asks_held_out(metric) and real.held_out is None:
            raise UserError(f"{metric.name} needs held-out images, and {real.train.name} has no split test.")
        uses_real = any(need not in ("fake", "probabilities", "pixels", "labels", "generator") for need in metric.needs)
        if uses_real and len(real.reference) < metric.least:
            announce(
                f"{metric.name} is left out: it takes {metric.least} real images and {real.reference.title} has fewer."
            )
        else:
            kept.append(metric)
    if not kept:
        raise UserError(f"No metric can be computed with {real.reference.title}; it takes more real images.")
    return kept
