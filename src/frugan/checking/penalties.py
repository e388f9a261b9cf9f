"""The contract of `frugan.penalties`."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frugan import penalties
from frugan.batch import Batch
from frugan.checking._contract import Contract, NotAsked, NotKept, Requirement
from frugan.checking._ground import CLASSES, Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit
from frugan.penalties import Judgement, Penalty
from frugan.recipe import Choice, Recipe


@dataclass(frozen=True)
class Checked:
    """A penalty that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    @property
    def made(self) -> Penalty:
        """The penalty as `frugan.penalties` makes it."""
        return penalties.find(self.name)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe whose discriminator's loss has this penalty."""
        return self.ground.pair(penalties=(Choice(self.name),))


class Steps:
    """Steps of a small discriminator, as a penalty sees them; step `number` is always the same."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            for parameter in self.discriminator.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=random))

    def judgement(self, number: int, needs_scores: bool) -> Judgement:
        """What a penalty is called with in one step; scores are there only if it needs them, as in a game."""
        random = torch.Generator().manual_seed(number)
        real, fake = (
            Batch(torch.randn(6, 1, 4, 4, generator=random), torch.arange(6) % CLASSES) for _ in range(2)
        )

        def score(images: Tensor, labels: Tensor | None) -> Tensor:
            return self.discriminator(images)

        scores = (score(real.images, None), score(fake.images, None)) if needs_scores else None
        return Judgement(score, real, fake, random, scores, images=6 * number)


def says_when_it_is_due(penalty: Checked) -> None:
    """It has a `name`, says in which rounds it is due (`every`), and whether it needs scores."""
    made = penalty.made
    if made.name != penalty.name:
        raise NotKept(
            f"it was added as '{penalty.name}' and its name is '{made.name}', under which it is logged and saved: "
            "give it the same name."
        )
    if not isinstance(made.needs_scores, bool):
        raise NotKept(f"needs_scores is {made.needs_scores!r}: say True or False.")


def is_a_number_with_a_gradient(penalty: Checked) -> None:
    """It is a number with a gradient for the discriminator's weights, in several steps one after the other."""
    made, steps, moved = penalty.made, Steps(), False
    for number in range(3):
        judgement = steps.judgement(number, made.needs_scores)
        before = judgement.real.images.clone(), judgement.fake.images.clone()
        value = made(judgement)
        if not isinstance(value, Tensor) or value.dim() != 0 or not torch.isfinite(value):
            raise NotKept(f"it is {value!r} in step {number + 1}: give one finite number, e.g. a mean over the batch.")
        if not torch.equal(before[0], judgement.real.images) or not torch.equal(before[1], judgement.fake.images):
            raise NotKept("it changes the images that it gets, which are used elsewhere too: work on a copy.")
        if value.requires_grad:
            weights = list(steps.discriminator.parameters())
            given = torch.autograd.grad(value, weights, allow_unused=True)
            if not all(gradient is None or gradient.isfinite().all() for gradient in given):
                raise NotKept(f"its gradient by the discriminator's weights is not finite in step {number + 1}.")
            moved = moved or any(gradient is not None and gradient.any() for gradient in given)
    if not moved:
        raise NotKept(
            "the discriminator's weights get no gradient from it: compute it from judgement.score(images, labels), or "
            "from judgement.real_scores and fake_scores with needs_scores = True, and do not detach the result."
        )


def draws_from_what_it_is_given(penalty: Checked) -> None:
    """The same step gives the same number: it draws only from the random numbers that it is given."""
    steps, before = Steps(), torch.get_rng_state()
    one, other = (made(steps.judgement(0, made.needs_scores)) for made in (penalty.made, penalty.made))
    if not torch.equal(one, other) or not torch.equal(before, torch.get_rng_state()):
        raise NotKept("the same step gives different numbers: draw random numbers only from judgement.random.")


def remembers_by_its_state(penalty: Checked) -> None:
    """A penalty with another one's state, or a copy of it, gives the same numbers from then on."""
    made, steps = penalty.made, Steps()
    for number in range(3):
        made(steps.judgement(number, made.needs_scores))
    copied, fresh = copy.deepcopy(made), penalty.made
    loading: Any = fresh
    if hasattr(made, "state_dict"):
        loading.load_state_dict(_copied(made.state_dict()))  # type: ignore[attr-defined]
    values = [one(steps.judgement(3, one.needs_scores)).detach() for one in (made, copied, fresh)]
    if not torch.equal(values[0], values[1]):
        raise NotKept(
            "a copy of it (copy.deepcopy, as every discriminator gets one) gives other numbers than the original."
        )
    if not torch.equal(values[0], values[2]):
        missing = "has no state_dict()" if not hasattr(made, "state_dict") else "does not save all that it remembers"
        raise NotKept(
            f"after three steps it remembers something, but {missing}: give it state_dict() and load_state_dict(state) "
            "with everything that it remembers, so that a run can be resumed."
        )
    if not hasattr(made, "state_dict"):
        raise NotAsked("it remembers nothing.")


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().clone()
    return {key: _copied(value) for key, value in state.items()} if isinstance(state, dict) else copy.deepcopy(state)


WHERE = "frugan.penalties, Penalty"

CONTRACT = Contract("penalty", penalties.names, Checked, (
    Requirement(says_when_it_is_due, WHERE),
    Requirement(is_a_number_with_a_gradient, WHERE, (says_when_it_is_due,)),
    Requirement(draws_from_what_it_is_given, f"{WHERE}; Judgement.random", (is_a_number_with_a_gradient,)),
    Requirement(remembers_by_its_state, WHERE, (is_a_number_with_a_gradient,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (is_a_number_with_a_gradient,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
), shared=lambda penalty: hasattr(penalty.made, "state_dict"))  # fmt: skip
