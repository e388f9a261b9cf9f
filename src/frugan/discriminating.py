"""How every game trains a discriminator: its loss, its penalties, and the numbers that are logged.

A game makes a `DiscriminatorStep` for every step, computes the scores as it likes, and hands both to `update`::

    step = DiscriminatorStep(loss, penalties, score, real, fake, progress, place="0")
    update("discriminator", lambda: step.loss(real_scores(), fake_scores(), random), *step.further())
    return step.reported()
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from frugan.batch import Batch
from frugan.losses import AdversarialLoss
from frugan.penalties import Judgement, Penalty
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.games import Loss, Progress


@dataclass(eq=False)
class DiscriminatorStep:
    """One step of one discriminator on a real and a fake batch; the numbers to log gather in `values`.

    The game computes the scores as it likes and hands them to `loss`; the losses that `further` gives are trained with
    it, in the same step.

    Attributes:
        penalties: those of this discriminator, by name; each is applied in the rounds in which it is due.
        score: ``(images, labels)`` -> logits, for penalties that try further images.
        real, fake: as `frugan.penalties.Judgement` says.
        place: a name for this step within the round, so that penalties draw other random numbers in each step.
        values: ``loss``, ``accuracy_real``, ``accuracy_fake`` and the penalties' names -> scalars without graph.
    """

    adversarial: AdversarialLoss
    penalties: Mapping[str, Penalty]
    score: Callable[[Tensor, Tensor | None], Tensor]
    real: Batch
    fake: Batch
    progress: Progress
    place: str
    values: dict[str, Tensor] = field(default_factory=dict)

    def loss(self, real_scores: Tensor, fake_scores: Tensor, random: torch.Generator) -> Tensor:
        """The adversarial loss of this step's logits, and the penalties that look at them."""
        takes_for_real = self.adversarial.takes_for_real
        self.values["accuracy_real"] = takes_for_real(real_scores.detach()).float().mean()
        self.values["accuracy_fake"] = 1 - takes_for_real(fake_scores.detach()).float().mean()
        total = self.adversarial.discriminator(real_scores, fake_scores, random=random)
        self.values["loss"] = total.detach()
        for name in self._due(needs_scores=True):
            total = total + self._priced(name, (_wide(real_scores), _wide(fake_scores)))
        return total

    def further(self) -> list[Loss]:
        """The penalties that do not need this step's scores, each as a separate loss."""
        return [lambda name=name: self._priced(name) for name in self._due(needs_scores=False)]

    def reported(self) -> dict[str, Tensor]:
        """The values under the names that they are logged by, of a game with one discriminator."""
        return {f"discriminator.{name}": value for name, value in self.values.items()}

    def _due(self, *, needs_scores: bool) -> list[str]:
        return [
            name for name, penalty in self.penalties.items()
            if penalty.needs_scores is needs_scores and self.progress.rounds % penalty.every == 0
        ]

    def _score(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The score, with labels widened to float32: in some games they are codes, which a network made in half
        precision, and slopes are taken in float32.
        """
        return self.score(images, None if labels is None else _wide(labels))

    def _priced(self, name: str, scores: tuple[Tensor, Tensor] | None = None) -> Tensor:
        random = self.progress.generator(f"penalty.{name}.{self.place}")
        judgement = Judgement(
            self._score, self.real, self.fake, random, scores, self.progress.images, self.progress.mean
        )
        price = self.penalties[name](judgement)
        self.values[name] = price.detach()
        return price


def by_name(penalties: Sequence[Penalty]) -> dict[str, Penalty]:
    """Penalties by name. Raises UserError if two have the same."""
    named = {penalty.name: penalty for penalty in penalties}
    if len(named) < len(penalties):
        listed = ", ".join(penalty.name for penalty in penalties)
        raise UserError(f"penalties: {listed}: one of them is given twice. Give it once, with the sum of both weights.")
    return named


def for_each(discriminators: Sequence[str], penalties: Sequence[Penalty]) -> dict[str, dict[str, Penalty]]:
    """Discriminator -> its own copies of the penalties by name, so that states do not mix. Raises as `by_name`."""
    named = by_name(penalties)
    return {discriminator: copy.deepcopy(named) for discriminator in discriminators}


def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A discriminator's outputs for real and for fake images ``[n, c, h, w]``.

    If its attribute `joins` is True, it gets both in one batch: one pass over its weights instead of two.
    """
    if not getattr(discriminator, "joins", False):
        return discriminator(real), discriminator(fake)
    together, count = discriminator(torch.cat([real, fake.to(real)])), len(real)
    return (
        {name: value[:count] for name, value in together.items()},
        {name: value[count:] for name, value in together.items()},
    )


def check_steps(steps: int) -> None:
    """Raise UserError unless a round has at least one step of the discriminator."""
    if steps < 1:
        raise UserError(f"game.discriminator_steps={steps}: give a whole number, 1 or more.")


def _wide(values: Tensor) -> Tensor:
    """At least float32: half-precision values are widened, double and whole ones stay."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
