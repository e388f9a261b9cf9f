"""What games of StarGAN's kind share: one translator for several domains, a discriminator that also names the domain.

Choi et al. 2018 (arXiv 1711.09020), as the authors' code trains it. Labels ``[n]`` are one of K domains; bits
``[n, K]`` are attributes, of which an image may have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Progress, Update
from frugan.games._judge import judge
from frugan.losses import AdversarialLoss, classification
from frugan.penalties import Penalty
from frugan.registry import UserError


@dataclass(frozen=True)
class Domains:
    """The labels of one stream: the discriminator's output that names them, and their place in what the generator is
    told.

    Told are `size` label bits between zeros for the labels of other streams, then the mask: which stream's they are.
    """

    stream: str
    output: str
    size: int
    before: int = 0
    after: int = 0
    mask: tuple[float, ...] = ()

    def told(self, labels: Tensor) -> Tensor:
        """Labels ``[n]`` or bits ``[n, size]`` as the generator takes them, ``[n, before + size + after + mask]``."""
        bits = labels if labels.dim() == 2 else torch.nn.functional.one_hot(labels, self.size)
        parts = [
            torch.zeros(len(bits), self.before, device=bits.device), bits.float(),
            torch.zeros(len(bits), self.after, device=bits.device),
            torch.tensor(self.mask, device=bits.device).expand(len(bits), -1),
        ]
        return torch.cat(parts, dim=1)


def targets(labels: Tensor, size: int, exclusive: Sequence[Sequence[int]] = ()) -> list[Tensor]:
    """One batch of target labels for each of the `size` labels, made from the images' own.

    Of labels ``[n]``: every domain in turn. Of bits ``[n, size]``: target i has bit i inverted; if i belongs to a group
    of `exclusive` bits (hair colours), it is set and the others of the group are not.
    """
    if labels.dim() == 1:
        return [torch.full_like(labels, number) for number in range(size)]
    made = []
    for number in range(size):
        target = labels.clone()
        group = next((list(group) for group in exclusive if number in group), None)
        if group is None:
            target[:, number] = 1 - target[:, number]
        else:
            target[:, group] = 0
            target[:, number] = 1
        made.append(target)
    return made


@dataclass(frozen=True)
class Rules:
    """How both players are trained on a batch of one stream; see `Star` for the arguments."""

    generator: nn.Module
    discriminator: nn.Module
    loss: AdversarialLoss
    penalties: Sequence[Penalty]
    augment: Sequence[Augmentation]
    classification: float
    reconstruction: float

    def take(self, batches: Batches, progress: Progress, domains: Domains, count: int, turn: int) -> Batch:
        """The next images of a stream, changed once before anybody sees them."""
        real = batches.take(domains.stream, count)
        if real.labels is None:
            raise UserError("This game translates between labels, and the data have none; see frugan data list.")
        images = real.images
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{domains.stream}.{turn}.{number}"))
        return Batch(images, real.labels)

    def targets(self, real: Batch, progress: Progress, domains: Domains, turn: int) -> Tensor:
        """The batch's own labels in another order, so that targets are as frequent as labels."""
        assert real.labels is not None
        order = torch.randperm(real.count, generator=progress.generator(f"targets.{domains.stream}.{turn}"))
        return real.labels[order.to(real.labels.device)]

    def train_discriminator(
        self, real: Batch, wanted: Tensor, progress: Progress, update: Update, domains: Domains, turn: int
    ) -> dict[str, Tensor]:
        """One step: tell real from fake, and name the domain of the real images."""
        assert real.labels is not None
        labels = real.labels
        with torch.no_grad():
            fake = self.generator(real.images, domains.told(wanted))
        seen: dict[str, Tensor] = {}

        def judged() -> Tensor:
            of_real, of_fake = judge(self.discriminator, real.images, fake)
            takes = self.loss.takes_for_real
            seen["discriminator.accuracy_real"] = takes(of_real["score"].detach()).float().mean()
            seen["discriminator.accuracy_fake"] = 1 - takes(of_fake["score"].detach()).float().mean()
            random = progress.generator(f"loss.{domains.stream}.{turn}")
            named = classification(of_real[domains.output], labels)
            seen["discriminator.classification"] = named.detach()
            adversarial = self.loss.discriminator(of_real["score"], of_fake["score"], random=random)
            seen["discriminator.loss"] = adversarial.detach()
            return adversarial + self.classification * named

        def penalty(of: Penalty) -> Tensor:
            random = progress.generator(f"penalty.{of.name}.{domains.stream}.{turn}")
            return of(lambda images: self.discriminator(images)["score"], real.images, fake, random)

        due = [of for of in self.penalties if progress.rounds % of.every == 0]
        values = update("discriminator", judged, *(lambda of=of: penalty(of) for of in due))
        return seen | {f"discriminator.{of.name}": value for of, value in zip(due, values[1:], strict=True)}

    def train_generator(
        self, real: Batch, wanted: Tensor, progress: Progress, update: Update, domains: Domains
    ) -> dict[str, Tensor]:
        """One step: pass for real, be named as wanted, and find the way back."""
        assert real.labels is not None
        labels = real.labels
        seen: dict[str, Tensor] = {}

        def judged() -> Tensor:
            fake = self.generator(real.images, domains.told(wanted))
            of_fake = self.discriminator(fake)
            of_real = self.discriminator(real.images)["score"] if self.loss.needs_real else None
            random = progress.generator(f"loss.{domains.stream}.generator")
            adversarial = self.loss.generator(of_fake["score"], of_real, random=random)
            named = classification(of_fake[domains.output], wanted)
            back = (self.generator(fake, domains.told(labels)).float() - real.images).abs().mean()
            parts = {"loss": adversarial, "classification": named, "reconstruction": back}
            seen.update({f"generator.{name}": value.detach() for name, value in parts.items()})
            return adversarial + self.classification * named + self.reconstruction * back

        update("generator", judged)
        return seen


def check(steps: int) -> None:
    """Raise UserError for no discriminator steps in a round."""
    if steps < 1:
        raise UserError(f"game.discriminator_steps={steps}: accepted is a whole number from 1.")
