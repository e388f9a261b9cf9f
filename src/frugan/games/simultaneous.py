"""The adversarial game played simultaneously: both gradients from one shared forward pass, then both steps.

This is how TensorFlow's DCGAN tutorial trains (two gradient tapes over one forward pass, both applied afterwards), and
with it the factorised project's MNIST and EMNIST nets. Against `adversarial`, where the generator meets the
discriminator that has just been updated, it saves one pass through the discriminator; there are no penalties.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Progress, Shipped, Update, Variant
from frugan.games.adversarial import Adversarial, order
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError


class Simultaneous:
    """One generator and one discriminator, trained at the same moment; arguments as for `Adversarial`."""

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
        labels: str = "real",
    ) -> None:
        if penalties:
            raise UserError("The game 'simultaneous' has no place for penalties; use game=adversarial.")
        self.pair = Adversarial(
            generator, discriminator, batch_size=batch_size, latents=latents, loss=loss, augment=augment, labels=labels
        )
        self.networks = self.pair.networks

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: one forward pass of everything, two gradients, two steps."""
        pair = self.pair
        real = batches.take("train", pair.batch_size)

        @functools.cache
        def scores() -> tuple[Tensor, Tensor]:
            fake = pair.fake(real, progress, "latents.0", graph=True)
            return pair.judge(real, progress, "real.0"), pair.judge(fake, progress, "fake.0")

        def discriminator_loss() -> Tensor:
            real_score, fake_score = scores()
            return pair.loss.discriminator(real_score, fake_score, random=progress.generator("targets.0"))

        def generator_loss() -> Tensor:
            real_score, fake_score = scores()
            random = progress.generator("targets.generator")
            return pair.loss.generator(fake_score, real_score.detach(), random=random)

        values = update.together({"discriminator": discriminator_loss, "generator": generator_loss})
        real_score, fake_score = scores()
        return {
            "discriminator.accuracy_real": (real_score.detach() > 0).float().mean(),
            "discriminator.accuracy_fake": (fake_score.detach() < 0).float().mean(),
            "discriminator.loss": values["discriminator"],
            "generator.loss": values["generator"],
        }

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """As `Adversarial.sample`."""
        return self.pair.sample(networks, like, seed)

    def shipped(self) -> dict[str, Shipped]:
        """The generator."""
        return self.pair.shipped()

    def settle(self, network: nn.Module, seed: int) -> None:
        """As `Adversarial.settle`."""
        self.pair.settle(network, seed)


variant = Variant(Simultaneous, order)
