"""The adversarial game: a generator against a discriminator that tells its images from real ones.

Goodfellow et al. 2014 (arXiv 1406.2661), as DCGAN plays it: the discriminator judges a real and a fake batch apart
(batch norm must not mix them), then the generator is trained through it. There is no conditional variant: labels
travel in the batch, and a discriminator that takes labels judges a fake with the label that it was made with.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name, check_steps
from frugan.games import Batches, Progress, Update, Variant, settle
from frugan.games._pair import Pair, order, shipped
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty


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
        discriminator_steps: int = 1,
        fresh_latents: bool = False,
        labels: str = "real",
    ) -> None:
        check_steps(discriminator_steps)
        self.penalties = by_name(penalties)
        self.pair = Pair(generator, discriminator, batch_size, latents, loss, self.penalties, tuple(augment), labels)
        self.networks = self.pair.networks()
        self.sample = self.pair.sample
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
        step = self.pair.begin_step(real, fake, progress, turn)

        def adversarial() -> Tensor:
            real_scores = self.pair.judge(step.real, progress, f"real.{turn}")
            fake_scores = self.pair.judge(step.fake, progress, f"fake.{turn}")
            return step.loss(real_scores, fake_scores, progress.generator(f"targets.{turn}"))

        update("discriminator", adversarial, *step.further())
        return step.reported()

    def _train_generator(self, real: Batch, fake: Batch, progress: Progress, update: Update) -> dict[str, Tensor]:
        loss = self.pair.loss

        def adversarial() -> Tensor:
            fake_scores = self.pair.judge(fake, progress, "fake.generator")
            real_scores = self.pair.judge(real, progress, "real.generator") if loss.needs_real else None
            return loss.generator(fake_scores, real_scores, random=progress.generator("targets.generator"))

        return {"generator.loss": update("generator", adversarial)[0]}


variant = Variant(Adversarial, order)
