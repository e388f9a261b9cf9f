"""StarGAN's game: one translator for all domains of a data set.

Choi et al. 2018 (arXiv 1711.09020), as the authors' code trains it: the discriminator tells real from fake and
classifies the domain (eq. 2); the generator translates to labels of other images (eq. 3), and back again (eq. 4). With
the loss `wgan` and the penalty `wgan_gp` this is what the paper used; ``loss=minimax`` is its eq. 1. As in that code,
the penalty takes the slope of the sum of an image's scores, though the loss takes their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name
from frugan.games import Batches, Classes, Order, Progress, Shipped, Update, Variant, settle
from frugan.games._domains import ROWS, Domains, Rules, targets
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError


class Star:
    """A translator conditioned on labels, and a discriminator with the outputs ``score`` and ``classes``.

    Args:
        generator: images, and labels ``[n]`` or bits ``[n, classes]`` -> images; discriminator: images -> outputs.
        batch_size: real images in each step, over all processes.
        latents: not used here.
        loss, penalties: values, see their modules.
        augment: applied once to each real batch, before any network sees it.
        discriminator_steps: how often the discriminator is trained in a round, on fresh images each time; the
            generator then on the last of them.
        classification, reconstruction: weights of these losses.
    """

    streams = ("train",)
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
        discriminator_steps: Times = 5,
        classification: float = 1.0,
        reconstruction: float = 10.0,
    ) -> None:
        size = getattr(generator, "classes", 0)
        if not size:
            raise UserError("The game 'star' needs a generator that takes labels: generator.labels=true.")
        self.penalties = by_name(penalties)
        self.rules = Rules(
            "star", generator, discriminator, batch_size, loss, self.penalties, tuple(augment), discriminator_steps,
            classification, reconstruction,
        )
        self.networks = self.rules.networks()
        self.domains = Domains("train", "classes", size)

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of the generator on the last batch."""
        return self.rules.step([self.domains], batches, progress, update)

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """The images of `like` translated to its labels."""
        return self.rules.sample(networks, like, self.domains)

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """For each of the first images a row: the image, then what becomes of it for each target."""
        images, labels = first["train"].images[:ROWS], self.rules.labels_of(first["train"])
        wanted = targets(labels[:ROWS], self.domains.size, first["train"].exclusive)
        return self.rules.rows(networks, images, [self.domains.condition(target) for target in wanted])

    def shipped(self) -> dict[str, Shipped]:
        """The translator; the discriminator can read an image's labels."""
        return {"translator": Shipped("generator", reader="discriminator")}


def order(**options: object) -> dict[str, Order]:
    """A translator conditioned on labels, and an encoder that scores and classifies images."""
    classes = Classes(("train",))
    return {
        "generator": Order("translator", condition=classes),
        "discriminator": Order("encoder", {"score": 1, "classes": classes}),
    }


variant = Variant(Star, order)
