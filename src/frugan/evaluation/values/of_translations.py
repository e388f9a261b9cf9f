"""The measurement of translations: every metric for each target, and the mean over the targets.

In `values`, ``fid`` is the mean and ``fid_to_glasses`` the number of the target "glasses". The two ends of an interval
are averaged too: the interval of the mean is not wider than that, however the targets depend on each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Images
from frugan.evaluation.opening.targets import Group, Target, draw_from
from frugan.evaluation.opening.translators import ShippedTranslators
from frugan.evaluation.refusals import OF_ATTRIBUTES, have_attributes, refusal_of_translations, too_few_of_a_target
from frugan.evaluation.values import floors
from frugan.evaluation.values.inputs import ImageSets, MetricInputs, choose_options, describe_metric, describe_views
from frugan.evaluation.values.names import PRIMARY, TO
from frugan.metrics import Metric, Need, parse_need

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder
    from frugan.views import View

COUNT = 1000
"""Images that are translated to each target unless a count is given; and real ones of it at most."""

USUAL = (PRIMARY, "target_accuracy", "preservation", "reconstruction_error", "identity_error")
"""What is measured unless others are named."""


@dataclass
class MeasurementOfTranslations:
    """A `Measurement` of translations against real images, target by target.

    Args:
        groups: the targets, grouped by view.
        build_view: training data -> the view; build_judge: training data -> the classifier that predicts labels.
        count: how many images are translated to each target, and the largest number of real images.
        seed: for the choice of images of other domains to translate.
        allow_few: names of metrics that may be computed with fewer images than they need.
    """

    shipping: ShippedTranslators
    groups: Sequence[Group]
    build_view: Callable[[Dataset], View]
    build_judge: Callable[[Dataset], View]
    count: int
    seed: int
    batch_size: int
    announce: Callable[[str], None]
    allow_few: Sequence[str] = ()
    _views: dict[tuple[str, str], View] = field(default_factory=dict)
    _measured: dict[str, tuple[dict[str, float], dict[str, Any] | None]] = field(default_factory=dict)

    @property
    def run(self) -> RunFolder | None:
        """The run that keeps the values, if there is one."""
        return self.shipping.run

    @property
    def usual(self) -> tuple[str, ...]:
        """The metrics that are measured if the user names none."""
        return tuple(name for name in USUAL if have_attributes(self.targets) or name not in OF_ATTRIBUTES)

    @property
    def targets(self) -> list[Target]:
        """All targets."""
        return [target for group in self.groups for target in group.targets]

    # ------------------------------------------------------------------------------------------------- what it is of

    def refusal(self, metric: Metric) -> str:
        """Why there can be no value of `metric`, in a line that says what to do; empty if there can be one."""
        return refusal_of_translations(metric, self)

    def unasked(self, chosen: Sequence[Metric]) -> list[Metric]:
        """None: only the `chosen` metrics are measured."""
        return []

    def too_few(self, metric: Metric) -> str:
        """Which targets have too few images, in words; empty if all have enough."""
        return too_few_of_a_target(metric, self.targets, self.count)

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """The protocol of the value of `metric`: how it is made, as JSON."""
        config, targets = self.shipping.config, self.targets
        sets = {one.dataset.content_hash: one.dataset for target in targets for one in (target.source, target.real)}
        counts = {
            target.name: [min(len(pool), self.count) for pool in (target.source, target.real)] for target in targets
        }
        protocol: dict[str, Any] = {
            "data": " and ".join(one.name for one in sets.values()),
            "split": " and ".join(dict.fromkeys(one.split for one in sets.values())),
            "content_hash": " ".join(sets), "real_count": sum(real for _, real in counts.values()),
            "fakes": "real images of other domains, translated",
            "fake_count": sum(fakes for fakes, _ in counts.values()),
            "targets": {name: f"{fakes} translated, {real} real" for name, (fakes, real) in counts.items()},
            "trained_on": self.shipping.trained_on, "labels": self._labels(),
            "weights": "averaged" if config["averaged"] else "live", "checkpoint": config.get("checkpoint", "last"),
            "sampling_seed": self.seed,
            "generator": " ".join(one.weights_hash for one in self.shipping.translators.values()),
            **describe_views(metric, lambda: [self.view_for(metric, group) for group in self.groups]),
            "precision": "float32", "truncation": None, "options": self._options(metric),
            **describe_metric(metric),
        }  # fmt: skip
        if config.get("given"):
            protocol["given"] = config["given"]
        if config.get("exported"):
            protocol["exported"] = config["exported"]
        own = {key: digest for one in self.shipping.translators.values()
               for key, digest in one.config.get("own_code", {}).items()}  # fmt: skip
        if own:
            protocol["generator_code"] = own
        few = self.too_few(metric)
        if few:
            protocol["few_images"] = few
        return json.loads(json.dumps(protocol))

    def _labels(self) -> str:
        """What is asked for, and of which attributes an image has one: to set it takes the others away."""
        sets = {id(group.learns_from): group.learns_from for group in self.groups}.values()
        alone = [" or ".join(one.attributes[number] for number in group) for one in sets for group in one.exclusive]
        return ", ".join(["each target in turn", *(f"one of {group}" for group in alone)])

    def _options(self, metric: Metric) -> dict[str, Any]:
        counts = [len(pool) for target in self.targets for pool in (target.source, target.real)]
        return choose_options(metric, min(self.count, *counts))

    def view_for(self, metric: Metric, group: Group) -> View:
        """The view that a metric's numbers depend on: the judge if it needs predicted labels, else the view."""
        kinds = {parse_need(word).kind for word in metric.needs}
        return self._judge(group) if "told" in kinds else self._view(group)

    def _view(self, group: Group) -> View:
        return self._keep("view", group, self.build_view)

    def _judge(self, group: Group) -> View:
        """The view itself, if it tells the labels of the data."""
        view = self._view(group)
        return view if _tells(view, group.learns_from) else self._keep("judge", group, self.build_judge)

    def _keep(self, what: str, group: Group, build: Callable[[Dataset], View]) -> View:
        key = (what, group.learns_from.content_hash)
        if key not in self._views:
            self._views[key] = build(group.learns_from)
        return self._views[key]

    # ---------------------------------------------------------------------------------------------------- measuring

    def prepare(self, chosen: Sequence[Metric]) -> None:
        """Measure all metrics target by target, so that only one target's images are in memory at a time."""
        numbers: dict[str, dict[str, dict[str, float]]] = {metric.name: {} for metric in chosen}
        kept: dict[str, dict[str, Any]] = {metric.name: {} for metric in chosen}
        for group in self.groups:
            for target in group.targets if chosen else ():
                self.announce(f"Translating to {target.name}.")
                inputs = MetricInputs(
                    self.shipping.name, None, partial(self._view, group), self.batch_size, lambda line: None,
                    partial(self._judge, group),
                )  # fmt: skip
                sets = self._sets(target, inputs)
                if self._count_looks(chosen, group) > 1:
                    inputs.keep_pixels(sets.fake)  # translated once, and kept
                for metric in chosen:
                    numbers[metric.name][target.name] = self._compute(metric, inputs, sets)
                    kept[metric.name][target.name] = self._floor(metric, group, target, inputs)
        for metric in chosen:
            floor = _merge_floors(metric, kept[metric.name])
            self._measured[metric.name] = (_merge(numbers[metric.name]), floor)

    def _count_looks(self, chosen: Sequence[Metric], group: Group) -> int:
        """In how many ways the translated images are looked at."""
        ways = set()
        for need in {parse_need(word) for metric in chosen for word in metric.needs}:
            if need.images == "fake" and need.kind in ("features", "probabilities", "told"):
                ways.add((self._judge if need.kind == "told" else self._view)(group).version)
            elif need.images == "returned" or need == Need("fake", "pixels"):
                ways.add("pixels")
        return len(ways)

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> dict[str, Any]:
        """The value of `metric` with protocol and floor, as it is kept. Raises UserError if it has none."""
        if metric.name not in self._measured:
            self.prepare([metric])
        numbers, floor = self._measured[metric.name]
        return {
            "metric": metric.name, "values": numbers, "headline": metric.headline, "better": metric.better,
            "images": self.shipping.config["images"], "protocol": protocol, "floor": floor,
        }  # fmt: skip

    def _sets(self, target: Target, inputs: MetricInputs) -> ImageSets:
        real = draw_from(target.real, f"of {target.name}", self.count)
        source = target.draw_sources(self.count, self.seed)
        fake = target.translate(source, inputs.read_parts)
        back = target.translate_back(source, fake, inputs.read_parts)
        unchanged = target.translate_to_itself(real, inputs.read_parts)
        return ImageSets(fake, real, None, source, back, unchanged)

    def _compute(self, metric: Metric, inputs: MetricInputs, sets: ImageSets) -> dict[str, float]:
        """The numbers of one target; of a metric of fakes and real images also what it says of the untranslated."""
        options = self._options(metric)
        numbers = metric.compute(**inputs.gather(metric, sets), **options)
        asked = {parse_need(word).images for word in metric.needs}
        if asked == {"fake", "real"} and sets.source is not None:
            untranslated = inputs.gather(metric, sets._replace(fake=sets.source))
            before = metric.compute(**untranslated, **options)
            numbers = {**numbers, "before": before[metric.headline]}
        return numbers

    def _floor(self, metric: Metric, group: Group, target: Target, inputs: MetricInputs) -> dict[str, Any] | None:
        """What the metric says of real images of the target in the place of the translated ones."""
        if not floors.has_floor(metric):
            return None
        asked = {parse_need(word).images for word in metric.needs}
        key = f"of {target.name}"
        against: Images | None = None
        if "real" not in asked:
            fake, of = draw_from(target.real, key, self.count), "real images of each target themselves"
        elif min(self.count, len(target.spare)) >= min(self.count, len(target.real) // 2):
            fake, against = draw_from(target.spare, key, self.count), draw_from(target.real, key, self.count)
            of = "real images of each target that were trained on against those that were not"
        else:
            half = min(self.count, len(target.real) // 2)
            fake, against = draw_from(target.real, key, half, half), draw_from(target.real, key, half)
            of = "two disjoint halves of the real images of each target"
        sets = ImageSets(fake, against, source=target.label_as_sources(fake))
        given = partial(inputs.gather, metric, sets)
        view = describe_views(metric, lambda: [self.view_for(metric, group)])["view_version"]
        return floors.find_floor(metric, sets, of, view, self._options(metric), given)


def _merge(by_target: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over the targets, then each target's own numbers."""
    first = next(iter(by_target.values()))
    means = {key: math.fsum(numbers[key] for numbers in by_target.values()) / len(by_target) for key in first}
    return means | {f"{key}{TO}{name}": numbers[key] for key in first for name, numbers in by_target.items()}


def _merge_floors(metric: Metric, by_target: Mapping[str, dict[str, Any] | None]) -> dict[str, Any] | None:
    known = {name: floor for name, floor in by_target.items() if floor is not None}
    if not known or len(known) < len(by_target):
        return None
    values = _merge({name: {metric.headline: floor["value"]} for name, floor in known.items()})
    protocols = [floor["protocol"] for floor in known.values()]
    counts = {key: sum(one[key] for one in protocols) for key in ("fake_count", "real_count")}
    versions = " ".join(dict.fromkeys(one["view_version"] for one in protocols))
    return {
        "value": values[metric.headline], "values": values,
        "protocol": {
            "of": " | ".join(dict.fromkeys(one["of"] for one in protocols)), **counts, "view_version": versions,
            "options": protocols[0]["options"],
        },
    }  # fmt: skip


def _tells(view: View, dataset: Dataset) -> bool:
    """Whether a view tells the labels of these data, in their own form."""
    if dataset.labels is not None and dataset.labels.ndim == 2:
        return view.attributes == dataset.labels.shape[1]
    return view.classes == len(dataset.classes) > 0
