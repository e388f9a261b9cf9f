"""Floors: a metric's value for real images instead of fakes. It is kept, since it is the same for every generator."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frugan import metrics
from frugan.cache import cache_root, keep_json, kept_json
from frugan.evaluation.values.inputs import ImageSets
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError

FLOORS = 1
"""The format of the floors that are kept; others are not read."""


def has_floor(metric: Metric) -> bool:
    """Whether `metric` has a floor: real images can be used instead of fakes.

    It has none if it needs a generator, an encoder, a classifier or the further outputs of a translator. Nor if it
    trains classifiers on both kinds of images, which takes minutes and already says what real images reach.
    """
    needs = [parse_need(word) for word in metric.needs]
    kinds = {need.kind for need in needs if need.images == "fake"}
    made = any(need.images in ("returned", "unchanged") for need in needs)
    own = bool(kinds & {*metrics.OF_GENERATORS, "classifier"}) or metrics.of_encoders(metric)
    return bool(kinds) and not own and not made and Need("held_out", "labels") not in needs


def find_floor(
    metric: Metric, sets: ImageSets, of: str, view_version: str, options: Mapping[str, Any],
    given: Callable[[], Mapping[str, Any]],
) -> dict[str, Any] | None:  # fmt: skip
    """The floor ``{"value", "values", "protocol"}`` of `metric`; None if it has none.

    `sets` are the real images to use, and `of` says which they are. `given` makes the metric's inputs; it is not called
    if the floor is known already.
    """
    protocol = {
        "of": of, "fake_count": sets.fake.count, "real_count": sets.real.count if sets.real else 0,
        "view_version": view_version, "options": options,
    }  # fmt: skip
    images = [one.key for one in sets if one is not None]
    identity = {"format": FLOORS, "metric": metric.name, "code": hash_code(metric), **protocol, "images": images}
    path = cache_root() / "floors" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"
    kept = kept_json(path)
    if kept is None:
        try:
            kept = metric.compute(**given(), **options)
        except UserError:
            return None  # it asks of real images what they do not have
        keep_json(path, kept)
    return {"value": kept[metric.headline], "values": kept, "protocol": json.loads(json.dumps(protocol))}


def hash_code(metric: Metric) -> str:
    """A hash of the file of a metric and of the files that metrics share.

    Any change there may change its values. For a user's own metric, everything that it imports is hashed too.
    """
    origin = metrics.registry.origin(metric.name)
    if origin is not None:
        return origin.short
    try:
        own = Path(inspect.getfile(metric.compute))
        text = b"".join(path.read_bytes() for path in (own, *sorted(own.parent.glob("_[!_]*.py"))))
    except (OSError, TypeError):
        text = repr(metric).encode()
    return hashlib.sha256(text).hexdigest()[:16]
