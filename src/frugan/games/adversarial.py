"""The adversarial game: a generator against a discriminator that tells its images from real ones.

Goodfellow et al. 2014 (arXiv 1406.2661), as DCGAN plays it: the discriminator judges a real and a fake batch apart
(batch norm must not mix them), then the generator is trained through it. There is no conditional variant: labels
travel in the batch, and a discriminator that takes labels judges a fake with the label that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Order, Progress, Shipped, Update, Variant, labels_for, settle
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
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.batch_size = batch_size
        self.latents = latents
        self.loss = loss
        self.penalties = tuple(penalties)
        self.augment = tuple(augment)
        self.discriminator_steps = discriminator_steps
        self.fresh_latents = fresh_latents
        self.labels = labels

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of the generator."""
        scalars: dict[str, Tensor] = {}
        for turn in range(self.discriminator_steps):
            last = turn == self.discriminator_steps - 1
            real = batches.take("train", self.batch_size)
            fake = self.fake(real, progress, f"latents.{turn}", graph=last and not self.fresh_latents)
            scalars |= self._train_discriminator(real, fake, progress, update, turn)
        if self.fresh_latents:
            fake = self.fake(real, progress, "latents.generator", graph=True)
        return scalars | self._train_generator(real, fake, progress, update)

    def fake(self, real: Batch, progress: Progress, name: str, graph: bool) -> Batch:
        """A fake batch as large as the real one, with its labels or with labels drawn evenly."""
        generator = self.networks["generator"]
        random = progress.generator(name)
        latents = progress.share(self.latents.draw(self.batch_size, random)).to(real.images.device)
        labels = real.labels
        if labels is not None and self.labels == "uniform":
            classes = max(getattr(network, "classes", 0) for network in self.networks.values())
            drawn = torch.randint(classes, (self.batch_size,), generator=random)
            labels = progress.share(drawn).to(labels.device)
        with torch.set_grad_enabled(graph):
            images = generator(latents, labels_for(generator, labels))
        return Batch(images, labels)

    def judge(self, batch: Batch, progress: Progress, name: str) -> Tensor:
        """The discriminator's logits for a batch, augmented as every image it sees."""
        images = batch.images
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{name}.{number}"))
        discriminator = self.networks["discriminator"]
        return discriminator(images, labels_for(discriminator, batch.labels))["score"]

    def _train_discriminator(
        self, real: Batch, fake: Batch, progress: Progress, update: Update, turn: int
    ) -> dict[str, Tensor]:
        fake = Batch(fake.images.detach(), fake.labels)
        seen: dict[str, Tensor] = {}

        def adversarial() -> Tensor:
            real_score = self.judge(real, progress, f"real.{turn}")
            fake_score = self.judge(fake, progress, f"fake.{turn}")
            seen["discriminator.accuracy_real"] = (real_score.detach() > 0).float().mean()
            seen["discriminator.accuracy_fake"] = (fake_score.detach() < 0).float().mean()
            return self.loss.discriminator(real_score, fake_score, random=progress.generator(f"targets.{turn}"))

        discriminator = self.networks["discriminator"]

        def penalty(of: Penalty) -> Tensor:
            labels = {"real": real.labels, "around": real.labels}.get(of.points, fake.labels)
            condition = labels_for(discriminator, labels)
            random = progress.generator(f"penalty.{of.name}.{turn}")
            return of(lambda images: discriminator(images, condition)["score"], real.images, fake.images, random)

        due = [of for of in self.penalties if progress.rounds % of.every == 0]
        values = update("discriminator", adversarial, *(lambda of=of: penalty(of) for of in due))
        seen["discriminator.loss"] = values[0]
        seen.update({f"discriminator.{of.name}": value for of, value in zip(due, values[1:], strict=True)})
        return seen

    def _train_generator(self, real: Batch, fake: Batch, progress: Progress, update: Update) -> dict[str, Tensor]:
        def adversarial() -> Tensor:
            fake_score = self.judge(fake, progress, "fake.generator")
            real_score = self.judge(real, progress, "real.generator") if self.loss.needs_real else None
            return self.loss.generator(fake_score, real_score, random=progress.generator("targets.generator"))

        return {"generator.loss": update("generator", adversarial)[0]}

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
        generator = networks["generator"]
        latents = self.latents.rows(0, like.count, seed).to(like.images.device)
        return generator(latents, labels_for(generator, like.labels))

    def shipped(self) -> dict[str, Shipped]:
        """The generator."""
        return {"generator": Shipped("generator")}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Recompute virtual batch norm's reference statistics, where there are any."""
        settle(network, seed)


def order(**options: object) -> dict[str, Order]:
    """A decoder that makes images and an encoder that scores them."""
    return {"generator": Order("decoder"), "discriminator": Order("encoder", {"score": 1})}


variant = Variant(Adversarial, order)
