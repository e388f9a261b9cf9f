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
from frugan.games import Batches, Progress, Shipped, Update, Variant, settle
from frugan.games._pair import Pair, accuracies, order
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
        self.pair = Pair(generator, discriminator, batch_size, latents, tuple(augment), labels)
        self.networks = self.pair.networks()
        self.loss = loss

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: one forward pass of everything, two gradients, two steps."""
        pair = self.pair
        real = batches.take("train", pair.batch_size)

        @functools.cache
        def scores() -> tuple[Tensor, Tensor]:
            fake = pair.fake(real, progress, "latents.0")
            return pair.judge(real, progress, "real.0"), pair.judge(fake, progress, "fake.0")

        def discriminator_loss() -> Tensor:
            real_score, fake_score = scores()
            return self.loss.discriminator(real_score, fake_score, random=progress.generator("targets.0"))

        def generator_loss() -> Tensor:
            real_score, fake_score = scores()
            random = progress.generator("targets.generator")
            return self.loss.generator(fake_score, real_score.detach(), random=random)

        values = update.together({"discriminator": discriminator_loss, "generator": generator_loss})
        losses = {"discriminator.loss": values["discriminator"], "generator.loss": values["generator"]}
        return losses | accuracies(self.loss, *scores())

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
        return self.pair.sample(networks, like, seed)

    def shipped(self) -> dict[str, Shipped]:
        """The generator."""
        return {"generator": Shipped("generator")}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Recompute virtual batch norm's reference statistics, where there are any."""
        settle(network, seed)


variant = Variant(Simultaneous, order)
