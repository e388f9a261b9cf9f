"""Metrics: pure functions from what was made, and what it should resemble, to named numbers.

Each public file of this folder is one metric: a function ``compute`` that takes exactly what it declares and returns
named numbers, and the record of it, ``variant``. A metric opens no file, knows no device, no view and no generator's
name; where features come from is the business of `frugan.views`. Called directly::

    frugan.metrics.fid.compute(real=features, fake=features)   # {"fid": 0.0}

A value says nothing without its protocol (data, counts, view, resizing); whoever stores it stores that beside it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, NamedTuple

from frugan.registry import Registry, UserError, suggest

KINDS = {
    "features": "what a view saw: float [count, width]",
    "pixels": "the images themselves: uint8 [count, channels, height, width]",
    "labels": "class numbers: int64 [count], or attributes [count, bits]",
    "probabilities": "natural logarithms of class probabilities, that is log-softmax values: float [count, classes]",
    "told": "what a classifier of the data predicts, in the form of the data's labels",
    "generator": "what frugan.load returns: called on latents, or .sample(count, seed=...)",
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
}
"""The sets of images. The labels of fakes are those that were asked for. Only translators have the last three sets."""

TRANSLATED = ("source", "returned", "unchanged")
"""The sets that only translators have."""


class Need(NamedTuple):
    """One thing a metric asks to see: a kind (of `KINDS`) of one set of images (of `SETS`).

    An `optional` one is None where there is none, instead of an error.
    """

    images: str
    kind: str
    optional: bool = False


@dataclass(frozen=True)
class Metric:
    """One way to judge generated images.

    Args:
        name: as users type it.
        compute: a pure function. What it needs are keyword-only arguments without defaults, named as in `needs`; its
            options are keyword-only arguments with defaults, a `seed` among them if it draws. It returns named numbers
            and raises UserError for input that has no value (too few images, non-finite features).
        needs: what it has to see, each name read by `parse_need`: ``real``, ``fake``, ``held_out``, ``source`` ... (see
            `SETS`) are features of those images; ``pixels``, ``labels``, ``probabilities`` and ``told`` are those of
            the fakes, and with ``real_``, ``source_`` ... before them those of the other sets; ``generator``; ``look``.
            One that asks for ``told`` or for a set of `TRANSLATED` judges translators. With a ``?`` behind it, what is
            of held-out images (``held_out?``, the argument is still called `held_out`) or labels (``labels?``) is None
            where there are none.
        better: "lower" or "higher".
        headline: which of the returned numbers goes into tables.
        least: below this many images of any set it has no meaning worth a table.
        least_side: it takes images with sides of at least so many pixels.
        version: raise it when the same input gets another value, so that old values are not mistaken for new ones.
        learns: it trains classifiers of its own, so that the precision of training here belongs to its protocol.
        margin: the least margin of a comparison, from a baseline's mean and the name of the view; none where there is
            no convention.
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
    """What a word of `Metric.needs` asks for: ``fake`` is (fake, features), ``real_pixels`` is (real, pixels).

    ``held_out?`` is (held_out, features, optional). Raises UserError for a word that says none of these.
    """
    accepted = {images: Need(images, "features") for images in SETS}
    for kind in ("pixels", "labels", "probabilities", "told"):
        others = {f"{of}_{kind}": Need(of, kind) for of in SETS if of != "fake"}
        accepted |= {kind: Need("fake", kind), **others}
    accepted |= {
        f"{word}?": asked._replace(optional=True)
        for word, asked in accepted.items()
        if asked.kind == "labels" or asked.images == "held_out"
    }
    accepted |= {kind: Need("fake", kind) for kind in ("generator", "look")}
    if need not in accepted:
        raise UserError(f"A metric cannot need '{need}'. {suggest(need, accepted)}")
    return accepted[need]


def of_translations(metric: Metric) -> bool:
    """Whether `metric` needs what only translators have."""
    asked = [parse_need(word) for word in metric.needs]
    return any(need.kind == "told" or need.images in TRANSLATED for need in asked)


def sees_by_itself(metric: Metric) -> bool:
    """Whether `metric` needs no view: it reads pixels and labels only."""
    return all(parse_need(word).kind in ("pixels", "labels") for word in metric.needs)


registry = Registry("metric", "frugan.metrics")
names = registry.names


def find(name: str) -> Metric:
    """The metric called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, metric: Metric) -> Metric:
    """Register a metric of your own under `name`."""
    return registry.add(name, metric)


def __getattr__(name: str) -> ModuleType:
    """``frugan.metrics.fid`` is imported when it is first named, so that listing metrics does not import torch."""
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
