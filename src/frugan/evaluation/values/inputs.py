"""The inputs of metrics. Each is made once, when a metric first needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import classifying, metrics, views
from frugan.countdown import Countdown
from frugan.evaluation.opening.fakes import Images, encode
from frugan.evaluation.refusals import refusal_of_labels, refusal_of_view
from frugan.evaluation.values.kept_images import kept_images
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError, options_of

if TYPE_CHECKING:
    import torch

    from frugan.artefact import Encoder, Generator
    from frugan.views import Seen, View


PART = 1024
"""Images whose bytes are given out together."""


class ImageSets(NamedTuple):
    """The sets of images of an evaluation, by the names in `frugan.metrics.SETS`."""

    fake: Images
    real: Images | None
    held_out: Images | None = None
    source: Images | None = None
    returned: Images | None = None
    unchanged: Images | None = None
    reconstructed: Images | None = None

    def named(self, name: str) -> Images | None:
        """The set of images with this name; None if there is none."""
        return getattr(self, name)


@dataclass
class MetricInputs:
    """The inputs of metrics: images, their features, and labels that a judge predicts. Each is made once.

    Args:
        name: the fakes' name in messages; `generator`: what makes them from latents, if anything does.
        build_view: called when the view is first needed; it may have to be trained.
        build_judge: the same for the classifier that predicts labels. If left out: the view itself.
        batch_size: how many images the view gets at a time.
        announce: called with a line before something slow.
        encoder: finds latents in images; None if none was trained with the generator.
        latents: called for the latents that the fakes were made of; None if the fakes are images.
    """

    name: str
    generator: Generator | None
    build_view: Callable[[], View]
    batch_size: int
    announce: Callable[[str], None]
    build_judge: Callable[[], View] | None = None
    encoder: Encoder | None = None
    latents: Callable[[], torch.Tensor] | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def view(self) -> View:
        """The view, built at the first use."""
        return self.keep("view", self.build_view)

    @property
    def judge(self) -> View:
        """The classifier that predicts labels, built at the first use."""
        return self.view if self.build_judge is None else self.keep("judge", self.build_judge)

    def gather(self, metric: Metric, sets: ImageSets) -> dict[str, Any]:
        """Make all inputs that a metric needs, by the words in its `needs`. Raises UserError if one cannot be made."""
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
        if need.kind == "latents":
            assert self.latents is not None  # else the metric was refused
            return self.latents()
        if need.kind == "condition":
            return images.labels
        if need.kind in metrics.OF_ENCODERS:
            return self._encode(images, need.kind)
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
        """The bytes ``[count, channels, height, width]`` of images, kept in memory."""

        def make() -> torch.Tensor:
            import torch

            parts = Countdown(self.announce, f"Making {images.count:,} images", images.count).over(images.batches())
            return torch.cat(list(parts))

        return self.keep(f"pixels {images.key}", make)

    def read_parts(self, images: Images) -> Iterator[torch.Tensor]:
        """The bytes of images, part by part: from memory if they are kept, else made now."""
        kept, shared = self._kept.get(f"pixels {images.key}"), kept_images.get()
        if kept is None and shared is not None and self.generator is not None and images.dataset is None:
            kept = shared.find_or_make(self.generator, images)
        return images.batches() if kept is None else iter(kept.split(PART))

    def look(self, images: Images, view: View) -> Seen:
        """What a view sees in images. For a data set it is kept on the disk, since it never changes."""

        def see() -> Seen:
            if images.dataset is not None:
                return views.features(
                    view, images.dataset, images.rows, batch_size=self.batch_size, announce=self.announce
                )
            what = f"Making {images.count:,} images and looking at them ({view.name})"
            self.announce(f"{what}.")
            parts = Countdown(self.announce, what, images.count).over(self.read_parts(images))
            return views.extract(view, parts, self.batch_size)

        return self.keep(f"seen {view.version} {images.key}", see)

    def _encode(self, images: Images, kind: str) -> torch.Tensor:
        def look() -> torch.Tensor:
            import torch

            assert self.encoder is not None  # else the metric was refused
            found, start = [], 0
            finer = images.finer
            for pixels in self.read_parts(images) if finer is images else finer.batches():
                labels = None if images.labels is None else images.labels[start : start + len(pixels)]
                start += len(pixels)
                found.append(torch.from_numpy(encode(self.encoder, pixels, labels, kind)))
            return torch.cat(found)

        return self.keep(f"{kind} {images.key}", look)

    def _tell_labels(self, images: Images) -> torch.Tensor:
        logs = self.look(images, self.judge).log_probabilities
        assert logs is not None  # a judge is a classifier
        return classifying.likeliest(logs, attributes=self.judge.attributes > 0)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of `make`, made once and kept under a name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]


def choose_options(metric: Metric, fewest: int) -> dict[str, Any]:
    """A metric's options; the size of subsets is at most `fewest`, the number of images in the smallest set."""
    options = options_of(metric.compute)
    if isinstance(options.get("subset_size"), int):
        options["subset_size"] = min(options["subset_size"], fewest)
    return options


def describe_views(metric: Metric, used: Callable[[], Iterable[View]]) -> dict[str, Any]:
    """The facts for the protocol about what images are looked at through.

    `used` gives the views, which may have to be trained. It is not called for a metric that sees images by itself.
    """
    if metrics.sees_by_itself(metric):
        return {"view": "pixels", "view_version": "pixels", "resizing": "none", "view_accuracy": None}
    through = list({view.version: view for view in used()}.values())
    accuracies = [view.description["accuracy"] for view in through if view.description.get("accuracy") is not None]
    chance = [view.description["at_chance"] for view in through if "at_chance" in view.description]
    return {
        "view": through[0].name, "view_version": " ".join(view.version for view in through),
        "resizing": through[0].description.get("resizing", "none"), "view_accuracy": min(accuracies, default=None),
        **({"view_at_chance": chance[0]} if chance else {}),
    }  # fmt: skip


def describe_metric(metric: Metric) -> dict[str, Any]:
    """The facts about the metric itself for the protocol; empty if it trains nothing and never changed.

    For a user's own metric it is the hash of its code, so a changed formula has another protocol.
    """
    facts: dict[str, Any] = {} if metric.version == 1 else {"metric_version": metric.version}
    origin = metrics.registry.origin(metric.name)
    if origin is not None:
        facts["metric_code"] = origin.short
    if metric.learns:  # from bytes, which are on the CPU
        facts["training_precision"] = "bfloat16" if classifying.in_half("cpu") else "float32"
    return facts
