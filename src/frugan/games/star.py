"""StarGAN's game: one translator for all domains of a data set.

Choi et al. 2018 (arXiv 1711.09020), as the authors' code trains it: the discriminator tells real from fake and names
the domain (eq. 2), the generator is asked for other images' labels (eq. 3) and must find the way back (eq. 4). With the
loss `wgan` and the penalty `wgan_gp` this is what the paper used; ``loss=minimax`` is its eq. 1. The penalty looks at
the sum of the scores of an image, as there, though the loss is their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Classes, Order, Progress, Shipped, Update, Variant, settle
from frugan.games._domains import Domains, Rules, check, targets
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError

ROWS = 8


class Star:
    """A translator that is told labels, and a discriminator with the outputs ``score`` and ``classes``.

    Args:
        generator: images, and labels ``[n]`` or bits ``[n, classes]`` -> images; discriminator: images -> outputs.
        batch_size: real images in each step, over all processes.
        latents: has no use here.
        loss, penalties: values, see their modules.
        augment: made once to each real batch before anybody sees it; what is made of it is changed alike.
        discriminator_steps: how often the discriminator is trained in a round, on fresh images each time; the
            generator then on the last of them.
        classification, reconstruction: weights of these losses.
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
        discriminator_steps: int = 5,
        classification: float = 1.0,
        reconstruction: float = 10.0,
    ) -> None:
        size = getattr(generator, "classes", 0)
        if not size:
            raise UserError("The game 'star' needs a generator that takes labels: generator.labels=true.")
        check(discriminator_steps)
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.batch_size = batch_size
        self.rules = Rules(
            generator, discriminator, loss, tuple(penalties), tuple(augment), classification, reconstruction
        )
        self.discriminator_steps = discriminator_steps
        self.domains = Domains("train", "classes", size)

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of the generator on the last batch."""
        rules, domains, scalars = self.rules, self.domains, {}
        for turn in range(self.discriminator_steps):
            real = rules.take(batches, progress, domains, self.batch_size, turn)
            wanted = rules.targets(real, progress, domains, turn)
            scalars = rules.train_discriminator(real, wanted, progress, update, domains, turn)
            if turn == self.discriminator_steps - 1:
                scalars |= rules.train_generator(real, wanted, progress, update, domains)
        return scalars

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """The images of `like` translated to its labels."""
        if like.labels is None:
            raise UserError("The game 'star' translates images to labels; none were given.")
        return networks["generator"](like.images, self.domains.told(like.labels))

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """For each of the first images a row: the image, then what becomes of it for each target."""
        images, labels = first["train"].images[:ROWS], first["train"].labels
        if labels is None:
            raise UserError("The game 'star' translates images to labels; none were given.")
        wanted = targets(labels[:ROWS], self.domains.size, first["train"].exclusive)
        made = [networks["generator"](images, self.domains.told(target)) for target in wanted]
        return torch.stack([images, *made], dim=1).flatten(0, 1), 1 + len(made)

    def shipped(self) -> dict[str, Shipped]:
        """The translator; the discriminator can read an image's labels."""
        return {"translator": Shipped("generator", reader="discriminator")}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Nothing here follows from the weights, unless a network of one's own says so."""
        settle(network, seed)


def order(**options: object) -> dict[str, Order]:
    """A translator that is told labels, and an encoder that scores images and names their classes."""
    classes = Classes(("train",))
    return {
        "generator": Order("translator", condition=classes),
        "discriminator": Order("encoder", {"score": 1, "classes": classes}),
    }


variant = Variant(Star, order)
