"""What games of StarGAN's kind share: one translator for several domains, a discriminator that also names the domain.

Choi et al. 2018 (arXiv 1711.09020), as the authors' code trains it. Labels ``[n]`` are one of K domains; bits
``[n, K]`` are attributes, of which an image may have any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, check_steps, judge
from frugan.games import Batches, Progress, Update
from frugan.losses import AdversarialLoss, classification
from frugan.penalties import Penalty
from frugan.registry import UserError

ROWS = 8
"""How many images a preview shows."""


@dataclass(frozen=True)
class Domains:
    """The labels of one stream: the discriminator's output that predicts them, and their place in the condition.

    The generator's condition is `before` zeros, the `size` label bits, `after` zeros (these are the labels of other
    streams), then the `mask`, which says whose labels are meant.
    """

    stream: str
    output: str
    size: int
    before: int = 0
    after: int = 0
    mask: tuple[float, ...] = ()

    def condition(self, labels: Tensor) -> Tensor:
        """The generator's condition ``[n, before + size + after + mask]`` for labels ``[n]`` or bits ``[n, size]``."""
        bits = labels if labels.dim() == 2 else torch.nn.functional.one_hot(labels, self.size)
        count, device = len(bits), bits.device
        parts = [
            torch.zeros(count, self.before, device=device), bits.float(), torch.zeros(count, self.after, device=device),
            *(torch.full((count, 1), value, device=device) for value in self.mask),
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
    """How a round is played on one stream or several, and its results shown; see `Star` for the arguments."""

    game: str
    generator: nn.Module
    discriminator: nn.Module
    batch_size: int
    loss: AdversarialLoss
    penalties: Mapping[str, Penalty]
    augment: Sequence[Augmentation]
    discriminator_steps: int
    classification: float
    reconstruction: float

    def __post_init__(self) -> None:
        check_steps(self.discriminator_steps)

    def networks(self) -> dict[str, nn.Module]:
        """Both networks by name."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def step(
        self, every: Sequence[Domains], batches: Batches, progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        """One round: `discriminator_steps` turns, each over all streams; in the last one the generator as well.

        Returns the last turn's scalars, each the mean over the streams.
        """
        of_streams: list[dict[str, Tensor]] = []
        for turn in range(self.discriminator_steps):
            of_streams = []
            for domains in every:
                real = self._take(batches, progress, domains, turn)
                wanted = self._targets(real, progress, domains, turn)
                values = self._train_discriminator(real, wanted, progress, update, domains, turn)
                if turn == self.discriminator_steps - 1:
                    values |= self._train_generator(real, wanted, progress, update, domains)
                of_streams.append(values)
        return {name: torch.stack([values[name] for values in of_streams]).mean() for name in of_streams[0]}

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, domains: Domains) -> Tensor:
        """The images of `like` translated to its labels, those of one stream."""
        return networks["generator"](like.images, domains.condition(self.labels_of(like)))

    def rows(
        self, networks: Mapping[str, nn.Module], images: Tensor, conditions: Sequence[Tensor]
    ) -> tuple[Tensor, int]:
        """Rows of pictures: each image, then its translation for each of `conditions`. Also how many are in a row."""
        made = [networks["generator"](images, one) for one in conditions]
        return torch.stack([images, *made], dim=1).flatten(0, 1), 1 + len(made)

    def labels_of(self, batch: Batch) -> Tensor:
        """The labels of a batch. Raises UserError if it has none."""
        if batch.labels is None:
            raise UserError(f"The game '{self.game}' translates images to labels, but no labels were given.")
        return batch.labels

    def _take(self, batches: Batches, progress: Progress, domains: Domains, turn: int) -> Batch:
        """The next images of a stream, augmented once, before any network sees them."""
        real = batches.take(domains.stream, self.batch_size)
        if real.labels is None:
            raise UserError(
                "This game translates between labels, but these data have none. Use data with labels (see frugan data "
                "list)."
            )
        images = real.images
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{domains.stream}.{turn}.{number}"))
        return Batch(images, real.labels)

    def _targets(self, real: Batch, progress: Progress, domains: Domains, turn: int) -> Tensor:
        """The labels of this process's images in another order, so that targets are as frequent as labels."""
        labels = self.labels_of(real)
        order = torch.randperm(real.count, generator=progress.generator(f"targets.{domains.stream}.{turn}"))
        return labels[order.to(labels.device, non_blocking=True)]

    def _train_discriminator(
        self, real: Batch, wanted: Tensor, progress: Progress, update: Update, domains: Domains, turn: int
    ) -> dict[str, Tensor]:
        """One step: learn to tell real from fake, and to classify the domain of real images."""
        labels, place = self.labels_of(real), f"{domains.stream}.{turn}"
        with torch.no_grad():
            fake = Batch(self.generator(real.images, domains.condition(wanted)), wanted)

        def score(images: Tensor, labels: Tensor | None) -> Tensor:
            return self.discriminator(images)["score"]

        step = DiscriminatorStep(self.loss, self.penalties, score, real, fake, progress, place)

        def judged() -> Tensor:
            of_real, of_fake = judge(self.discriminator, real.images, fake.images)
            named = classification(of_real[domains.output], labels)
            step.values["classification"] = named.detach()
            adversarial = step.loss(of_real["score"], of_fake["score"], progress.generator(f"loss.{place}"))
            return adversarial + self.classification * named

        update("discriminator", judged, *step.further())
        return step.reported()

    def _train_generator(
        self, real: Batch, wanted: Tensor, progress: Progress, update: Update, domains: Domains
    ) -> dict[str, Tensor]:
        """One step: learn fakes that score as real, are classified as wanted, and translate back to the original."""
        labels = self.labels_of(real)
        scalars: dict[str, Tensor] = {}

        def judged() -> Tensor:
            fake = self.generator(real.images, domains.condition(wanted))
            of_fake = self.discriminator(fake)
            of_real = self.discriminator(real.images)["score"] if self.loss.needs_real else None
            random = progress.generator(f"loss.{domains.stream}.generator")
            adversarial = self.loss.generator(of_fake["score"], of_real, random=random)
            named = classification(of_fake[domains.output], wanted)
            back = (self.generator(fake, domains.condition(labels)).float() - real.images).abs().mean()
            parts = {"loss": adversarial, "classification": named, "reconstruction": back}
            scalars.update({f"generator.{name}": value.detach() for name, value in parts.items()})
            return adversarial + self.classification * named + self.reconstruction * back

        update("generator", judged)
        return scalars
