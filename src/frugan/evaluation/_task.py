"""One evaluation: what is looked at is made when a metric first asks for it, and once."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import metrics, views
from frugan.cache import cache_root, written_whole
from frugan.data import Dataset
from frugan.evaluation._fakes import Fakes, Images, some_of
from frugan.evaluation._reals import Reals, Statistics
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError, options_of

if TYPE_CHECKING:
    import torch

    from frugan.views import Seen, View

FLOORS = 1
"""The format of the floors that are kept; others are not read."""


class Sides(NamedTuple):
    """Which images play which part in a metric."""

    fake: Images
    real: Images | None
    held_out: Images | None


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
    _made: dict[str, Any] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------- what it is of

    @property
    def view(self) -> View:
        """How images are looked at."""
        return self._once("view", self.build_view)

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
        options = options_of(metric.compute)
        if metric.name in self.few and isinstance(options.get("subset_size"), int):
            sides = self._sides(metric)
            options["subset_size"] = min(
                options["subset_size"], sides.fake.count, *([] if sides.real is None else [sides.real.count])
            )
        return options

    # ---------------------------------------------------------------------------------------------------- measuring

    def measure(self, metric: Metric, protocol: dict[str, Any], *, with_floor: bool = True) -> dict[str, Any]:
        """The value of `metric`, as it is kept. Raises UserError if it has none."""
        if isinstance(self.reals, Statistics) and asks_for(metric, "real"):
            numbers = self._against(self.reals)
        else:
            numbers = metric.compute(**self._given(metric, self._sides(metric)), **self._options(metric))
        generator = self.fakes.generator
        return {
            "metric": metric.name, "values": numbers, "headline": metric.headline, "better": metric.better,
            "images": None if generator is None else generator.config["images"], "protocol": protocol,
            "floor": self.floor(metric) if with_floor else None,
        }  # fmt: skip

    def _against(self, statistics: Statistics) -> dict[str, float]:
        """The Fréchet distance to statistics without images."""
        features = self._seen(self._sides(metrics.find("fid")).fake).features
        # How many images they are of is not known, and the distance does not ask.
        real = metrics.fid.Statistics(0, statistics.mean, statistics.covariance)
        return {"fid": metrics.fid.frechet(real, metrics.fid.collect(features.split(metrics.fid.CHUNK)))}

    def _sides(self, metric: Metric) -> Sides:
        fake = self._once("fakes", lambda: self.fakes.images(self.count, self.seed, self._trained_on()))
        if isinstance(self.reals, Statistics):
            return Sides(fake, None, None)
        held_out = self.reals.held_out
        return Sides(
            fake, self._some_of(self.reference(metric), self._most(metric)),
            None if held_out is None else self._some_of(held_out, self.count),
        )  # fmt: skip

    def _some_of(self, dataset: Dataset, count: int, skip: int = 0) -> Images:
        return self._once(f"{dataset.title} {count} {skip}", lambda: some_of(dataset, count, skip))

    def _given(self, metric: Metric, sides: Sides) -> dict[str, Any]:
        """What a metric asked to see, by the words that it asked with."""
        return {word.removesuffix("?"): self._one(metric, parse_need(word), sides) for word in metric.needs}

    def _one(self, metric: Metric, need: Need, sides: Sides) -> Any:
        if need.kind == "generator":
            return self.fakes.generator
        if need.kind == "look":
            return self.view.features_of_floats
        images: Images | None = getattr(sides, need.images)
        if images is None:
            if need.optional:
                return None
            raise UserError(f"{metric.name} needs {need.images} images, and there are none.")
        if need.kind == "pixels":
            return self._pixels(images)
        if need.kind == "labels":
            if images.labels is None and not need.optional:
                how = "give images in one folder a class, or an .npz with 'labels'"
                if need.images == "fake" and self.fakes.generator is not None:
                    how = "train a recipe whose generator takes them, such as 'cgan'"
                raise UserError(
                    f"{metric.name} needs the labels of the {need.images} images, and they have none: {how}."
                )
            if images.labels is not None and images.labels.ndim == 2:
                if need.optional:
                    return None
                raise UserError(
                    f"{metric.name} needs one class an image, and the {need.images} images have attributes: leave it "
                    "out."
                )
            self._check_classes(metric, images, sides)
            return images.labels
        seen = self._seen(images)
        if need.kind == "probabilities" and seen.log_probabilities is None:
            raise UserError(
                f"{metric.name} needs class probabilities; the view '{self.view.name}' knows no classes. "
                "Take --view classifier where the data have labels, or inception."
            )
        return seen.features if need.kind == "features" else seen.log_probabilities

    def _check_classes(self, metric: Metric, images: Images, sides: Sides) -> None:
        """Labels are numbers: they mean the same classes only where these have the same names."""
        real = sides.real
        if images.labels is None or real is None or real.labels is None or images.classes == real.classes:
            return
        raise UserError(
            f"{metric.name} compares classes, and those of {self.fakes.name} are called {_listed(images.classes)} "
            f"where the real ones are called {_listed(real.classes)}; name the fakes' folders as the real ones are."
        )

    def _pixels(self, images: Images) -> torch.Tensor:
        def make() -> torch.Tensor:
            import torch

            return torch.cat(list(images.batches()))

        return self._once(f"pixels {images.key}", make)

    def _seen(self, images: Images) -> Seen:
        """What the view sees; of a data set kept on the disk, since it looks the same every time."""

        def look() -> Seen:
            if images.dataset is not None:
                return views.features(
                    self.view, images.dataset, images.rows, batch_size=self.batch_size, announce=self.announce
                )
            self.announce(f"Making {images.count:,} images and looking at them ({self.view.name}).")
            there = self._made.get(f"pixels {images.key}")
            return views.extract(self.view, images.batches() if there is None else there, self.batch_size)

        return self._once(f"seen {images.key}", look)

    def prepare(self, chosen: list[Metric]) -> None:
        """Keep what the generator makes where some metric will ask for the images themselves, so it is made once."""
        if any(parse_need(word) == Need("fake", "pixels") for metric in chosen for word in metric.needs):
            self._pixels(self._sides(chosen[0]).fake)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    # -------------------------------------------------------------------------------------------------------- floor

    def floor(self, metric: Metric) -> dict[str, Any] | None:
        """What `metric` says of real images in the place of fakes, at the same counts where there are as many.

        A value at its floor is as good as it can be seen to be. None where real images cannot take that place, and
        where the metric trains classifiers on both, which takes minutes and tells what real images reach already.
        """
        needs = [parse_need(word) for word in metric.needs]
        kinds = {need.kind for need in needs if need.images == "fake"}
        if isinstance(self.reals, Statistics) or not kinds or kinds & {"generator", "look"}:
            return None
        if Need("held_out", "labels") in needs:
            return None
        sides, of = self._real_sides(metric, self.reals)
        least = 2 if metric.name in self.few else metric.least
        if min(images.count for images in sides if images is not None) < least:
            return None
        protocol = {
            "of": of, "fake_count": sides.fake.count, "real_count": sides.real.count if sides.real else 0,
            "view_version": self.view.version, "options": self._options(metric),
        }  # fmt: skip
        identity = {
            "format": FLOORS, "metric": metric.name, "code": _code_of(metric), **protocol,
            "images": [None if images is None else images.key for images in sides],
        }  # fmt: skip
        path = cache_root() / "floors" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"
        kept = _read(path)
        if kept is None:
            try:
                kept = metric.compute(**self._given(metric, sides), **self._options(metric))
            except UserError:
                return None  # it asks of real images what they do not have
            with written_whole(path) as beside:
                beside.write_text(json.dumps(kept))
        return {"value": kept[metric.headline], "values": kept, "protocol": json.loads(json.dumps(protocol))}

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
            return Sides(self._some_of(real, count), None, None), f"{real.title} themselves"
        other = reals.held_out if real is reals.train else reals.train
        half = min(count, len(real) // 2)
        if other is not None and min(count, len(other)) >= half:
            fake, against = self._some_of(other, count), self._some_of(real, count)
            return Sides(fake, against, None), f"{other.title} against {real.title}"
        return (
            Sides(self._some_of(real, half, half), self._some_of(real, half), None),
            f"two disjoint halves of {real.title}",
        )


def asks_for(metric: Metric, images: str) -> bool:
    """Whether a metric has to see anything of these images ("real", "fake", "held_out")."""
    asked = [parse_need(word) for word in metric.needs]
    return any(need.images == images and need.kind not in ("generator", "look") for need in asked)


def _code_of(metric: Metric) -> str:
    """A hash of the file that a metric is written in, and of what the metrics beside it share.

    What it says may change with every change there.
    """
    try:
        own = Path(inspect.getfile(metric.compute))
        text = b"".join(path.read_bytes() for path in (own, *sorted(own.parent.glob("_[!_]*.py"))))
    except (OSError, TypeError):
        text = repr(metric).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def _read(path: Path) -> dict[str, float] | None:
    """Numbers that were kept; None if there are none, or the file is not whole."""
    try:
        found: Mapping[str, float] = json.loads(path.read_text())
        return {str(name): float(number) for name, number in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"{shown}, ..." if len(classes) > 4 else shown or "nothing"
