"""How long it takes to evaluate 28-pixel samples: features by the classifier view, then each metric. Gate: 60 s.

The gate is for 10,000 samples, their features and FID, on two CPU cores. Features of the real images are needed only
once for a data set. The time does not depend on what the images show or on the weights, so both are noise here. The
short form takes 2,000 samples and a fifth of the gate.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from _report import arguments, finish, show, spread

import frugan.metrics
import frugan.views
from frugan.batch import ImageShape

LIMIT, SAMPLES, QUICK_SAMPLES = 60.0, 10_000, 2_000


def noise(count: int, seed: int) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=numbers)


def labelled(count: int) -> Any:
    """As much of a data set as the classifier view asks for."""
    return SimpleNamespace(
        images=noise(count, 2),
        labels=torch.arange(count) % 10,
        classes=[str(number) for number in range(10)],
        shape=ImageShape(1, 28, 28),
        content_hash="noise" * 8,
        name="noise",
        split="train",
    )


def measure(view: frugan.views.View, count: int) -> dict[str, float]:
    """Seconds of each part, for `count` samples against as many real images."""
    seconds: dict[str, float] = {}

    def timed(part: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        value = function(*given, **named)
        seconds[part] = time.perf_counter() - start
        return value

    fake = timed("features of the samples", frugan.views.extract, view, noise(count, 0))
    real = timed("features of the real images", frugan.views.extract, view, noise(count, 1))
    for name in ("fid", "kid"):
        timed(name, frugan.metrics.find(name).compute, real=real.features, fake=fake.features)
    score = frugan.metrics.find("inception_score").compute
    timed("inception_score", score, probabilities=fake.log_probabilities)
    return seconds


def main() -> None:
    options = arguments(__doc__ or "")
    count = QUICK_SAMPLES if options.quick else SAMPLES
    with tempfile.TemporaryDirectory() as cache:
        view = frugan.views.build("classifier", dataset=labelled(200), cache=cache)
    measure(view, 1000)  # the first call of everything prepares kernels
    rounds = [measure(view, count) for _ in range(5)]
    seconds = {part: [one[part] for one in rounds] for part in rounds[0]}
    parts = {part: spread(values) for part, values in seconds.items()}
    show(
        [f"{count:,} samples", "median s", "quartiles"],
        [[part, taken.median, f"{taken.lower:.2f}-{taken.upper:.2f}"] for part, taken in parts.items()],
    )
    total = spread([one["features of the samples"] + one["fid"] for one in rounds]).median
    limit = LIMIT * count / SAMPLES
    gate = f"features of {count:,} samples and FID in at most {limit:g} s"
    finish(options, {"seconds": seconds, "features_and_fid": total}, met=total <= limit, gate=gate)


if __name__ == "__main__":
    main()
