"""The contract of `frugan.losses`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from frugan import losses
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit
from frugan.losses import AdversarialLoss
from frugan.recipe import Choice, Recipe

LOGIT = 0.3
"""Between the targets that losses pull to, whether these are 0 and 1 or -1 and 1."""


@dataclass(frozen=True)
class Loss:
    """The loss that is being checked, by its name: built with its default options."""

    name: str
    ground: Ground

    @property
    def made(self) -> AdversarialLoss:
        """The loss as `frugan.losses` makes it."""
        return losses.find(self.name)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe that trains with this loss."""
        return self.ground.pair(loss=Choice(self.name))

    def sides(self) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        """The loss of the discriminator and that of the generator, each as a function of real and fake logits."""
        loss = self.made

        def random() -> torch.Generator:
            return torch.Generator().manual_seed(0)

        return {
            "discriminator": lambda real, fake: loss.discriminator(real, fake, random=random()),
            "generator": lambda real, fake: loss.generator(fake, real, random=random()),
        }


def _logits(*shape: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=random), torch.randn(shape, generator=random)


def is_a_number_with_a_gradient(loss: Loss) -> None:
    """For logits of any shape, the loss is one number with a gradient."""
    for side, value_of in loss.sides().items():
        for shape in ((6, 1), (6,), (6, 1, 3, 3)):
            real, fake = (logits.requires_grad_() for logits in _logits(*shape))
            value = value_of(real, fake)
            if not isinstance(value, Tensor) or value.dim() != 0 or not torch.isfinite(value):
                raise NotKept(
                    f"the {side}'s loss of logits {list(shape)} is {value!r}: give one finite number, a mean."
                )
            wanted = (real, fake) if side == "discriminator" else (fake,)
            if not value.requires_grad:
                raise NotKept(f"the {side}'s loss has no gradient: compute it from the logits, and detach nothing.")
            for logits, gradient in zip(wanted, torch.autograd.grad(value, wanted, allow_unused=True), strict=True):
                if gradient is None or not gradient.isfinite().all():
                    which = "real" if logits is real else "fake"
                    raise NotKept(f"the {side}'s loss has no finite gradient by the logits of {which} images.")


def is_a_mean_over_elements(loss: Loss) -> None:
    """A batch repeated twice has the same loss as the batch once."""
    for side, value_of in loss.sides().items():
        real, fake = _logits(8, 1)
        once, twice = value_of(real, fake), value_of(real.repeat(2, 1), fake.repeat(2, 1))
        if losses.options(loss.name).get("noise"):
            raise NotAsked("its targets are noisy.")
        if not torch.allclose(once, twice, rtol=1e-4, atol=1e-5):
            raise NotKept(
                f"the {side}'s loss is {float(once):.4g} for a batch and {float(twice):.4g} for the batch repeated: "
                "take the mean over all elements, never the sum."
            )


def pulls_the_right_way(loss: Loss) -> None:
    """The discriminator's gradient raises real logits above fake ones; the generator's raises fake ones."""
    real, fake = (torch.full((6, 1), LOGIT, requires_grad=True) for _ in range(2))
    sides = loss.sides()
    to_real, to_fake = torch.autograd.grad(sides["discriminator"](real, fake), (real, fake))
    (towards,) = torch.autograd.grad(sides["generator"](real, fake), fake)
    if not (to_real.sum() < 0 < to_fake.sum()):
        raise NotKept(
            f"if all logits are {LOGIT}, the discriminator should raise those of real and lower those of fake images, "
            "but does not."
        )
    if not towards.sum() < 0:
        raise NotKept(
            f"if all logits are {LOGIT}, the generator should raise those of its fakes, but does not: the sign is "
            "wrong."
        )


def computes_in_float32_at_least(loss: Loss) -> None:
    """The loss is computed in float32 or more precisely, also if the networks computed in bf16."""
    real, fake = _logits(64, 1)
    for side, value_of in loss.sides().items():
        value = value_of(real.bfloat16(), fake.bfloat16())
        wide = value_of(real.bfloat16().float(), fake.bfloat16().float())
        if value.dtype not in (torch.float32, torch.float64) or not torch.allclose(value, wide, rtol=1e-5):
            raise NotKept(f"the {side}'s loss of bfloat16 logits is computed in bfloat16: begin with logits.float().")


def says_what_is_taken_for_real(loss: Loss) -> None:
    """It says for each logit whether the image counts as real; a high logit does."""
    logits = torch.linspace(-9, 9, 10)[:, None]
    taken = loss.made.takes_for_real(logits)
    if not isinstance(taken, Tensor) or taken.dtype is not torch.bool or taken.shape != logits.shape:
        raise NotKept("takes_for_real must give True or False for each logit, e.g. lambda logits: logits > 0.")
    if not taken[-1]:
        raise NotKept("takes_for_real says that a high logit means fake.")


def draws_from_what_it_is_given(loss: Loss) -> None:
    """The loss draws only from the generator that it is given, never from torch's global random numbers."""
    before = torch.get_rng_state()
    real, fake = _logits(6, 1)
    for value_of in loss.sides().values():
        value_of(real, fake)
    if not torch.equal(before, torch.get_rng_state()):
        raise NotKept("it draws from torch's own random numbers: draw from the generator `random`.")


WHERE = "frugan.losses, AdversarialLoss"

CONTRACT = Contract("loss", losses.names, Loss, (
    Requirement(is_a_number_with_a_gradient, WHERE),
    Requirement(is_a_mean_over_elements, "frugan.losses", (is_a_number_with_a_gradient,)),
    Requirement(pulls_the_right_way, WHERE, (is_a_number_with_a_gradient,)),
    Requirement(computes_in_float32_at_least, "frugan.losses", (is_a_number_with_a_gradient,)),
    Requirement(says_what_is_taken_for_real, f"{WHERE}.takes_for_real"),
    Requirement(draws_from_what_it_is_given, WHERE, (is_a_number_with_a_gradient,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (is_a_number_with_a_gradient,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
))  # fmt: skip
