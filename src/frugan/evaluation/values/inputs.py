"""What metrics ask to see, made when it is first asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import classifying, metrics, views
from frugan.evaluation.opening.fakes import Images
from frugan.evaluation.values.kept_images import shared
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError, options_of

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Generator
    from frugan.views import Seen, View


PART = 1024
"""Images whose bytes are given out together."""


class Sides(NamedTuple):
    """Which images play which part in a metric, by the names of `frugan.metrics.SETS`."""

    fake: Images
    real: Images | None
    held_out: Images | None = None
    source: Images | None = None
    returned: Images | None = None
    unchanged: Images | None = None


@dataclass
class Feeding:
    """Images, what a view sees in them and what a judge tells of them, for metrics that ask.

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
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def view(self) -> View:
        """How images are looked at."""
        return self.once("view", self.build_view)

    @property
    def judge(self) -> View:
        """What tells the labels of images."""
        return self.view if self.build_judge is None else self.once("judge", self.build_judge)

    def given(self, metric: Metric, sides: Sides) -> dict[str, Any]:
        """What a metric asked to see, by the words that it asked with. Raises UserError if there is no such thing."""
        return {word.removesuffix("?"): self._one(metric, parse_need(word), sides) for word in metric.needs}

    def _one(self, metric: Metric, need: Need, sides: Sides) -> Any:
        if need.kind == "generator":
            return self.generator
        if need.kind == "look":
            return self.view.features_of_floats
        images: Images | None = getattr(sides, need.images)
        if images is None:
            if need.optional:
                return None
            raise UserError(f"{metric.name} needs {need.images} images, and there are none.")
        if need.kind == "pixels":
            return self.pixels(images)
        if need.kind == "labels":
            return self._labels(metric, need, images, sides)
        if need.kind == "told":
            return self._told(images)
        seen = self.seen(images, self.view)
        if need.kind == "probabilities" and (seen.log_probabilities is None or not self.view.classes):
            raise UserError(blind(metric, self.view))
        return seen.features if need.kind == "features" else seen.log_probabilities

    def _labels(self, metric: Metric, need: Need, images: Images, sides: Sides) -> torch.Tensor | None:
        if images.labels is None and not need.optional:
            how = "give images in one folder a class, or an .npz with 'labels'"
            if need.images == "fake" and self.generator is not None:
                how = "train a recipe whose generator takes them, such as 'cgan'"
            raise UserError(f"{metric.name} needs the labels of the {need.images} images, and they have none: {how}.")
        if images.labels is not None and images.labels.ndim == 2 and need.optional:
            return None  # a metric that can do without labels knows what to do with classes
        self._check_classes(metric, images, sides)
        return images.labels

    def _check_classes(self, metric: Metric, images: Images, sides: Sides) -> None:
        """Labels are numbers: they mean the same classes only where these have the same names."""
        real = sides.real
        if images.labels is None or real is None or real.labels is None or images.classes == real.classes:
            return
        raise UserError(
            f"{metric.name} compares classes, and those of {self.name} are called {_listed(images.classes)} "
            f"where the real ones are called {_listed(real.classes)}; name the fakes' folders as the real ones are."
        )

    def pixels(self, images: Images) -> torch.Tensor:
        """Bytes ``[count, channels, height, width]``, kept."""

        def make() -> torch.Tensor:
            import torch

            return torch.cat(list(images.batches()))

        return self.once(f"pixels {images.key}", make)

    def parts(self, images: Images) -> Iterator[torch.Tensor]:
        """Bytes part by part: those that are kept, or made for this once."""
        kept, others = self._made.get(f"pixels {images.key}"), shared.get()
        if kept is None and others is not None and self.generator is not None and images.dataset is None:
            kept = others.of(self.generator, images)
        return images.batches() if kept is None else iter(kept.split(PART))

    def seen(self, images: Images, view: View) -> Seen:
        """What a view sees; of a data set kept on the disk, since it looks the same every time."""

        def look() -> Seen:
            if images.dataset is not None:
                return views.features(
                    view, images.dataset, images.rows, batch_size=self.batch_size, announce=self.announce
                )
            self.announce(f"Making {images.count:,} images and looking at them ({view.name}).")
            return views.extract(view, self.parts(images), self.batch_size)

        return self.once(f"seen {view.version} {images.key}", look)

    def _told(self, images: Images) -> torch.Tensor:
        logs = self.seen(images, self.judge).log_probabilities
        assert logs is not None  # a judge is a classifier
        return classifying.likeliest(logs, attributes=self.judge.attributes > 0)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, kept under a name."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def blind(metric: Metric, view: View) -> str:
    """Why a view without classes does not serve a metric of probabilities."""
    why = "tells attributes, which are no classes" if view.attributes else "knows no classes"
    return (
        f"{metric.name} needs class probabilities, and the view '{view.name}' {why}. Take --view classifier where each "
        "image has one class, or inception."
    )


def options_for(metric: Metric, fewest: int) -> dict[str, Any]:
    """A metric's options, with subsets no larger than the `fewest` images of any set."""
    options = options_of(metric.compute)
    if isinstance(options.get("subset_size"), int):
        options["subset_size"] = min(options["subset_size"], fewest)
    return options


def facts_of(metric: Metric) -> dict[str, Any]:
    """What the protocol says of the metric itself; nothing of one that learns nothing and never changed.

    Of a metric of the user's own it is the hash of its code, so that a changed formula is another metric.
    """
    found: dict[str, Any] = {} if metric.version == 1 else {"metric_version": metric.version}
    origin = metrics.registry.origin(metric.name)
    if origin is not None:
        found["metric_code"] = origin.short
    if metric.learns:  # from bytes, which are on the CPU
        found["training_precision"] = "bfloat16" if classifying.in_half("cpu") else "float32"
    return found


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"{shown}, ..." if len(classes) > 4 else shown or "nothing"
