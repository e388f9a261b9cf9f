"""Projection: the latents whose image is nearest to a given image, by the encoder of a run or by search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frugan import seeds
from frugan.artefact import Encoder, Generator
from frugan.countdown import Countdown
from frugan.explore.samples import Samples, samples
from frugan.registry import UserError
from frugan.resizing import area

ENCODER, SEARCH = "encoder", "search"

STARTS, POOL, STEPS, RATE = 4, 512, 200, 0.05
"""A search begins at the nearest few of a pool of samples, and takes so many steps of Adam at this rate."""


@dataclass(frozen=True, eq=False)
class Projection:
    """What was found for given images.

    Attributes:
        samples: latents and condition.
        by: "encoder" or "search".
        given: the given images in the generator's size, bytes ``[count, height, width, channels]``.
        images: their images, bytes ``[count, height, width, channels]``.
        errors: the distance of each from the given image, the L2 norm of pixels in 0 to 1: ``[count]``.
        others: the same from the image found for another given image, drawn by `seeds.others`; nan of a single one.
    """

    samples: Samples
    by: str
    given: Any
    images: Any
    errors: Tensor
    others: Tensor

    @property
    def ratio(self) -> float:
        """The mean error over the mean distance of others: 0 is a perfect copy, 1 says nothing was kept."""
        return float(self.errors.mean() / self.others.mean())


def accept(images: Any, network: Generator | Encoder) -> Tensor:
    """Given images as bytes ``[count, channels, height, width]``. Raises UserError for images of another size."""
    import numpy as np

    given = torch.from_numpy(np.array(images))
    channels, height, width = network.config["image"]
    if given.dtype != torch.uint8 or given.ndim != 4 or list(given.shape[1:]) != [height, width, channels]:
        raise UserError(
            f"Images of {str(given.dtype).removeprefix('torch.')} and shape {list(given.shape)} were given; this "
            f"{network.role}'s are bytes [count, {height}, {width}, {channels}]. Resize them first."
        )
    if not len(given):
        raise UserError("No image to project was given.")
    return given.permute(0, 3, 1, 2)


def project(
    generator: Generator, images: Any, encoder: Encoder | None = None, *, labels: Any = None, steps: int = STEPS,
    starts: int = STARTS, seed: int = 0, announce: Callable[[str], None] | None = None,
) -> Projection:
    """Latents whose images are near given ones.

    Args:
        images: bytes ``[count, height, width, channels]`` of the generator's size; of the encoder's, where that sees
            finer images. They are compared in the generator's size.
        encoder: finds the latents at once. If left out they are searched: the squared error is brought down from the
            nearest few samples, and the nearest point on the way is kept. Uniform latents stay in -1 to 1.
        labels: the condition of the images, for a generator that takes one. If left out, a search takes that of the
            nearest sample.
        announce: called with a line now and then that says how far it is.

    Raises UserError for images of another size, and for an encoder of other latents.
    """
    given = accept(images, encoder or generator)
    size = generator.config["image"][1:]
    if list(given.shape[2:]) != list(size):
        given = area(given.float(), *size).round().to(torch.uint8)
    if encoder is not None:
        found = _by_encoder(generator, images, encoder, labels)
    else:
        found = _by_search(generator, given, labels, steps, starts, seed, announce)
    made = found.images()
    seen = torch.from_numpy(made).permute(0, 3, 1, 2)
    return Projection(
        found, SEARCH if encoder is None else ENCODER, given.permute(0, 2, 3, 1).numpy(), made, _distances(given, seen),
        _distances(given, seen[seeds.others(len(seen))]) if len(given) > 1 else torch.full((1,), float("nan")),
    )


def latents_of(encoder: Encoder, size: int) -> str:
    """The encoder's output that holds latents of this size. Raises UserError if none does."""
    fitting = [name for name, width in encoder.outputs.items() if width == size]
    if not fitting:
        has = ", ".join(f"{name} ({width})" for name, width in encoder.outputs.items())
        raise UserError(f"No output of the encoder holds {size} latents; it has: {has}. Use --by search.")
    return fitting[0]


def _by_encoder(generator: Generator, images: Any, encoder: Encoder, labels: Any) -> Samples:
    condition = generator.condition(len(images), labels)
    told = labels if encoder.condition(len(images), labels) is not None else None
    latents = torch.from_numpy(encoder.encode(images, latents_of(encoder, generator.latents.size), told))
    return Samples(generator, latents, condition)


def _by_search(
    generator: Generator, given: Tensor, labels: Any, steps: int, starts: int, seed: int,
    announce: Callable[[str], None] | None,
) -> Samples:
    if generator.config.get("exported"):
        raise UserError(
            "An exported file has no gradients, so latents cannot be searched with it. Name the run or the artefact "
            "that it was made from."
        )
    count = len(given)
    told = generator.condition(count, labels)
    target = given.float() / 255
    pool = samples(generator, max(POOL, starts), seed)
    seen = torch.from_numpy(pool.images()).permute(0, 3, 1, 2).float() / 255
    apart = torch.cdist(target.flatten(1), seen.flatten(1))
    nearest = apart.topk(starts, largest=False).indices  # [count, starts]
    latents = pool.latents[nearest.flatten()].to(generator.device).requires_grad_()
    condition = pool.labels
    if condition is not None:
        own = condition[nearest.flatten()] if labels is None else told.repeat_interleave(starts, 0)  # pyrefly: ignore
        condition = own.to(generator.device)
    target = target.repeat_interleave(starts, 0).to(generator.device)
    low, high = generator.module.image_range  # pyrefly: ignore
    optimiser = torch.optim.Adam([latents], RATE)
    countdown = Countdown(announce or (lambda line: None), f"Searching the latents of {count} images", steps, "steps")
    bounded = generator.latents.distribution == "uniform"
    least, best = torch.full((len(latents),), float("inf"), device=generator.device), latents.detach().clone()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, 2 * (steps - step) / steps)  # falls over the second half
        made = (generator(latents, condition) - low) / (high - low)
        error = (made - target).square().flatten(1).sum(1)
        nearer = error.detach() < least
        least[nearer], best[nearer] = error.detach()[nearer], latents.detach()[nearer]
        optimiser.zero_grad()
        error.sum().backward()
        optimiser.step()
        if bounded:
            with torch.no_grad():
                latents.clamp_(-1, 1)
        countdown.at(step + 1)
    found = Samples(generator, best.cpu(), None if condition is None else condition.cpu())
    return found.take((least.view(count, starts).argmin(1).cpu() + starts * torch.arange(count)).tolist())


def _distances(given: Tensor, made: Tensor) -> Tensor:
    return ((given.float() - made.float()) / 255).flatten(1).norm(dim=1)
