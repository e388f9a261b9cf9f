"""Metrics: pure functions that compare fakes with real images and return named numbers.

Each public file of this folder is one metric: a function ``compute``, which takes exactly what it declares and returns
named numbers, and its record, ``variant``. A metric opens no file and knows no device, view or generator;
`frugan.views` makes the features. Called directly::

    frugan.metrics.fid.compute(real=features, fake=features)   # {"fid": 0.0}

A value means nothing without its protocol (data, counts, view, resizing). Store the protocol with the value.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

from frugan.registry import Registry, UserError, suggest

KINDS = {
    "features": "what a view saw: float [count, width]",
    "pixels": "the images themselves: uint8 [count, channels, height, width]",
    "labels": "class numbers: int64 [count], or attributes [count, bits]",
    "probabilities": "natural logarithms of class probabilities, that is log-softmax values: float [count, classes]",
    "told": "what a classifier of the data predicts, in the form of the data's labels",
    "encoded": "what the encoder that was trained with the generator finds in them: float [count, size]",
    "hidden": "what that encoder's last stage says of them, before its outputs: float [count, width]",
    "latents": "what the fakes were made of: float [count, size]",
    "condition": "the labels that the generator was told for the fakes, in the form of `labels`; None if it takes none",
    "generator": "what frugan.load returns: called on latents, or .sample(count, seed=...)",
    "classifier": "the classifier that a run ships: .classify(bytes [count, height, width, channels]) gives classes",
    "look": "a view's function: float images in -1..1, never rounded to bytes, to float features [count, width]",
}
"""What a metric can ask to see."""

SETS = {
    "real": "those to resemble",
    "fake": "those that were generated, or translated",
    "held_out": "real ones that the generator was not trained on",
    "source": "those that the fakes were translated from, row by row; their labels are those before translation",
    "returned": "the fakes translated back to what their sources are, row by row",
    "unchanged": "the real ones translated to what they are already, row by row",
    "reconstructed": "what the generator makes of what the encoder finds in the real ones, row by row",
}
"""The sets of images. The labels of fakes are those that were asked for. Only translators have sources and what is made
of them, and only generators with an encoder have reconstructions."""

TRANSLATED = ("source", "returned", "unchanged")
"""The sets that only translators have."""

OF_GENERATORS = ("generator", "look", "latents", "condition")
"""The kinds that only a generator gives."""

OF_ENCODERS = ("encoded", "hidden")
"""The kinds that only an encoder gives."""


class Need(NamedTuple):
    """One input that a metric needs: one of `KINDS` (e.g. features), of one set of images in `SETS` (e.g. real).

    An `optional` one that does not exist is None; otherwise it is an error.
    """

    images: str
    kind: str
    optional: bool = False


@dataclass(frozen=True)
class Metric:
    """One way to judge generated images.

    Args:
        name: as users type it.
        compute: a pure function. Its keyword-only arguments without defaults are its `needs`. Those with defaults are
            its options; one is `seed` if it draws random numbers. It returns named numbers. It raises UserError if its
            input has no value (too few images, non-finite features).
        needs: what it needs to see, as words for `parse_need`. ``real``, ``fake``, ``held_out``, ``source`` ... (see
            `SETS`) are features of those images. ``pixels``, ``labels``, ``probabilities`` and ``told`` are those of
            the fakes; with ``real_``, ``source_`` ... in front, those of the other sets. So are ``encoded`` and
            ``hidden``, what an encoder finds in them. ``latents`` and ``condition`` of the fakes, ``generator`` and
            ``look`` (a view's function) are also possible, and ``classifier``, beside which only held-out images may be
            named. A metric that needs ``told`` or a set in `TRANSLATED` judges translators. A ``?`` behind held-out
            images (``held_out?``; the argument is called `held_out`) or labels (``labels?``) means: None if there are
            none.
        better: "lower" or "higher".
        headline: which of the returned numbers is shown in tables.
        least: with fewer images than this in any set, the value is too uncertain for a table.
        least_side: the smallest side, in pixels, of images that it can judge.
        version: increase it when the same input gets another value, so that old values are not taken for new ones.
        learns: whether it trains classifiers. Then the precision of training is part of the protocol.
        margin: (a baseline's mean, name of the view) -> the smallest margin of a comparison; None if no such rule is
            usual.
    """

    name: str
    compute: Callable[..., dict[str, float]]
    needs: tuple[str, ...]
    better: Literal["lower", "higher"]
    headline: str
    least: int
    margin: Callable[[float, str], float] | None = None
    version: int = 1
    learns: bool = False
    least_side: int = 1

    def __post_init__(self) -> None:
        for need in self.needs:
            parse_need(need)
        if self.better not in ("lower", "higher"):
            raise UserError(f"Metric '{self.name}': better is {self.better!r}. It must be 'lower' or 'higher'.")


def parse_need(need: str) -> Need:
    """What a word in `Metric.needs` means: ``fake`` is (fake, features), ``real_pixels`` is (real, pixels).

    ``held_out?`` is (held_out, features, optional). Raises UserError for an unknown word.
    """
    accepted = {images: Need(images, "features") for images in SETS}
    for kind in ("pixels", "labels", "probabilities", "told", *OF_ENCODERS):
        others = {f"{of}_{kind}": Need(of, kind) for of in SETS if of != "fake"}
        accepted |= {kind: Need("fake", kind), **others}
    accepted |= {
        f"{word}?": asked._replace(optional=True)
        for word, asked in accepted.items()
        if asked.kind == "labels" or asked.images == "held_out"
    }
    accepted |= {kind: Need("fake", kind) for kind in (*OF_GENERATORS, "classifier")}
    if need not in accepted:
        raise UserError(f"A metric cannot need '{need}'. {suggest(need, accepted)}")
    return accepted[need]


def of_translations(metric: Metric) -> bool:
    """Whether `metric` judges translators: it needs something that only they have."""
    asked = [parse_need(word) for word in metric.needs]
    return any(need.kind == "told" or need.images in TRANSLATED for need in asked)


def of_encoders(metric: Metric) -> bool:
    """Whether `metric` needs an encoder that was trained with the generator."""
    asked = [parse_need(word) for word in metric.needs]
    return any(need.kind in OF_ENCODERS or need.images == "reconstructed" for need in asked)


def sees_by_itself(metric: Metric) -> bool:
    """Whether `metric` needs no view: it uses pixels, labels, latents, and what an encoder or a classifier says."""
    alone = ("pixels", "labels", "latents", "condition", "classifier", *OF_ENCODERS)
    return all(parse_need(word).kind in alone for word in metric.needs)


def of_classifiers(metric: Metric) -> bool:
    """Whether `metric` judges the classifier that a run ships."""
    return any(parse_need(word).kind == "classifier" for word in metric.needs)


registry = Registry("metric", "frugan.metrics")
names = registry.names


def find(name: str) -> Metric:
    """The metric called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, metric: Metric) -> Metric:
    """Register a metric of your own under `name`."""
    return registry.add(name, metric)


def __getattr__(name: str) -> ModuleType:
    """Import ``frugan.metrics.fid`` and its like at the first use, so that listing metrics does not import torch."""
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def floor_is_of(value: Mapping[str, Any]) -> int | None:
    """How many images the floor of a value is of, if fewer than the value; None otherwise, and if it has no floor.

    Many metrics rise when there are fewer images, so such a floor may lie above what a perfect generator reaches.
    """
    counts = [
        min((of[key] for key in ("fake_count", "real_count") if of.get(key)), default=0)
        for of in ((value.get("floor") or {}).get("protocol", {}), value["protocol"])
    ]
    return counts[0] if 0 < counts[0] < counts[1] else None
