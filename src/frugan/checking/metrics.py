"""The contract of `frugan.metrics`, checked on made-up numbers of which we know which fakes are good."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frugan import artefact, metrics, views
from frugan.batch import ImageShape
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import CLASSES, Ground
from frugan.data import Dataset
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError

COUNT, MORE, WIDTH, SIDE = 240, 1000, 6, 16
FAULTS = ("collapsed", "far", "copied")
"""Every fake the same; fakes of another kind; fakes that are real images."""


@dataclass(frozen=True)
class Checked:
    """A metric that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    @property
    def metric(self) -> Metric:
        """The metric as it is registered."""
        return metrics.find(self.name)

    @functools.cached_property
    def count(self) -> int:
        """How many images to check with: few if the metric takes so few, else more.

        Raises NotAsked if the metric trains something, and whatever it raises for the larger number.
        """
        if self.metric.learns:
            raise NotAsked("it trains classifiers of its own, which takes too long here.")
        try:
            self.metric.compute(**self.inputs("good", COUNT))
        except UserError:
            return max(MORE, self.metric.least)
        return COUNT

    @functools.cached_property
    def good(self) -> dict[str, float]:
        """Its numbers for good fakes."""
        return self.metric.compute(**self.inputs("good", self.count))

    def inputs(self, quality: str, count: int) -> dict[str, Any]:
        """The inputs that it needs, for fakes that are "good" or have one of `FAULTS`."""
        needs = {need.removesuffix("?"): parse_need(need) for need in self.metric.needs}
        bits = metrics.of_translations(self.metric)
        return {name: self._input(need, quality, count, bits) for name, need in needs.items()}

    def _input(self, need: Need, quality: str, count: int, bits: bool) -> Any:
        if need.kind == "generator":
            return self.generator(restless=quality == "far")
        if need.kind == "classifier":
            return _Reader(wrong=quality == "far")
        if need.kind == "look":
            return views.build("pixels", dataset=_dataset()).features_of_floats
        if need.kind == "condition":
            return None  # `generator` is told nothing
        return _make(need.images, need.kind, quality, count, bits)

    def generator(self, *, restless: bool) -> artefact.Generator:
        """A generator that was trained a little; with `restless`, near latents give very different images."""
        if not hasattr(self.ground, "trained"):
            run = self.ground.run(self.ground.pair())
            self.ground.trained = artefact.load(run.path)  # type: ignore[attr-defined]
        made = self.ground.trained  # type: ignore[attr-defined]
        if not restless:
            return made
        module = copy.deepcopy(made.module)
        with torch.no_grad():
            next(module.parameters()).mul_(20)
        return artefact.Generator(module, made.config)


@dataclass(frozen=True)
class _Reader:
    """Tells the classes of the images of `_make` by their brightness; always the next one if it is `wrong`."""

    wrong: bool

    def classify(self, images: Any) -> Any:
        classes = torch.as_tensor(images).float().mean((1, 2, 3)).sub(60).div(60).round().long().clamp(0, CLASSES - 1)
        return ((classes + self.wrong) % CLASSES).numpy()


def _dataset() -> Dataset:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    return Dataset("made", "train", ImageShape(1, 8, 8), images, None, (), "made")


def _make(images: str, kind: str, quality: str, count: int, bits: bool) -> Tensor:
    """One kind of one set of images, see `frugan.metrics`.

    Images are of three classes, each with a place in the features and a brightness; as attributes, two bits of which a
    translation turns the first.
    """
    classes = torch.arange(count) % CLASSES
    own = torch.stack([classes % 2, classes // 2], dim=1)  # what images are before they are translated
    asked = torch.stack([1 - own[:, 0], own[:, 1]], dim=1)
    made = images in ("fake", "returned", "unchanged", "reconstructed") or kind in metrics.OF_ENCODERS
    fault = quality if made and quality != "good" else ""
    if kind == "labels":
        return (asked if images in ("fake", "unchanged") else own) if bits else classes
    if kind == "told":
        right = asked if images == "fake" else own
        return 1 - right if fault else right
    if kind == "probabilities":
        sharp = 8.0 * torch.nn.functional.one_hot(classes, CLASSES) + 0.1 * _noise(images, count, CLASSES)
        if fault == "collapsed":
            sharp = sharp[:1].expand(count, CLASSES)
        if fault == "far":
            sharp = torch.zeros(count, CLASSES)
        return torch.log_softmax(sharp.float(), dim=1)
    # What is made again is made of images of that set, and very near to them.
    source = {"returned": "source", "unchanged": "real", "reconstructed": "real"}.get(
        images, "real" if fault == "copied" and kind not in metrics.OF_ENCODERS else images
    )
    noise = 0.0 if fault == "copied" or (source == images and kind not in metrics.OF_ENCODERS) else 0.01
    if kind in ("features", "latents", *metrics.OF_ENCODERS):
        values = 2.0 * classes[:, None] + _noise(source, count, WIDTH) + noise * _noise(f"{images}.again", count, WIDTH)
        values = values[:1].expand_as(values).clone() if fault == "collapsed" else values
        return values + 20.0 if fault == "far" else values
    values = 60.0 + 60.0 * classes[:, None, None, None] + 25.0 * _noise(source, count, 1, SIDE, SIDE)
    values = values + 100 * noise * _noise(f"{images}.again", count, 1, SIDE, SIDE)
    if fault == "collapsed":
        values = values[:1].expand_as(values)
    if fault == "far":
        values = 255.0 * (_noise(f"{images}.far", count, 1, SIDE, SIDE) > 0)
    return values.round().clamp(0, 255).to(torch.uint8)


def _noise(name: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(map(ord, name))))


def needs_what_it_takes(metric: Checked) -> None:
    """Its keyword arguments without a default are its `needs`."""
    parameters = inspect.signature(metric.metric.compute).parameters.values()
    taken = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
    asked = {need.removesuffix("?") for need in metric.metric.needs}
    if taken != asked or any(one.kind is not one.KEYWORD_ONLY for one in parameters):
        raise NotKept(
            f"its function takes {', '.join(sorted(taken)) or 'nothing'} without a default, but its needs are "
            f"{', '.join(sorted(asked))}: both must be the same, keyword-only; options have defaults."
        )
    if metric.metric.name != metric.name:
        raise NotKept(f"it was added as '{metric.name}' and is named '{metric.metric.name}': give it one name.")


def gives_named_numbers(metric: Checked) -> None:
    """It returns named numbers that JSON can hold, and its headline is one of them."""
    values = metric.good
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise NotKept(f"it gives {values!r}: give a dict, name -> number.")
    for name, value in values.items():
        if type(value) not in (float, int) or not math.isfinite(value):
            raise NotKept(f"its value '{name}' is {value!r}: give a finite float (float(tensor)).")
    json.dumps(values)
    if metric.metric.headline not in values:
        raise NotKept(
            f"its headline '{metric.metric.headline}' is not one of its values: {', '.join(values)}."
        )


def is_pure(metric: Checked) -> None:
    """Equal inputs give equal values, and the inputs are not changed."""
    inputs = metric.inputs("good", metric.count)
    before, random = _tensors(inputs), torch.get_rng_state()
    one, other = metric.good, metric.metric.compute(**inputs)
    if one != other:
        raise NotKept(
            f"equal inputs give {one} and {other}: draw by an option `seed` (frugan.seeds.generator), if at all."
        )
    if not torch.equal(random, torch.get_rng_state()):
        raise NotKept("it draws from torch's own random numbers: draw by an option `seed` (frugan.seeds.generator).")
    for name, tensor in _tensors(inputs).items():
        if not torch.equal(tensor, before[name]):
            raise NotKept(f"it changes '{name}', which other metrics use too: work on a copy.")


def _tensors(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in inputs.items() if isinstance(value, Tensor)}


def says_which_way_is_better(metric: Checked) -> None:
    """Some kind of bad fakes scores worse than good ones, by more than any other kind scores better."""
    headline, sign = metric.metric.headline, 1 if metric.metric.better == "higher" else -1
    good, bad = metric.good[headline], dict[str, float]()
    for fault in FAULTS:
        try:
            bad[fault] = metric.metric.compute(**metric.inputs(fault, metric.count))[headline]
        except UserError:
            continue  # fakes that it takes for no images at all
        gains = [sign * (value - good) for value in bad.values()]
        if -min(gains) > max(0.0, *gains):
            return
    if bad:
        others = ", ".join(f"{value:.4g} for {fault} ones" for fault, value in bad.items())
        raise NotKept(
            f'better="{metric.metric.better}", but good fakes have {headline} {good:.4g}, {others}: is `better` wrong, '
            "or does it see none of these faults?"
        )


WHERE = "frugan.metrics, Metric"

CONTRACT = Contract("metric", metrics.names, Checked, (
    Requirement(needs_what_it_takes, f"{WHERE}.needs"),
    Requirement(gives_named_numbers, f"{WHERE}.compute", (needs_what_it_takes,)),
    Requirement(is_pure, f"{WHERE}.compute", (gives_named_numbers,)),
    Requirement(says_which_way_is_better, f"{WHERE}.better", (gives_named_numbers,)),
))  # fmt: skip
