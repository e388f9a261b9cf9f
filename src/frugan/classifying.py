"""A small classifier of labelled images, by class or by attributes, and the fixed recipe that trains it.

Two 3 x 3 convolutions (32, 64 channels, no padding), max pooling, 128 units: 1,199,882 parameters for ten classes of
28 x 28 grey images. The view `classifier` uses it to judge images of
labelled data; the metric `classification_accuracy` trains it on generated images, to see what can be learnt from them.
Users can change nothing about it, so that values compare.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import seeds
from frugan.arithmetic import bf16_is_faster, exact
from frugan.batch import ImageShape, from_bytes
from frugan.resizing import area

NET = "cnn2"
"""Version of the net and of its training. Values of different versions cannot be compared."""

FEATURES = 128
LARGEST_SIDE = 32
SMALLEST_SIDE = 6

IMAGES, PASSES, BATCH, RATE = 60_000, 20, 128, 2e-3
"""How many images training shows by default; how often one image at most; the batch size; Adam's highest rate."""


class Predictions(NamedTuple):
    """What a net computes for images, a row for each, on the CPU: 128 features after their ReLU, and log-probabilities.

    For classes these are log-softmax values ``[count, classes]``, for attributes log-sigmoid values ``[count, bits]``.
    """

    features: Tensor
    log_probabilities: Tensor


def network(shape: ImageShape, classes: int) -> nn.Sequential:
    """The untrained net: floats in -1..1 of the size of `input_size` to logits ``[count, classes]``."""
    height, width = input_size(shape)
    inner = 64 * ((height - 4) // 2) * ((width - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(shape.channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(inner, FEATURES),
        nn.ReLU(),
        nn.Linear(FEATURES, classes),
    )


def input_size(shape: ImageShape) -> tuple[int, int]:
    """Height and width of the net's input: the image's own; an image with a side above 32 is scaled down to fit."""
    scale = min(1.0, LARGEST_SIDE / max(shape.height, shape.width))
    return round(shape.height * scale), round(shape.width * scale)


def images_shown(count: int, budget: int = IMAGES) -> int:
    """How many images training shows if `count` are different: at most `budget`, in whole batches, at least one."""
    return max(1, min(budget, PASSES * count) // BATCH) * BATCH


def train(
    images: Tensor, labels: Tensor, rows: Tensor, classes: int, *, seed: int, device: str, budget: int = IMAGES,
    shown: Callable[[int], None] = lambda images: None,
) -> nn.Sequential:  # fmt: skip
    """Train a net on the images numbered `rows`. The global random numbers stay as they were.

    The same arguments give the same net; on one machine, with one number of threads, to the last bit.

    Args:
        images: uint8 ``[count, channels, height, width]``, each side 6 pixels or more.
        labels: int64 ``[count]``, from 0 to `classes` - 1, or attributes ``[count, classes]``, each 0 or 1.
        rows: int64, the images to learn from; the seed shuffles them.
        budget: how many images it is shown, repeats included.
        shown: called after each step with the number of images that it was shown so far.
    """
    steps = images_shown(len(rows), budget) // BATCH
    draws = seeds.generator(seed, "classifier", "order")
    passes = range(-(-steps * BATCH // len(rows)))
    stream = torch.cat([rows[torch.randperm(len(rows), generator=draws)] for _ in passes])
    place, half = torch.device(device), in_half(device)
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.enable_grad():
        torch.manual_seed(seeds.derive(seed, "classifier", "weights"))
        net = network(ImageShape(*images.shape[1:]), classes).to(place)
        optimiser = torch.optim.Adam(net.parameters(), RATE)
        for step, chosen in enumerate(stream.split(BATCH)[:steps]):
            for group in optimiser.param_groups:
                # The rate rises over a tenth of the steps, then falls to 0, so that even a single pass converges.
                group["lr"] = RATE * min((step + 1) / (steps / 10), (steps - step) / (steps * 0.9), 1.0)
            seen, answers = _prepare(images[chosen], place), labels[chosen].to(place)
            with torch.autocast(place.type, torch.bfloat16) if half else contextlib.nullcontext():
                logits = net(seen)
            optimiser.zero_grad()
            if labels.ndim == 2:
                functional.binary_cross_entropy_with_logits(logits.float(), answers.float()).backward()
            else:
                functional.cross_entropy(logits.float(), answers).backward()
            optimiser.step()
            shown((step + 1) * BATCH)
    return net.eval()


def seconds_needed(images: Tensor, labels: Tensor, classes: int, budget: int, *, device: str) -> float:
    """About how long `train` will take here with this budget, if nothing else runs on this machine.

    Measured by three steps, without the first, in seconds of the processor: so other programs do not change it.
    """
    times: list[float] = []
    rows = torch.arange(BATCH) % len(images)
    train(
        images, labels, rows.repeat(3), classes, seed=0, device=device, budget=3 * BATCH,
        shown=lambda shown: times.append(time.process_time()),
    )  # fmt: skip
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    step = min(after - before for before, after in itertools.pairwise(times))
    return step / threads * budget / BATCH


def predict(net: nn.Sequential, images: Tensor, *, attributes: bool = False) -> Predictions:
    """The predictions of a trained net (in evaluation mode) for one batch, in one pass.

    `attributes`: whether the net learnt attributes rather than classes.
    """
    place = next(net.parameters()).device
    with exact(place):
        features = net[:-1](_prepare(images, place))
        logits = net[-1](features)
        logs = functional.logsigmoid(logits) if attributes else logits.log_softmax(1)
        return Predictions(features.cpu(), logs.cpu())


def classify(net: nn.Sequential, images: Tensor, *, attributes: bool = False) -> Tensor:
    """The likeliest class of each image, int64 ``[count]``, or the attributes that it is likely to have."""
    predicted = (predict(net, part, attributes=attributes).log_probabilities for part in images.split(BATCH))
    return torch.cat([likeliest(one, attributes=attributes) for one in predicted])


def likeliest(log_probabilities: Tensor, *, attributes: bool) -> Tensor:
    """Log-probabilities as labels: classes, int64 ``[count]``, or attributes ``[count, bits]``, each 0 or 1."""
    return (log_probabilities > math.log(0.5)).long() if attributes else log_probabilities.argmax(1)


def in_half(device: str) -> bool:
    """Whether training in bfloat16 is faster there."""
    return bf16_is_faster(torch.device(device))


def _prepare(images: Tensor, device: torch.device) -> Tensor:
    """Bytes ``[count, channels, height, width]`` as the net takes them: resized if large, in -1..1."""
    images = from_bytes(images.to(device))
    height, width = input_size(ImageShape(*images.shape[1:]))
    if images.shape[2:] != (height, width):
        images = area(images, height, width)
    return images
