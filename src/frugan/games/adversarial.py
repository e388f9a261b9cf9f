"""The adversarial game: a generator against a discriminator that tells its images from real ones.

Goodfellow et al. 2014 (arXiv 1406.2661), as DCGAN plays it: the discriminator judges a real and a fake batch apart
(batch norm must not mix them), then the generator is trained through it. There is no conditional variant: labels
travel in the batch, and a discriminator that takes labels judges a fake with the label that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Progress, Shipped, Update, Variant, labels_for, settle
from frugan.games._pair import Pair, accuracies, order
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError


class Adversarial:
    """One generator and one discriminator, trained in turn.

    Args:
        generator: latents ``[n, size]`` -> images; discriminator: images -> ``{"score": logits}``.
        batch_size: real images in each discriminator step, over all processes; as many fakes.
        latents, loss, penalties, augment: values, see their modules.
        discriminator_steps: how often the discriminator is trained in a round, on fresh images each time.
        fresh_latents: give the generator new latents for its own step; otherwise the last fake batch serves both.
        labels: "real" makes fakes with the labels of the real batch, "uniform" draws them evenly.
    """

    streams = ("train",)

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
        discriminator_steps: int = 1,
        fresh_latents: bool = False,
        labels: str = "real",
    ) -> None:
        if discriminator_steps < 1:
            raise UserError(f"game.discriminator_steps={discriminator_steps}: accepted is a whole number from 1.")
        self.pair = Pair(generator, discriminator, batch_size, latents, tuple(augment), labels)
        self.networks = self.pair.networks()
        self.loss = loss
        self.penalties = tuple(penalties)
        self.discriminator_steps = discriminator_steps
        self.fresh_latents = fresh_latents

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of the generator."""
        for turn in range(self.discriminator_steps - 1):
            real = batches.take("train", self.pair.batch_size)
            fake = self.pair.fake(real, progress, f"latents.{turn}", graph=False)
            self._train_discriminator(real, fake, progress, update, turn)
        last = self.discriminator_steps - 1
        real = batches.take("train", self.pair.batch_size)
        # The fake batch of the last turn also serves the generator: it is made once, with its graph.
        fake = self.pair.fake(real, progress, f"latents.{last}", graph=not self.fresh_latents)
        scalars = self._train_discriminator(real, fake, progress, update, last)
        if self.fresh_latents:
            fake = self.pair.fake(real, progress, "latents.generator")
        return scalars | self._train_generator(real, fake, progress, update)

    def _train_discriminator(
        self, real: Batch, fake: Batch, progress: Progress, update: Update, turn: int
    ) -> dict[str, Tensor]:
        fake = Batch(fake.images.detach(), fake.labels)
        seen: dict[str, Tensor] = {}

        def adversarial() -> Tensor:
            real_score = self.pair.judge(real, progress, f"real.{turn}")
            fake_score = self.pair.judge(fake, progress, f"fake.{turn}")
            seen.update(accuracies(self.loss, real_score, fake_score))
            return self.loss.discriminator(real_score, fake_score, random=progress.generator(f"targets.{turn}"))

        discriminator = self.pair.discriminator

        def penalty(of: Penalty) -> Tensor:
            condition = labels_for(discriminator, real.labels if of.points in ("real", "around") else fake.labels)
            random = progress.generator(f"penalty.{of.name}.{turn}")
            return of(lambda images: discriminator(images, condition)["score"], real.images, fake.images, random)

        due = [of for of in self.penalties if progress.rounds % of.every == 0]
        values = update("discriminator", adversarial, *(lambda of=of: penalty(of) for of in due))
        seen["discriminator.loss"] = values[0]
        seen.update({f"discriminator.{of.name}": value for of, value in zip(due, values[1:], strict=True)})
        return seen

    def _train_generator(self, real: Batch, fake: Batch, progress: Progress, update: Update) -> dict[str, Tensor]:
        def adversarial() -> Tensor:
            fake_score = self.pair.judge(fake, progress, "fake.generator")
            real_score = self.pair.judge(real, progress, "real.generator") if self.loss.needs_real else None
            return self.loss.generator(fake_score, real_score, random=progress.generator("targets.generator"))

        return {"generator.loss": update("generator", adversarial)[0]}

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
        return self.pair.sample(networks, like, seed)

    def shipped(self) -> dict[str, Shipped]:
        """The generator."""
        return {"generator": Shipped("generator")}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Recompute virtual batch norm's reference statistics, where there are any."""
        settle(network, seed)


variant = Variant(Adversarial, order)
