"""What games between one generator and one discriminator share: how a fake batch is made, judged and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep
from frugan.games import Order, Progress, Shipped, labels_for
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError, suggest

LABELS = ("real", "uniform")


@dataclass(frozen=True)
class Pair:
    """A generator and a discriminator, and how their batches are made and judged; arguments as of `Adversarial`."""

    generator: nn.Module
    discriminator: nn.Module
    batch_size: int
    latents: Latents
    loss: AdversarialLoss
    penalties: Mapping[str, Penalty]
    augment: Sequence[Augmentation]
    labels: str

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise UserError(f"game.labels={self.labels}: {suggest(self.labels, LABELS)}")

    def check_attributes(self) -> None:
        """Raise UserError where labels are drawn as classes are: not of data with attributes."""
        if self.labels == "uniform":
            raise UserError(
                "game.labels=uniform draws one class for each image, but these data have attributes. Give "
                "game.labels=real."
            )

    def networks(self) -> dict[str, nn.Module]:
        """Both networks by name."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def fake(self, real: Batch, progress: Progress, name: str, graph: bool = True) -> Batch:
        """A fake batch as large as the real one, with its labels or labels drawn evenly; `graph` keeps gradients."""
        random = progress.generator(name)
        latents = progress.share(self.latents.draw(self.batch_size, random)).to(real.images.device, non_blocking=True)
        labels = real.labels
        if labels is not None and self.labels == "uniform":
            if labels.dim() == 2:
                self.check_attributes()
            classes = max(getattr(network, "classes", 0) for network in (self.generator, self.discriminator))
            drawn = torch.randint(max(classes, 1), (self.batch_size,), generator=random)
            labels = progress.share(drawn).to(labels.device, non_blocking=True)
        with torch.set_grad_enabled(graph):
            return Batch(self.generator(latents, labels_for(self.generator, labels)), labels)

    def score(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's logits for images as they are."""
        return self.discriminator(images, labels_for(self.discriminator, labels))["score"]

    def judge(self, batch: Batch, progress: Progress, name: str) -> Tensor:
        """The discriminator's logits for a batch, augmented as every image that it sees."""
        return self.score(self.augmented(batch.images, progress, name), batch.labels)

    def augmented(self, images: Tensor, progress: Progress, name: str) -> Tensor:
        """Images as the discriminator sees them."""
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{name}.{number}"))
        return images

    def begin_step(self, real: Batch, fake: Batch, progress: Progress, turn: int | str) -> DiscriminatorStep:
        """One step of the discriminator, on fakes without gradients to the generator; `turn` names it in its round."""
        cut = Batch(fake.images.detach(), fake.labels)
        return DiscriminatorStep(self.loss, self.penalties, self.score, real, cut, progress, f"{turn}")

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
        generator = networks["generator"]
        latents = self.latents.rows(0, like.count, seed).to(like.images.device)
        return generator(latents, labels_for(generator, like.labels))


def order(**options: object) -> dict[str, Order]:
    """A decoder that makes images and an encoder that scores them."""
    return {"generator": Order("decoder"), "discriminator": Order("encoder", {"score": 1})}


def shipped() -> dict[str, Shipped]:
    """The generator."""
    return {"generator": Shipped("generator")}
