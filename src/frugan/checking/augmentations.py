"""The contract of `frugan.augment`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from frugan import augment
from frugan.augment import Augmentation
from frugan.checking._contract import Contract, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit
from frugan.recipe import Choice, Recipe


@dataclass(frozen=True)
class Checked:
    """An augmentation that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    @property
    def made(self) -> Augmentation:
        """The augmentation as `frugan.augment` makes it."""
        return augment.find(self.name)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe whose discriminator sees changed images."""
        return self.ground.pair(augment=(Choice(self.name),))


def _images(dtype: torch.dtype = torch.float32) -> Tensor:
    images = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return images.to(dtype)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def keeps_shape_and_precision(change: Checked) -> None:
    """Images keep shape, precision and memory layout, in colour and in grey."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for images in (_images(dtype), _images(dtype)[:, :1], _images(dtype).to(memory_format=torch.channels_last)):
            before = images.clone()
            changed = change.made(images, _random())
            if changed.shape != images.shape or changed.dtype != images.dtype:
                raise NotKept(
                    f"of images {list(images.shape)} in {images.dtype} it makes {list(changed.shape)} in "
                    f"{changed.dtype}: convert random numbers with .to(images)."
                )
            if not torch.equal(before, images):
                raise NotKept("it changes the images that it gets, which are used elsewhere too: make new ones.")


def follows_from_the_given_random_numbers(change: Checked) -> None:
    """The same random numbers make the same change, other numbers another one. No other random numbers are drawn."""
    before = torch.get_rng_state()
    one, again = (change.made(_images(), _random()) for _ in range(2))
    if not torch.equal(one, again) or not torch.equal(before, torch.get_rng_state()):
        raise NotKept("the same random numbers make different changes: draw from `random` alone.")
    if all(torch.equal(one, change.made(_images(), _random(seed))) for seed in range(1, 8)):
        raise NotKept(
            "the change is the same for all random numbers: then it is not an augmentation but another data set."
        )


def lets_gradients_through(change: Checked) -> None:
    """Gradients of the changed images reach the images, so that a generator learns."""
    images = _images().requires_grad_()
    changed = change.made(images, _random()).square().sum()
    gradient = None
    if changed.requires_grad:
        (gradient,) = torch.autograd.grad(changed, images, allow_unused=True)
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        raise NotKept("no gradient reaches the images through it, so the generator could not learn.")


CONTRACT = Contract("augmentation", augment.names, Checked, (
    Requirement(keeps_shape_and_precision, "frugan.augment, Augmentation"),
    Requirement(follows_from_the_given_random_numbers, "frugan.augment, Augmentation", (keeps_shape_and_precision,)),
    Requirement(lets_gradients_through, "frugan.augment", (keeps_shape_and_precision,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (keeps_shape_and_precision,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
))  # fmt: skip
