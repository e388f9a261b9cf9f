"""A small net that tells the classes or attributes of labelled images, and the one recipe by which it learns.

Two 3 x 3 convolutions (32, 64 channels, no padding), max pooling, 128 units: 1,199,882 parameters for ten classes of
28 x 28 grey images. It judges: as the view `classifier`, through which the metrics look at images of labelled data, and
in the metric `classification_accuracy`, which asks what can be learnt from generated images. Nothing of it is a choice
of the user's, so that values compare.
"""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import seeds
from frugan.arithmetic import exact
from frugan.batch import ImageShape, from_bytes
from frugan.resizing import area

NET = "cnn2"
"""Version of the net and of its training; what another one tells does not compare."""

FEATURES = 128
LARGEST_SIDE = 32
SMALLEST_SIDE = 6

IMAGES, PASSES, BATCH, RATE = 60_000, 20, 128, 2e-3
"""Training shows this many images unless told, none more often than so many times; batch size; Adam's highest rate."""


class Predictions(NamedTuple):
    """What a net sees, a row an image, on the CPU: 128 features after their ReLU, and logarithms of probabilities.

    Those of classes are log-softmax values ``[count, classes]``, those of attributes log-sigmoid ``[count, bits]``.
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
    """Height and width that the net sees: the images' own, or the longer side made 32 if it is longer than that."""
    scale = min(1.0, LARGEST_SIDE / max(shape.height, shape.width))
    return round(shape.height * scale), round(shape.width * scale)


def images_shown(count: int, budget: int = IMAGES) -> int:
    """How many of `budget` images training shows where `count` are different: whole batches, one at least."""
    return max(1, min(budget, PASSES * count) // BATCH) * BATCH


def train(
    images: Tensor, labels: Tensor, rows: Tensor, classes: int, *, seed: int, device: str, budget: int = IMAGES
) -> nn.Sequential:
    """A net trained on some of the images. The global random numbers stay as they were.

    What is trained follows from what is given; on one machine, with one number of threads, exactly.

    Args:
        images: uint8 ``[count, channels, height, width]``, each side 6 pixels or more.
        labels: int64 ``[count]``, from 0 to `classes` - 1, or attributes ``[count, classes]``, each 0 or 1.
        rows: int64, the images to learn from, in the order that the seed then shuffles.
        budget: how many images it is shown, repeats included.
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
                # Up over a tenth of the steps, then down to nothing: so that even a single pass comes to rest.
                group["lr"] = RATE * min((step + 1) / (steps / 10), (steps - step) / (steps * 0.9), 1.0)
            shown, answers = _prepare(images[chosen], place), labels[chosen].to(place)
            with torch.autocast(place.type, torch.bfloat16) if half else contextlib.nullcontext():
                logits = net(shown)
            optimiser.zero_grad()
            if labels.ndim == 2:
                functional.binary_cross_entropy_with_logits(logits.float(), answers.float()).backward()
            else:
                functional.cross_entropy(logits.float(), answers).backward()
            optimiser.step()
    return net.eval()


def predict(net: nn.Sequential, images: Tensor, *, attributes: bool = False) -> Predictions:
    """What `net`, in its evaluating mode, sees in images like those that it learnt from; at once, so for a batch.

    `attributes` says that it learnt these and not classes.
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
    """What is told, in the form of labels: classes, int64 ``[count]``, or attributes ``[count, bits]``, each 0 or 1."""
    return (log_probabilities > math.log(0.5)).long() if attributes else log_probabilities.argmax(1)


def in_half(device: str) -> bool:
    """Whether training in bfloat16 is faster here: twice on a CPU that has instructions for it, and on any GPU."""
    if torch.device(device).type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()


def _prepare(images: Tensor, device: torch.device) -> Tensor:
    """Bytes ``[count, channels, height, width]`` as the net takes them: resized if large, in -1..1."""
    images = from_bytes(images.to(device))
    height, width = input_size(ImageShape(*images.shape[1:]))
    if images.shape[2:] != (height, width):
        images = area(images, height, width)
    return images
