"""The measurement of a classifier that a run ships, on images held out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frugan import metrics
from frugan.data import Dataset
from frugan.evaluation.opening.classifiers import ShippedClassifier
from frugan.evaluation.values.inputs import describe_metric
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import options_of

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder

USUAL = ("classifier_accuracy",)


@dataclass
class MeasurementOfClassifier:
    """One classifier against the held-out images of its data, all of them: a `Measurement`.

    `trained` are those that its labels are of, for messages; `held_out` is None where there are none.
    """

    of: ShippedClassifier
    trained: Dataset
    held_out: Dataset | None
    announce: Callable[[str], None]
    allow_few: Sequence[str] = ()

    @property
    def run(self) -> RunFolder | None:
        """Where values are kept, if anywhere."""
        return self.of.run

    @property
    def usual(self) -> tuple[str, ...]:
        """The metrics that are measured unless others are named."""
        return USUAL

    def refusal(self, metric: Metric) -> str:
        """Why `metric` cannot be computed, in one line that says what to do; empty if it can."""
        if not metrics.of_classifiers(metric):
            return (
                f"{metric.name} judges generated images, but {self.of.name} ships a classifier only. Use "
                f"{', '.join(USUAL)}."
            )
        held_out = self.held_out
        if held_out is None:
            return f"{metric.name} needs held-out images, but {self.trained.name} has no test split. Leave it out."
        if held_out.labels is None or held_out.labels.ndim != 1:
            has = "no labels" if held_out.labels is None else "attributes"
            return f"{metric.name} needs one class for each image, but {held_out.title} has {has}. Leave it out."
        if held_out.classes != self.of.classifier.classes:
            mine, theirs = (", ".join(names[:4]) for names in (self.of.classifier.classes, held_out.classes))
            return (
                f"{metric.name}: the classifier knows the classes {mine} ..., but those of {held_out.title} are "
                f"{theirs} .... Give images with its classes."
            )
        few = self.too_few(metric)
        if few and metric.name not in self.allow_few:
            return f"{metric.name}: {few}. Give more, or allow few: --allow-few {metric.name}"
        return ""

    def unasked(self, chosen: Sequence[Metric]) -> list[Metric]:
        """Nothing is measured beside."""
        return []

    def too_few(self, metric: Metric) -> str:
        """Why there are too few held-out images for the metric, in words; empty if there are enough."""
        there = 0 if self.held_out is None else len(self.held_out)
        return f"{there:,} held-out images, and {metric.name} takes {metric.least:,}" if there < metric.least else ""

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """How the value of `metric` comes about, as JSON has it. It looks at pixels, so at no view that is trained."""
        assert self.held_out is not None  # else it is refused
        config, held_out = self.of.config, self.held_out
        protocol: dict[str, Any] = {
            "data": held_out.name, "split": held_out.split, "content_hash": held_out.content_hash,
            "real_count": len(held_out), "fakes": "none", "fake_count": 0, "trained_on": self.of.trained_on,
            "weights": "averaged" if config["averaged"] else "live", "checkpoint": config.get("checkpoint", "last"),
            # What is shipped beside it is another model's too, and may be what was paid for.
            "generator": f"{self.of.made_with} {self.of.classifier.weights_hash}".strip(),
            **({"given": config["given"]} if config.get("given") else {}),
            **({"generator_code": config["own_code"]} if config.get("own_code") else {}),
            **({"exported": config["exported"]} if config.get("exported") else {}),
            "labels": "none", "norms": config.get("norms"), "sampling_seed": None, "view": "pixels",
            "precision": "float32", "options": options_of(metric.compute), **describe_metric(metric),
        }  # fmt: skip
        few = self.too_few(metric)
        if few:
            protocol["few_images"] = few
        return json.loads(json.dumps(protocol))

    def prepare(self, chosen: Sequence[Metric]) -> None:
        """Several metrics share nothing that takes long."""

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> dict[str, Any]:
        """The value of `metric`, as it is kept. Raises UserError if it has none."""
        assert self.held_out is not None
        self.announce(f"Classifying {len(self.held_out):,} images of {self.held_out.title}.")
        held_out, found = self.held_out, {}
        for word in metric.needs:
            need = parse_need(word)
            found[word] = {
                Need("fake", "classifier"): self.of.classifier, Need("held_out", "pixels"): held_out.images,
                Need("held_out", "labels"): held_out.labels,
            }[need]
        return {
            "metric": metric.name, "values": metric.compute(**found, **options_of(metric.compute)),
            "headline": metric.headline, "better": metric.better, "images": self.of.config["images"],
            "protocol": protocol, "floor": None,
        }  # fmt: skip
