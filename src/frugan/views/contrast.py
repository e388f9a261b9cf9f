"""A small net, trained here without labels to tell the images of that data apart, to judge images of that data.

It learns which image of the data a changed copy came from: of a batch of 128 images, each is cut out twice in different
ways, in different light, and the net has to find the other copy of each among all (Chen et al. 2020, arXiv 2002.05709,
the loss NT-Xent). So it learns what makes one image differ from another, which labels would only say in part.
Features are its 128 units after their ReLU. Only values of the same weights can be compared, so the weights are kept in
the cache, and their hash is part of the view's version. It knows no classes.

A tenth of the images is not used for training. `accuracy` is how often the net finds the other copy of one of these
among 128 (or all of them, if they are fewer). A test split is never used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import seeds
from frugan.arithmetic import exact
from frugan.batch import ImageShape, from_bytes
from frugan.countdown import Countdown
from frugan.registry import UserError
from frugan.resizing import area
from frugan.views import Builder, Seen, View
from frugan.views._learnt import is_kept, kept_or_learnt

if TYPE_CHECKING:
    from frugan.data import Dataset

NET = "contrast1"
"""Version of the net and of its training. Values of different versions cannot be compared."""

FEATURES, PROJECTED = 128, 64
LARGEST_SIDE, SMALLEST_SIDE = 64, 8
FEWEST = 20
"""With fewer images there is nothing to tell apart."""

STEPS, BATCH, RATE, TEMPERATURE = 300, 128, 2e-3, 0.2


def build(*, dataset: Dataset | None, cache: Path, device: str, announce: Callable[[str], None], seed: int = 0) -> View:
    """The view for a data set: from the cache, or trained now, in about half a minute on two cores.

    The weights depend on images and `seed` only: exactly, on one machine with the same number of threads.

    Raises:
        UserError: no data set, fewer than 20 images, sides under 8 pixels, or a damaged cache.
    """
    if dataset is None:
        raise UserError("The view 'contrast' is trained on images. Pass the data set: dataset=...")
    if not suits(dataset):
        raise UserError(
            f"The view 'contrast' cannot be trained on {dataset.title}: it needs {FEWEST} images or more, with sides "
            f"of at least {SMALLEST_SIDE} pixels. Use --view pixels."
        )
    folder = _folder(dataset, cache, seed)
    weights, description = kept_or_learnt(folder, "net", lambda: _learn(dataset, seed, device, announce, folder))
    with torch.device("meta"):  # no random numbers are drawn for weights that are read
        net = network(dataset.shape)
    net.load_state_dict(weights, assign=True)
    return _view(net, dataset.shape, description, device)


def kept(dataset: Dataset, cache: Path) -> bool:
    """Whether the net for this data set has been trained before."""
    return is_kept(_folder(dataset, cache, 0))


def _folder(dataset: Dataset, cache: Path, seed: int) -> Path:
    return cache / f"{NET}-{dataset.content_hash[:16]}-seed{seed}"


def suits(dataset: Dataset) -> bool:
    """Whether a net can learn to tell these images apart."""
    return len(dataset) >= FEWEST and min(input_size(dataset.shape)) >= SMALLEST_SIDE


def input_size(shape: ImageShape) -> tuple[int, int]:
    """Height and width of the net's input: the image's own; an image with a side above 64 is scaled down to fit."""
    scale = min(1.0, LARGEST_SIDE / max(shape.height, shape.width))
    return round(shape.height * scale), round(shape.width * scale)


def network(shape: ImageShape) -> nn.Sequential:
    """The untrained net: floats in -1..1 of the size of `input_size` to features ``[count, 128]``.

    Each 3 x 3 convolution halves the sides: three for sides up to 32 (32, 64, 128 channels), else a fourth before them.
    """
    height, width = input_size(shape)
    channels = (32, 64, 128) if max(height, width) <= 32 else (16, 32, 64, 128)
    layers: list[nn.Module] = []
    for before, after in zip((shape.channels, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        height, width = -(-height // 2), -(-width // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * width, FEATURES), nn.ReLU())


def _learn(
    dataset: Dataset, seed: int, device: str, announce: Callable[[str], None], folder: Path
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a net; return its weights and its description. The global random numbers are not changed."""
    announce(
        f"Training the net that judges {dataset.name} without labels, once for all runs on these data; it is kept in "
        f"{folder}."
    )
    order = torch.randperm(len(dataset), generator=seeds.generator(seed, NET, "held back"))
    held_back, shown = order.tensor_split([max(2, len(order) // 10)])
    draws, place = seeds.generator(seed, NET, "changes"), torch.device(device)
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.enable_grad():
        torch.manual_seed(seeds.derive(seed, NET, "weights"))
        net = network(dataset.shape).to(place)
        head = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, PROJECTED)).to(place)
        optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], RATE)
        batch = min(BATCH, len(shown))
        countdown = Countdown(announce, "Training the net without labels", (STEPS - 1) * batch)
        passes = -(-STEPS * batch // len(shown))
        stream = torch.cat([shown[torch.randperm(len(shown), generator=draws)] for _ in range(passes)])
        for step in range(STEPS):
            for group in optimiser.param_groups:  # as of the classifier: it rises, then falls to 0
                group["lr"] = RATE * min((step + 1) / (STEPS / 10), (STEPS - step) / (STEPS * 0.9), 1.0)
            images = dataset.images[stream[step * batch : (step + 1) * batch]]
            loss = functional.cross_entropy(*_matches(net, head, _prepare(images, place), draws))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step == 0:  # it takes longer than the others
                countdown.begin()
            countdown.at(step * batch)
        with torch.no_grad():
            held = _prepare(dataset.images[held_back[:BATCH]], place)
            similar, other = _matches(net.eval(), head.eval(), held, draws)
    height, width = input_size(dataset.shape)
    resized = (height, width) != (dataset.shape.height, dataset.shape.width)
    return net.state_dict(), {
        "net": NET,
        "task": "finds the other changed copy of an image",
        "data": dataset.name,
        "content_hash": dataset.content_hash,
        "split": dataset.split,
        "seed": seed,
        "images": len(shown),
        "images_seen": STEPS * batch,
        "accuracy": float((similar.argmax(1) == other).double().mean()),
        "accuracy_on": f"{len(held)} images held back from training",
        "resizing": f"area to {height}x{width}" if resized else "none",
    }


def _matches(net: nn.Module, head: nn.Module, images: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of two changed copies of each image, how similar each is to all others ``[2n, 2n]``, and which is its other."""
    count = len(images)
    copies = torch.cat([changed(images, draws), changed(images, draws)])
    codes = functional.normalize(head(net(copies)), dim=1)
    similar = codes @ codes.T / TEMPERATURE
    similar = similar.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=images.device), -torch.inf)
    return similar, torch.arange(2 * count, device=images.device).roll(count)


def changed(images: Tensor, draws: torch.Generator) -> Tensor:
    """Changed copies of images ``[n, c, h, w]`` in -1..1: a random part of each, in other light and colour.

    The part has 0.6 to 1 of each side and is stretched by up to a fifth. Images are not mirrored, which would make
    other letters and digits of them. Blur and noise are not among the changes, so that the net sees them.
    """
    count = len(images)

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(count, *shape, generator=draws)).to(images)

    size, stretch = drawn(0.6, 1.0), drawn(-0.2, 0.2).exp()
    part = torch.zeros(count, 2, 3).to(images)
    part[:, 0, 0], part[:, 1, 1] = size * stretch, size / stretch
    part[:, 0, 2], part[:, 1, 2] = (1 - size) * drawn(-1, 1), (1 - size) * drawn(-1, 1)
    grid = functional.affine_grid(part, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * drawn(0.6, 1.4, 1, 1, 1) + mean + drawn(-0.4, 0.4, 1, 1, 1)
    if images.shape[1] == 1:
        return images
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * drawn(0.0, 1.5, 1, 1, 1)


def _view(net: nn.Sequential, shape: ImageShape, description: dict[str, Any], device: str) -> View:
    net, place = net.to(device).eval(), torch.device(device)

    def look(images: Tensor) -> Seen:
        if tuple(images.shape[1:]) != tuple(shape):
            raise UserError(
                f"This net was trained on images {list(shape)}, but these are {list(images.shape[1:])}. Resize them to "
                "that size, or take a net of their own data."
            )
        with exact(place):
            return Seen(net(_prepare(images, place)).cpu())

    return View(
        name="contrast",
        version="-".join([NET, description["weights"][:12], *map(str, input_size(shape))]),
        width=FEATURES,
        input_size=input_size(shape),
        look=look,
        classes=0,
        description=description,
    )


def _prepare(images: Tensor, place: torch.device) -> Tensor:
    """Images from 0 to 255 as the net takes them: resized if large, in -1..1."""
    images = from_bytes(images.to(place))
    height, width = input_size(ImageShape(*images.shape[1:]))
    return images if images.shape[2:] == (height, width) else area(images, height, width)


variant = Builder("contrast", build, needs=("images",), suits=suits, kept=kept)
