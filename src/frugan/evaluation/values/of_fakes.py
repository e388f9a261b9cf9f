"""One evaluation: what is looked at is made when a metric first asks for it, and once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from frugan import metrics
from frugan.data import Dataset
from frugan.evaluation.opening.fakes import Fakes, Images, some_of
from frugan.evaluation.opening.reals import Reals, Statistics
from frugan.evaluation.values import floors
from frugan.evaluation.values.inputs import Feeding, Sides, facts_of, options_for
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import options_of

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder
    from frugan.views import View


@dataclass
class Task:
    """Some fakes against some real images, through one view.

    `build_view` is called when something first asks for the view, which may have to be trained. `count` is how many
    fakes there are, and how many real images at most; `few` names the metrics that may be computed of fewer images than
    they take.
    """

    fakes: Fakes
    reals: Reals | Statistics
    build_view: Callable[[], View]
    count: int
    seed: int
    batch_size: int
    announce: Callable[[str], None]
    few: tuple[str, ...] = ()

    # ------------------------------------------------------------------------------------------------- what it is of

    @cached_property
    def feeding(self) -> Feeding:
        """What metrics ask to see."""
        return Feeding(self.fakes.name, self.fakes.generator, self.build_view, self.batch_size, self.announce)

    @property
    def view(self) -> View:
        """How images are looked at."""
        return self.feeding.view

    @property
    def run(self) -> RunFolder | None:
        """Where values are kept, if anywhere."""
        return self.fakes.run

    def reference(self, metric: Metric) -> Dataset:
        """What stands for the real images: a metric that sets held-out ones against them means those trained on."""
        assert isinstance(self.reals, Reals)  # statistics serve fid alone, which asks for no images
        return self.reals.train if asks_for(metric, "held_out") else self.reals.reference

    def _most(self, metric: Metric) -> int:
        """How many real images at most: all where copies are sought, since one of an image left out goes unseen."""
        asked = [parse_need(word)[:2] for word in metric.needs]
        return len(self.reference(metric)) if ("held_out", "features") in asked else self.count

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """How the value of `metric` comes about, as JSON has it."""
        found: dict[str, Any] = {
            **self._compared_with(metric),
            **self.fakes.facts(self.count, self.seed, self._trained_on()),
            "view": self.view.name,
            "view_version": self.view.version,
            "resizing": self.view.description.get("resizing", "none"),
            "view_accuracy": self.view.description.get("accuracy"),
            "precision": "float32",
            "truncation": None,
            "options": self._options(metric),
            **facts_of(metric),
        }
        short = self.short_of(metric)
        if short:
            # A key that other values do not have, so that no table takes both.
            found["few_images"] = short
        return json.loads(json.dumps(found))

    def short_of(self, metric: Metric) -> str:
        """Of which images there are fewer than `metric` takes, in words; empty if there are enough."""
        sides = self._sides(metric)
        counts = {"fake": sides.fake} | {
            name: images
            for name, images in (("real", sides.real), ("held-out", sides.held_out))
            if images is not None and asks_for(metric, name.replace("-", "_"))
        }
        short = [f"{images.count:,} {name}" for name, images in counts.items() if images.count < metric.least]
        return f"{' and '.join(short)} images, and {metric.name} takes {metric.least:,}" if short else ""

    def _compared_with(self, metric: Metric) -> dict[str, Any]:
        if isinstance(self.reals, Statistics):
            name, digest = self.reals.name, self.reals.sha256[:16]
            told = f"statistics of {name}, sha256 {digest}, count unknown"
            return {"data": told, "split": None, "content_hash": digest, "real_count": None}
        real = self.reference(metric)
        found = {
            "data": real.name, "split": real.split, "content_hash": real.content_hash,
            "real_count": min(len(real), self._most(metric)),
        }  # fmt: skip
        held_out = self.reals.held_out
        if held_out is not None and asks_for(metric, "held_out"):
            found["held_out"] = f"{min(len(held_out), self.count)} of {held_out.title}"
        return found

    def _trained_on(self) -> Dataset | None:
        return self.reals.train if isinstance(self.reals, Reals) else None

    def _options(self, metric: Metric) -> dict[str, Any]:
        if metric.name not in self.few:
            return options_of(metric.compute)
        sides = self._sides(metric)
        return options_for(metric, min(one.count for one in (sides.fake, sides.real) if one is not None))

    # ---------------------------------------------------------------------------------------------------- measuring

    def measure(self, metric: Metric, protocol: dict[str, Any]) -> dict[str, Any]:
        """The value of `metric`, as it is kept. Raises UserError if it has none."""
        if isinstance(self.reals, Statistics) and asks_for(metric, "real"):
            numbers = self._against(self.reals)
        else:
            numbers = metric.compute(**self.feeding.given(metric, self._sides(metric)), **self._options(metric))
        generator = self.fakes.generator
        return {
            "metric": metric.name, "values": numbers, "headline": metric.headline, "better": metric.better,
            "images": None if generator is None else generator.config["images"], "protocol": protocol,
            "floor": self.floor(metric),
        }  # fmt: skip

    def _against(self, statistics: Statistics) -> dict[str, float]:
        """The Fréchet distance to statistics without images."""
        features = self.feeding.seen(self._sides(metrics.find("fid")).fake, self.view).features
        # How many images they are of is not known, and the distance does not ask.
        real = metrics.fid.Statistics(0, statistics.mean, statistics.covariance)
        return {"fid": metrics.fid.frechet(real, metrics.fid.collect(features.split(metrics.fid.CHUNK)))}

    def _sides(self, metric: Metric) -> Sides:
        fake = self.feeding.once("fakes", lambda: self.fakes.images(self.count, self.seed, self._trained_on()))
        if isinstance(self.reals, Statistics):
            return Sides(fake, None, None)
        held_out = self.reals.held_out
        return Sides(
            fake, self._some_of(self.reference(metric), self._most(metric)),
            None if held_out is None else self._some_of(held_out, self.count),
        )  # fmt: skip

    def _some_of(self, dataset: Dataset, count: int, skip: int = 0) -> Images:
        return self.feeding.once(f"{dataset.title} {count} {skip}", lambda: some_of(dataset, count, skip))

    def prepare(self, chosen: list[Metric]) -> None:
        """Keep what the generator makes where some metric will ask for the images themselves, so it is made once."""
        if any(parse_need(word) == Need("fake", "pixels") for metric in chosen for word in metric.needs):
            self.feeding.pixels(self._sides(chosen[0]).fake)

    # -------------------------------------------------------------------------------------------------------- floor

    def floor(self, metric: Metric) -> dict[str, Any] | None:
        """What `metric` says of real images in the place of fakes, at the same counts where there are as many.

        A value at its floor is as good as it can be seen to be. None where real images cannot take that place, and
        where the metric trains classifiers on both, which takes minutes and tells what real images reach already.
        """
        if isinstance(self.reals, Statistics) or not floors.can_have(metric):
            return None
        sides, of = self._real_sides(metric, self.reals)
        least = 2 if metric.name in self.few else metric.least
        if min(images.count for images in sides if images is not None) < least:
            return None
        given = partial(self.feeding.given, metric, sides)
        return floors.floor(metric, sides, of, self.view, self._options(metric), given)

    def _real_sides(self, metric: Metric, reals: Reals) -> tuple[Sides, str]:
        """Real images that share none with those they are compared with, and where they came from."""
        real, count = self.reference(metric), self.count
        if reals.held_out is not None and asks_for(metric, "held_out"):
            half = min(count, len(reals.held_out) // 2)
            halves = (self._some_of(reals.held_out, half), self._some_of(reals.held_out, half, half))
            return (
                Sides(halves[0], self._some_of(real, self._most(metric)), halves[1]),
                f"one half of {reals.held_out.title} as fakes, the other held out, against {real.title}",
            )
        if not asks_for(metric, "real"):
            return Sides(self._some_of(real, count), None), f"{real.title} themselves"
        other = reals.held_out if real is reals.train else reals.train
        half = min(count, len(real) // 2)
        if other is not None and min(count, len(other)) >= half:
            fake, against = self._some_of(other, count), self._some_of(real, count)
            return Sides(fake, against), f"{other.title} against {real.title}"
        return (
            Sides(self._some_of(real, half, half), self._some_of(real, half)),
            f"two disjoint halves of {real.title}",
        )


def asks_for(metric: Metric, images: str) -> bool:
    """Whether a metric has to see anything of these images ("real", "fake", "held_out")."""
    asked = [parse_need(word) for word in metric.needs]
    return any(need.images == images and need.kind not in ("generator", "look") for need in asked)
