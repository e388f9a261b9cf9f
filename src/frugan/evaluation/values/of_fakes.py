"""The measurement of fakes. Images and features are made once, when a metric first needs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from frugan import metrics
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Fakes, Images, draw_images
from frugan.evaluation.opening.reals import Reals, Statistics
from frugan.evaluation.refusals import looks_at, refusal_of_fakes
from frugan.evaluation.values import floors
from frugan.evaluation.values.inputs import ImageSets, MetricInputs, choose_options, describe_metric, describe_views
from frugan.evaluation.values.names import PRIMARY
from frugan.evaluation.values.of_classifiers import MeasurementOfClassifier
from frugan.metrics import Metric, Need, parse_need

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder
    from frugan.views import View

SMALL = 20_000
"""Against fewer training images than these, distances reward their copies, and memorisation is measured beside them."""

OF_FEW = "precision_recall"
"""The metric that is usual beside the others where there are too few real images for the primary one."""


@dataclass
class MeasurementOfFakes:
    """A `Measurement` of fakes against real images, with one view.

    `build_view` is called when the view is first needed; it may have to be trained. `count` is the number of fakes, and
    the largest number of real images. `allow_few` names metrics that may be computed with fewer images than they need.
    `classifier` is what the run ships beside the generator, if it ships one.
    """

    fakes: Fakes
    reals: Reals | Statistics
    build_view: Callable[[], View]
    count: int
    seed: int
    batch_size: int
    announce: Callable[[str], None]
    allow_few: Sequence[str] = ()
    classifier: MeasurementOfClassifier | None = None

    # ------------------------------------------------------------------------------------------------- what it is of

    @cached_property
    def inputs(self) -> MetricInputs:
        """The inputs of metrics."""
        return MetricInputs(
            self.fakes.name, self.fakes.generator, self.build_view, self.batch_size, self.announce,
            encoder=self.fakes.encoder, latents=lambda: self.fakes.latents(self.count, self.seed),
        )  # fmt: skip

    @property
    def view(self) -> View:
        """The view, built at the first use."""
        return self.inputs.view

    @property
    def run(self) -> RunFolder | None:
        """The run that keeps the values, if there is one."""
        return self.fakes.run

    def reference(self, metric: Metric) -> Dataset:
        """Which real images to compare with. A metric that also uses held-out images always gets training images."""
        assert isinstance(self.reals, Reals)  # statistics serve fid alone, which asks for no images
        return self.reals.train if looks_at(metric, "held_out") else self.reals.reference

    # ---------------------------------------------------------------------------------------------- which metrics

    @property
    def usual(self) -> tuple[str, ...]:
        """The metrics that are measured if the user names none."""
        if not isinstance(self.reals, Reals):
            return (PRIMARY,)
        classes = len(self.reals.train.classes)
        own = ("class_coverage",) if classes and classes == self.view.classes else ()
        few = len(self.reals.reference) < metrics.find(PRIMARY).least
        return (PRIMARY, "kid", *((OF_FEW,) if few else ()), *own)

    def refusal(self, metric: Metric) -> str:
        """Why `metric` cannot be computed, in one line that says what to do; empty if it can."""
        if metrics.of_classifiers(metric) and self.classifier is not None:
            return self.classifier.refusal(metric)
        return refusal_of_fakes(metric, self)

    def unasked(self, chosen: Sequence[Metric]) -> list[Metric]:
        """The metric of copies, if few training images are what fakes are compared with: distances reward copies."""
        name, reals = "memorisation", self.reals
        if not isinstance(reals, Reals) or reals.reference is not reals.train or len(reals.train) >= SMALL:
            return []
        if any(metric.name == name for metric in chosen):
            return []
        if chosen and not any(looks_at(metric, "real") for metric in chosen):
            return []
        metric = metrics.find(name)
        why = self.refusal(metric)
        if why:
            self.announce(f"{name} is not measured beside: {why}")
        return [] if why else [metric]

    def too_few(self, metric: Metric) -> str:
        """Why there are too few images for the metric, and of which set; empty if there are enough."""
        if metrics.of_classifiers(metric) and self.classifier is not None:
            return self.classifier.too_few(metric)
        sets = self.sets(metric)
        counts = {"fake": sets.fake} | {
            name: images
            for name, images in (("real", sets.real), ("held-out", sets.held_out))
            if images is not None and looks_at(metric, name.replace("-", "_"))
        }
        short = [f"{images.count:,} {name}" for name, images in counts.items() if images.count < metric.least]
        return f"{' and '.join(short)} images, and {metric.name} takes {metric.least:,}" if short else ""

    # ------------------------------------------------------------------------------------------------------ protocol

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """The protocol of the value of `metric`: how it is made, as JSON."""
        if metrics.of_classifiers(metric) and self.classifier is not None:
            return self.classifier.protocol(metric)
        protocol: dict[str, Any] = {
            **self._compared_with(metric),
            **self.fakes.describe(self.count, self.seed, self._trained_on()),
            **describe_views(metric, lambda: [self.view]),
            "precision": "float32",
            "truncation": self.fakes.truncation,
            "options": self._options(metric),
            **describe_metric(metric),
        }
        if metrics.of_encoders(metric) and self.fakes.encoder is not None:
            protocol |= {
                "encoder": self.fakes.encoder.weights_hash, "encoder_norms": self.fakes.encoder.config.get("norms")
            }
        few = self.too_few(metric)
        if few:
            # A key that other values do not have, so that no table takes both.
            protocol["few_images"] = few
        return json.loads(json.dumps(protocol))

    def _real_count(self, metric: Metric) -> int:
        """How many real images at most: all where copies are sought, since one of an image left out goes unseen."""
        asked = [parse_need(word)[:2] for word in metric.needs]
        return len(self.reference(metric)) if ("held_out", "features") in asked else self.count

    def _compared_with(self, metric: Metric) -> dict[str, Any]:
        if isinstance(self.reals, Statistics):
            name, digest = self.reals.name, self.reals.sha256[:16]
            title = f"statistics of {name}, sha256 {digest}, count unknown"
            return {"data": title, "split": None, "content_hash": digest, "real_count": None}
        real = self.reference(metric)
        facts = {
            "data": real.name, "split": real.split, "content_hash": real.content_hash,
            "real_count": min(len(real), self._real_count(metric)),
        }  # fmt: skip
        held_out = self.reals.held_out
        if held_out is not None and looks_at(metric, "held_out"):
            facts["held_out"] = f"{min(len(held_out), self.count)} of {held_out.title}"
        return facts

    def _trained_on(self) -> Dataset | None:
        return self.reals.train if isinstance(self.reals, Reals) else None

    def _options(self, metric: Metric) -> dict[str, Any]:
        return _options_for(metric, self.sets(metric))

    # ---------------------------------------------------------------------------------------------------- measuring

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> dict[str, Any]:
        """Measure the value of `metric`, as it is kept in ``metrics.jsonl``. Raises UserError if it has none."""
        if metrics.of_classifiers(metric) and self.classifier is not None:
            return self.classifier.measure(metric, protocol)
        if isinstance(self.reals, Statistics) and looks_at(metric, "real"):
            numbers = self._against(self.reals)
        else:
            numbers = metric.compute(**self.inputs.gather(metric, self.sets(metric)), **self._options(metric))
        config = {} if self.fakes.generator is None else self.fakes.generator.config
        return {
            "metric": metric.name, "values": numbers, "headline": metric.headline, "better": metric.better,
            "images": config.get("images"), **({"minutes": config["minutes"]} if "minutes" in config else {}),
            "protocol": protocol, "floor": self.floor(metric),
        }  # fmt: skip

    def _against(self, statistics: Statistics) -> dict[str, float]:
        """The Fréchet distance to statistics without images."""
        features = self.inputs.look(self.sets(metrics.find("fid")).fake, self.view).features
        # How many images they are of is not known, and the distance does not ask.
        real = metrics.fid.Statistics(0, statistics.mean, statistics.covariance)
        return {"fid": metrics.fid.frechet(real, metrics.fid.collect(features.split(metrics.fid.CHUNK)))}

    def sets(self, metric: Metric) -> ImageSets:
        """The sets of images that `metric` can use. Images are made when they are first used."""
        fake = self.inputs.keep("fakes", lambda: self.fakes.images(self.count, self.seed, self._trained_on()))
        if isinstance(self.reals, Statistics):
            return ImageSets(fake, None, None)
        held_out = self.reals.held_out
        real = self._draw(self.reference(metric), self._real_count(metric))
        return ImageSets(
            fake, real, None if held_out is None else self._draw(held_out, self.count),
            reconstructed=self.inputs.keep(f"reconstructed {real.key}", lambda: self.fakes.reconstructed(real)),
        )  # fmt: skip

    def _draw(self, dataset: Dataset, count: int, skip: int = 0) -> Images:
        return self.inputs.keep(f"{dataset.title} {count} {skip}", lambda: draw_images(dataset, count, skip))

    def prepare(self, chosen: Sequence[Metric]) -> None:
        """Make the generator's images and keep them, if some metric uses the images themselves."""
        if any(parse_need(word) == Need("fake", "pixels") for metric in chosen for word in metric.needs):
            self.inputs.keep_pixels(self.sets(chosen[0]).fake)

    # -------------------------------------------------------------------------------------------------------- floor

    def floor(self, metric: Metric) -> dict[str, Any] | None:
        """The value of `metric` for real images instead of fakes, with the same counts if there are enough.

        No fakes can be seen to be better than the floor. It is None for metrics without a floor, see `has_floor`.
        """
        if isinstance(self.reals, Statistics) or not floors.has_floor(metric):
            return None
        sets, of = self._real_sets(metric, self.reals)
        least = 2 if metric.name in self.allow_few else metric.least
        if min(images.count for images in sets if images is not None) < least:
            return None
        given = partial(self.inputs.gather, metric, sets)
        view = describe_views(metric, lambda: [self.view])["view_version"]
        return floors.find_floor(metric, sets, of, view, _options_for(metric, sets), given)

    def _real_sets(self, metric: Metric, reals: Reals) -> tuple[ImageSets, str]:
        """Real images that share none with those they are compared with, and where they came from."""
        real, count = self.reference(metric), self.count
        if reals.held_out is not None and looks_at(metric, "held_out"):
            half = min(count, len(reals.held_out) // 2)
            halves = (self._draw(reals.held_out, half), self._draw(reals.held_out, half, half))
            return (
                ImageSets(halves[0], self._draw(real, self._real_count(metric)), halves[1]),
                f"one half of {reals.held_out.title} as fakes, the other held out, against {real.title}",
            )
        if not looks_at(metric, "real"):
            return ImageSets(self._draw(real, count), None), f"{real.title} themselves"
        other = reals.held_out if real is reals.train else reals.train
        half = min(count, len(real) // 2)
        if other is not None and min(count, len(other)) >= half:
            fake, against = self._draw(other, count), self._draw(real, count)
            return ImageSets(fake, against), f"{other.title} against {real.title}"
        return (
            ImageSets(self._draw(real, half, half), self._draw(real, half)),
            f"two disjoint halves of {real.title}",
        )


def _options_for(metric: Metric, sets: ImageSets) -> dict[str, Any]:
    return choose_options(metric, min(one.count for one in (sets.fake, sets.real) if one is not None))
