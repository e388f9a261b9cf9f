"""Augmentation, as values: random changes made to real and fake images alike before the discriminator sees them.

The discriminator never sees an unchanged image. So a change that can be undone on average does not change what the
generator learns (Zhao et al. 2020, 2006.10738; Karras et al. 2020, 2006.06676). Each change is differentiable: the
generator learns through it. All chance comes from the random generator that is passed in. This is not augmentation of
a *data set*: applied to real images only, its marks would turn up in the generated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from frugan.registry import Catalogue, UserError


@dataclass(frozen=True)
class Augmentation:
    """A random change of images; call it with ``(images, random)``.

    `images` is ``[count, channels, height, width]`` in a range around 0 (-1 to 1), and so is what it returns, in the
    same precision; `random` is a CPU generator, so that the changes are the same on every device.

    A change that follows the discriminator has a `gauge`, and each image gets it with the gauge's probability.
    """

    name: str
    change: Callable[[Tensor, torch.Generator], Tensor]
    gauge: Gauge | None = None

    def __call__(self, images: Tensor, random: torch.Generator) -> Tensor:
        if self.gauge is None:
            return self.change(images, random)
        drawn = torch.rand(len(images), generator=random).to(images.device, non_blocking=True)
        changed = drawn < self.gauge.probability.to(drawn)
        return torch.where(changed[:, None, None, None], self.change(images, random), images)


def flip(*, probability: float = 0.5) -> Augmentation:
    """Left-right mirroring of each image with a probability.

    Not for digits and letters: generated ones would be mirrored.
    """
    if not 0 <= probability <= 1:
        raise UserError(f"The augmentation 'flip' has probability {probability:g}. Give a number from 0 to 1.")

    def change(images: Tensor, random: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(images), generator=random).to(images.device, non_blocking=True) < probability
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images)

    return Augmentation("flip", change)


def crop(*, enlarge: float = 286 / 256) -> Augmentation:
    """Each image enlarged by a factor (bicubic) and cut back to its size at a random place.

    As CycleGAN trains: 286 pixels cut to 256, or 143 to 128. There the enlarged image is made from the original file,
    here from the packed one, which holds a little less detail.
    """
    if enlarge < 1:
        raise UserError(f"The augmentation 'crop' has enlarge={enlarge:g}. Give a factor of 1 or more, e.g. 1.117.")

    def change(images: Tensor, random: torch.Generator) -> Tensor:
        count, channels, height, width = images.shape
        size = round(enlarge * height), round(enlarge * width)
        larger = torch.nn.functional.interpolate(images, size=size, mode="bicubic").clamp(-1, 1)
        rows = _offsets(count, size[0] - height + 1, random) + torch.arange(height)  # [count, height]
        columns = _offsets(count, size[1] - width + 1, random) + torch.arange(width)  # [count, width]
        rows = rows.to(images.device, non_blocking=True)[:, None, :, None].expand(-1, channels, -1, size[1])
        columns = columns.to(images.device, non_blocking=True)[:, None, None, :].expand(-1, channels, height, -1)
        return larger.gather(2, rows).gather(3, columns).contiguous(memory_format=_layout(images))

    return Augmentation("crop", change)


def diff_augment(*, colour: bool = True, translation: float = 0.125, cutout: float = 0.5) -> Augmentation:
    """DiffAugment, Zhao et al. 2020 (2006.10738): colour, translation and cutout, for training on few images.

    Args:
        colour: whether brightness, saturation and contrast of each image change.
        translation: the largest shift, as a share of height and of width; what moves in is mid grey (0). 0 for none.
        cutout: the sides of the square that is set to 0, as a share of height and of width. 0 for none.
    """
    for name, share in {"translation": translation, "cutout": cutout}.items():
        if not 0 <= share <= 1:
            raise UserError(
                f"The augmentation 'diff_augment' has {name}={share:g}. Give a share of the image's side, from 0 to 1."
            )

    def change(images: Tensor, random: torch.Generator) -> Tensor:
        if colour:
            images = _recolour(images, random)
        if translation:
            images = _shift(images, translation, random)
        if cutout:
            images = _cut_out(images, cutout, random)
        return images

    return Augmentation("diff_augment", change)


class Scores(Protocol):
    """What a `Gauge` is told of a step of the discriminator; see `frugan.penalties.Judgement`."""

    @property
    def real_scores(self) -> Tensor: ...

    @property
    def images(self) -> int: ...

    @property
    def mean(self) -> Callable[[Tensor], Tensor]: ...


@dataclass(eq=False)
class Gauge:
    """How likely an adaptive change is, by how sure the discriminator is of the real images that it is trained on.

    It stands among the discriminator's penalties, since it sees the scores as they do and is saved and resumed as they
    are; it costs nothing. What it returns and what the log shows as ``discriminator.augmentation`` is the probability.

    Attributes:
        probability: of 0 to 1, a scalar tensor.
        sure: scores -> whether each says "real".
        target: the mean of +1 for "real" and -1 for "fake" over real images, above which the probability rises.
        images: how many real images it takes from 0 to 1.
        seen: how many had been shown when it last moved.
    """

    probability: Tensor
    sure: Callable[[Tensor], Tensor]
    target: float
    images: int
    seen: int = 0
    name: str = "augmentation"
    every: int = 1
    needs_scores: bool = True

    def __call__(self, judgement: Scores) -> Tensor:
        """Move the probability by as much as the images shown since the last move; returns it."""
        signs = judgement.mean(2 * self.sure(judgement.real_scores.detach()).float().mean() - 1)
        step = (signs - self.target).sign() * (judgement.images - self.seen) / self.images
        self.probability, self.seen = (self.probability.to(step) + step).clamp(0, 1), judgement.images
        return self.probability

    def __deepcopy__(self, memo: dict[int, Any]) -> Gauge:
        # Discriminators have penalties of their own, but the images of all are changed alike.
        return self

    def state_dict(self) -> dict[str, Any]:
        """The probability, and when it last moved."""
        return {"probability": self.probability, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over both."""
        self.probability, self.seen = state["probability"], state["seen"]


def adaptive(
    *, target: float = 0.6, start: float = 0.5, images: int = 50_000, colour: bool = True, translation: float = 0.125,
    cutout: float = 0.5,
) -> Augmentation:
    """Adaptive augmentation: each image is changed with a probability that rises while the discriminator is too sure.

    Karras et al. 2020 (2006.06676): too sure means that the mean sign of its scores of real images, as it is trained on
    them, is above `target`. Then the probability rises, else it falls. The log shows it as
    ``discriminator.augmentation``. The change is that of `diff_augment`. A loss that only compares real and fake scores
    (relativistic, wgan) leaves their sign open, and needs another augmentation.

    Args:
        target: of -1 to 1; the paper's is 0.6, i.e. right on 80 % of them.
        start: the first probability. The paper's is 0; a training of minutes has no time for that.
        images: how many real images it takes from 0 to 1. The paper's are 500,000.
        colour, translation, cutout: as of `diff_augment`.
    """
    if not -1 <= target <= 1 or not 0 <= start <= 1 or images < 1:
        raise UserError(
            f"The augmentation 'adaptive' has target={target:g}, start={start:g} and images={images}. Give a target "
            "from -1 to 1, a start from 0 to 1, and 1 image or more."
        )
    change = diff_augment(colour=colour, translation=translation, cutout=cutout).change
    gauge = Gauge(torch.tensor(float(start)), lambda scores: scores > 0, target, images)
    return Augmentation("adaptive", change, gauge)


_known = Catalogue("augmentation", flip, crop, diff_augment, adaptive, has=("__call__",))
names, options, add, find = _known.names, _known.options, _known.add, _known.find


def _recolour(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness + U(-1/2, 1/2), saturation * U(0, 2), contrast * U(1/2, 3/2), one of each per image."""
    drawn = torch.rand(3, len(images), 1, 1, 1, generator=random)
    brightness, saturation, contrast = drawn.to(images, non_blocking=True)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    middle = images.mean((1, 2, 3), keepdim=True)
    return middle + (contrast + 0.5) * (images - middle)


def _shift(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Each image moved by whole pixels, up to `share` of each side either way."""
    count, channels, height, width = images.shape
    down, right = round(share * height), round(share * width)
    padded = torch.nn.functional.pad(images, (right, right, down, down))
    rows = _offsets(count, 2 * down + 1, random) + torch.arange(height)  # [count, height]
    columns = _offsets(count, 2 * right + 1, random) + torch.arange(width)  # [count, width]
    rows = rows.to(images.device, non_blocking=True)[:, None, :, None].expand(-1, channels, -1, padded.shape[3])
    columns = columns.to(images.device, non_blocking=True)[:, None, None, :].expand(-1, channels, height, -1)
    return padded.gather(2, rows).gather(3, columns)


def _cut_out(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    """A rectangle of each image set to 0; its centre is anywhere in the image, so part of it may fall outside."""
    count, _, height, width = images.shape
    inside = []
    for side in (height, width):
        length = round(share * side)
        start = _offsets(count, side + 1 - length % 2, random) - length // 2
        place = torch.arange(side)
        inside.append((place >= start) & (place < start + length))  # [count, side]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole.to(images.device, non_blocking=True), 0.0)


def _offsets(count: int, choices: int, random: torch.Generator) -> Tensor:
    """For each image one of 0 .. choices - 1, as ``[count, 1]``."""
    return torch.randint(choices, (count, 1), generator=random)


def _layout(images: Tensor) -> torch.memory_format:
    """The memory format of a batch; images made from it should keep it."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
