"""What metrics ask to see, made when one first asks for it, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import classifying, metrics, views
from frugan.evaluation.opening.fakes import Images
from frugan.evaluation.refusals import refusal_of_labels, refusal_of_view
from frugan.evaluation.values.kept_images import kept_images
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError, options_of

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Generator
    from frugan.views import Seen, View


PART = 1024
"""Images whose bytes are given out together."""


class ImageSets(NamedTuple):
    """Which images a metric sees as which, by the names of `frugan.metrics.SETS`."""

    fake: Images
    real: Images | None
    held_out: Images | None = None
    source: Images | None = None
    returned: Images | None = None
    unchanged: Images | None = None

    def named(self, name: str) -> Images | None:
        """The set of that name; None if there is none."""
        return getattr(self, name)


@dataclass
class MetricInputs:
    """What metrics ask to see: images, what a view sees in them and what a judge tells of them. Each is made once.

    Args:
        name: of the fakes, for messages; `generator`: what makes them, if they are made of latents.
        build_view: called when something first asks for the view, which may have to be trained.
        build_judge: the same for the classifier that tells the labels of the data; the view itself if left out.
        batch_size: images that are looked at together.
        announce: called with a line before something slow.
    """

    name: str
    generator: Generator | None
    build_view: Callable[[], View]
    batch_size: int
    announce: Callable[[str], None]
    build_judge: Callable[[], View] | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def view(self) -> View:
        """How images are looked at."""
        return self.keep("view", self.build_view)

    @property
    def judge(self) -> View:
        """What tells the labels of images."""
        return self.view if self.build_judge is None else self.keep("judge", self.build_judge)

    def gather(self, metric: Metric, sets: ImageSets) -> dict[str, Any]:
        """What a metric asked to see, by the words that it asked with. Raises UserError if there is no such thing."""
        return {word.removesuffix("?"): self._find(metric, parse_need(word), sets) for word in metric.needs}

    def _find(self, metric: Metric, need: Need, sets: ImageSets) -> Any:
        if need.kind == "generator":
            return self.generator
        if need.kind == "look":
            return self.view.features_of_floats
        images = sets.named(need.images)
        if images is None:
            if need.optional:
                return None
            raise UserError(f"{metric.name} needs {need.images} images, but there are none.")
        if need.kind == "pixels":
            return self.keep_pixels(images)
        if need.kind == "labels":
            return self._find_labels(metric, need, images, sets)
        if need.kind == "told":
            return self._tell_labels(images)
        why = refusal_of_view(metric, self.view) if need.kind == "probabilities" else ""
        if why:
            raise UserError(why)
        seen = self.look(images, self.view)
        return seen.features if need.kind == "features" else seen.log_probabilities

    def _find_labels(self, metric: Metric, need: Need, images: Images, sets: ImageSets) -> torch.Tensor | None:
        why = refusal_of_labels(metric, need, sets, makes=self.generator is not None)
        if why:
            raise UserError(why)
        if images.labels is not None and images.labels.ndim == 2 and need.optional:
            return None  # a metric that can do without labels knows what to do with classes
        return images.labels

    def keep_pixels(self, images: Images) -> torch.Tensor:
        """Bytes ``[count, channels, height, width]``, kept."""

        def make() -> torch.Tensor:
            import torch

            return torch.cat(list(images.batches()))

        return self.keep(f"pixels {images.key}", make)

    def read_parts(self, images: Images) -> Iterator[torch.Tensor]:
        """Bytes part by part: those that are kept, or made for this once."""
        kept, shared = self._kept.get(f"pixels {images.key}"), kept_images.get()
        if kept is None and shared is not None and self.generator is not None and images.dataset is None:
            kept = shared.find_or_make(self.generator, images)
        return images.batches() if kept is None else iter(kept.split(PART))

    def look(self, images: Images, view: View) -> Seen:
        """What a view sees; of a data set kept on the disk, since it looks the same every time."""

        def see() -> Seen:
            if images.dataset is not None:
                return views.features(
                    view, images.dataset, images.rows, batch_size=self.batch_size, announce=self.announce
                )
            self.announce(f"Making {images.count:,} images and looking at them ({view.name}).")
            return views.extract(view, self.read_parts(images), self.batch_size)

        return self.keep(f"seen {view.version} {images.key}", see)

    def _tell_labels(self, images: Images) -> torch.Tensor:
        logs = self.look(images, self.judge).log_probabilities
        assert logs is not None  # a judge is a classifier
        return classifying.likeliest(logs, attributes=self.judge.attributes > 0)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once and kept under a name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]


def choose_options(metric: Metric, fewest: int) -> dict[str, Any]:
    """A metric's options, with subsets no larger than the `fewest` images of any set."""
    options = options_of(metric.compute)
    if isinstance(options.get("subset_size"), int):
        options["subset_size"] = min(options["subset_size"], fewest)
    return options


def describe_metric(metric: Metric) -> dict[str, Any]:
    """What the protocol says of the metric itself; nothing of one that learns nothing and never changed.

    Of a metric of the user's own it is the hash of its code, so that a changed formula is another metric.
    """
    facts: dict[str, Any] = {} if metric.version == 1 else {"metric_version": metric.version}
    origin = metrics.registry.origin(metric.name)
    if origin is not None:
        facts["metric_code"] = origin.short
    if metric.learns:  # from bytes, which are on the CPU
        facts["training_precision"] = "bfloat16" if classifying.in_half("cpu") else "float32"
    return facts
