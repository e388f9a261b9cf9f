"""The growing game: `adversarial` on images that begin at 4 x 4 pixels and double, each new size faded in.

Karras et al. 2018 (arXiv 1710.10196, section 2). It needs networks that grow, such as the architecture ``growing``.
Each size is trained for `steady` real images, then the next one is faded in over `fading`; the last one is trained to
the end of the run. The layers of smaller sizes are trained on. Real images are made smaller by means of 2 x 2 pixels
and faded as the networks are: otherwise sharpness alone would tell them from fakes. Optimisers forget their moments
whenever a size begins or is faded in. An averaged network needs no new copy of a new layer: until it takes part, a
layer stays as it was drawn, in the network and in its average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Progress, Update, Variant, settle
from frugan.games._pair import order, shipped
from frugan.games.adversarial import Adversarial
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError


@dataclass(frozen=True)
class Growth:
    """How far networks have grown, as a function of the real images shown.

    Attributes:
        steady, fading: real images at each size, and over which the next one is faded in.
        top: the last level; each level has twice the pixels of a side, and 0.25 is a quarter of the way from 0 to 1.
    """

    steady: int
    fading: int
    top: int

    def __post_init__(self) -> None:
        if self.steady < 0 or self.fading < 0 or self.steady + self.fading < 1:
            raise UserError(
                f"game.steady={self.steady}, game.fading={self.fading}: give how many real images each size is trained "
                "for, and over how many the next one is faded in; 0 or more, and not both 0."
            )

    def level(self, images: int) -> float:
        """The level after so many real images."""
        whole, over = divmod(images, self.steady + self.fading)
        share = max(over - self.steady, 0) / self.fading if self.fading else 0.0
        return min(whole + share, float(self.top))


class Growing:
    """One generator and one discriminator that grow.

    Args:
        generator, discriminator: as of `Adversarial`; both grow (`grow`, `top`).
        batch_size, latents, loss, penalties, augment, discriminator_steps, fresh_latents, labels: as of `Adversarial`.
        steady: real images for which each size is trained.
        fading: real images over which the next size is faded in.
        batches: real images in a step, each with the size from which on it holds: ``[[64, 32], [128, 16]]`` is 32 from
            64 pixels on and 16 from 128 on. Smaller sizes have `batch_size`.
        rates: factors on the learning rates, likewise: ``[[1024, 1.5]]``.
    """

    streams = ("train",)
    shipped = staticmethod(shipped)
    settle = staticmethod(settle)

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        steady: int = 800_000,
        fading: int = 800_000,
        batches: Sequence[Sequence[int]] = (),
        rates: Sequence[Sequence[float]] = (),
        discriminator_steps: Times = 1,
        fresh_latents: bool = False,
        labels: str = "real",
    ) -> None:
        both: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
        for name, network in both.items():
            if not hasattr(network, "grow"):
                raise UserError(
                    f"The game 'growing' needs networks that grow, and the {name} does not. Set "
                    f"{name}.architecture=growing, or game=adversarial."
                )
        top, side = both["generator"].top, both["generator"].image.height
        self.side = side
        self.growth = Growth(steady, fading, top)
        sizes = [side // 2 ** (top - level) for level in range(top + 1)]
        self.batch_sizes = _from_size_on("batches", batches, batch_size, sizes)
        self.rates = _from_size_on("rates", rates, 1.0, sizes)

        def game_of(count: int) -> Adversarial:
            return Adversarial(
                generator, discriminator, batch_size=count, latents=latents, loss=loss, penalties=penalties,
                augment=augment, discriminator_steps=discriminator_steps, fresh_latents=fresh_latents, labels=labels,
            )

        self.games = {count: game_of(count) for count in self.batch_sizes}
        first = self.games[self.batch_sizes[0]]
        self.networks, self.sample, self.penalties = first.networks, first.sample, first.penalties
        self.score_images, self.check_attributes = first.score_images, first.check_attributes
        self.phase = 0

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round of `Adversarial` at the size and with the batch that the images seen ask for."""
        level = self.growth.level(progress.images)
        stage, phase = math.ceil(level), math.ceil(level) + math.floor(level)
        for name, network in self.networks.items():
            network.grow(level)  # pyrefly: ignore
            if phase != self.phase:
                update.reset(name)
            update.scale_rate(name, self.rates[stage])
        self.phase = phase
        scalars = self.games[self.batch_sizes[stage]].step(
            Resized(batches, level, self.growth.top), progress, update
        )
        return {**scalars, "generator.level": self.networks["generator"].level.clone()}  # pyrefly: ignore

    def notes(self, images: int) -> list[str]:
        """That the last size is not reached or not faded in, if it is so."""
        level, top = self.growth.level(images), self.growth.top
        if level >= top:
            return []
        side, last = (self.side // 2 ** (top - reached) for reached in (math.ceil(level), top))
        ends = f"while {last} x {last} pixels are faded in"
        if side < last:
            ends = f"at {side} x {side} pixels of {last} x {last}, and it will ship enlarged images"
        needed = top * (self.growth.steady + self.growth.fading)
        return [
            f"The networks grow, and {images:,} images end {ends}. After {needed:,} images they are full-grown. Give "
            "more --images, or smaller game.steady and game.fading."
        ]

    def state_dict(self) -> dict[str, int]:
        """The phase of the last round: twice the level, fades between sizes counted as one."""
        return {"phase": self.phase}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over the phase."""
        self.phase = int(state["phase"])


@dataclass(frozen=True)
class Resized:
    """Batches of another, whose images are as large and as sharp as networks of this level make them."""

    batches: Batches
    level: float
    top: int

    def take(self, stream: str, count: int) -> Batch:
        """The next `count` images of a stream, resized."""
        batch = self.batches.take(stream, count)
        return replace(batch, images=resized(batch.images, self.level, self.top))


def resized(images: Tensor, level: float, top: int) -> Tensor:
    """Images ``[n, c, h, w]`` of level `top` at the size of a level, faded between that and the size before."""
    factor = 2 ** (top - math.ceil(level))
    images = functional.avg_pool2d(images, factor) if factor > 1 else images
    share = level % 1
    if not share:
        return images
    blurred = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2.0)
    return share * images + (1 - share) * blurred


def _from_size_on(option: str, given: Sequence[Sequence[Any]], usual: Any, sizes: Sequence[int]) -> list[Any]:
    """The number of each size: what is given for it or for the largest smaller one, else the usual one."""
    for pair in given:
        if len(pair) != 2 or pair[0] < 1 or int(pair[0]) & (int(pair[0]) - 1) or not pair[1] > 0:
            raise UserError(
                f"game.{option}={[list(one) for one in given]}: give pairs of a size (a power of two) and the number "
                f"above 0 that holds from it on, e.g. [[{sizes[-1]}, {usual}]]. The sizes of this run are "
                f"{', '.join(map(str, sizes))}."
            )
    numbers = []
    for size in sizes:
        reached = [(start, number) for start, number in given if start <= size]
        numbers.append(max(reached)[1] if reached else usual)
    return numbers


variant = Variant(Growing, order)
