"""Floors: what a metric says of real images in the place of fakes, kept, since it is the same for every generator."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import metrics
from frugan.cache import cache_root, written_whole
from frugan.evaluation.values.inputs import ImageSets
from frugan.metrics import Metric, Need, parse_need
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.views import View

FLOORS = 1
"""The format of the floors that are kept; others are not read."""


def has_floor(metric: Metric) -> bool:
    """Whether real images can take the place of the fakes in `metric`.

    Not where it looks at a generator or at what a translator makes besides; nor where it trains classifiers on both,
    which takes minutes and tells what real images reach already.
    """
    needs = [parse_need(word) for word in metric.needs]
    kinds = {need.kind for need in needs if need.images == "fake"}
    made = any(need.images in ("returned", "unchanged") for need in needs)
    return bool(kinds) and not kinds & {"generator", "look"} and not made and Need("held_out", "labels") not in needs


def find_floor(
    metric: Metric, sets: ImageSets, of: str, view: View, options: Mapping[str, Any],
    given: Callable[[], Mapping[str, Any]],
) -> dict[str, Any] | None:  # fmt: skip
    """``{"value", "values", "protocol"}`` of real images as the sets say, which are those `of`; None if it has none.

    `given` makes what the metric asks to see; it is not called if the floor is known already.
    """
    protocol = {
        "of": of, "fake_count": sets.fake.count, "real_count": sets.real.count if sets.real else 0,
        "view_version": view.version, "options": options,
    }  # fmt: skip
    images = [one.key for one in sets if one is not None]
    identity = {"format": FLOORS, "metric": metric.name, "code": hash_code(metric), **protocol, "images": images}
    path = cache_root() / "floors" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"
    kept = _read(path)
    if kept is None:
        try:
            kept = metric.compute(**given(), **options)
        except UserError:
            return None  # it asks of real images what they do not have
        with written_whole(path) as beside:
            beside.write_text(json.dumps(kept))
    return {"value": kept[metric.headline], "values": kept, "protocol": json.loads(json.dumps(protocol))}


def hash_code(metric: Metric) -> str:
    """A hash of the file that a metric is written in, and of what the metrics beside it share.

    What it says may change with every change there. Of a metric of the user's own, all that it imports counts.
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


def _read(path: Path) -> dict[str, float] | None:
    """Numbers that were kept; None if there are none, or the file is not whole."""
    try:
        numbers: Mapping[str, float] = json.loads(path.read_text())
        return {str(name): float(number) for name, number in numbers.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
