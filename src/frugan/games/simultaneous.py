"""The adversarial game played simultaneously: both gradients from one shared forward pass, then both steps.

This is how TensorFlow's DCGAN tutorial trains (two gradient tapes over one forward pass, both applied afterwards), and
with it the factorised project's MNIST and EMNIST nets. Against `adversarial`, where the generator meets the
discriminator that has just been updated, it saves one pass through the discriminator; there are no penalties on slopes,
which would be passes of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.discriminating import by_name
from frugan.games import Batches, Progress, Update, Variant, settle
from frugan.games._pair import Pair, order, shipped
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError


class Simultaneous:
    """One generator and one discriminator, trained at the same moment; arguments as for `Adversarial`."""

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
        labels: str = "real",
    ) -> None:
        self.penalties = by_name(penalties)
        apart = [name for name, penalty in self.penalties.items() if not penalty.needs_scores]
        if apart:
            raise UserError(
                f"The game 'simultaneous' cannot use penalties that need passes of their own ({apart[0]}). Use "
                "game=adversarial."
            )
        self.pair = Pair(generator, discriminator, batch_size, latents, loss, self.penalties, tuple(augment), labels)
        self.networks = self.pair.networks()
        self.sample, self.score_images = self.pair.sample, self.pair.score
        self.check_attributes = self.pair.check_attributes

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: one forward pass of everything, two gradients, two steps."""
        pair = self.pair
        real = batches.take("train", pair.batch_size)
        fake = pair.fake(real, progress, "latents.0")
        step = pair.begin_step(real, fake, progress, 0)

        @functools.cache
        def scores() -> tuple[Tensor, Tensor]:
            return pair.judge(real, progress, "real.0"), pair.judge(fake, progress, "fake.0")

        def discriminator_loss() -> Tensor:
            return step.loss(*scores(), progress.generator("targets.0"))

        def generator_loss() -> Tensor:
            real_scores, fake_scores = scores()
            random = progress.generator("targets.generator")
            return pair.loss.generator(fake_scores, real_scores.detach(), random=random)

        values = update.together({"discriminator": discriminator_loss, "generator": generator_loss})
        return {**step.reported(), "generator.loss": values["generator"]}


variant = Variant(Simultaneous, order)
