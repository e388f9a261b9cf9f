"""StarGAN's game on two data sets with different labels, each of which the other lacks.

Choi et al. 2018 (arXiv 1711.09020, section 3.3): the generator is told the labels of one set, zeros for those of the
other, and a mask that says which are meant; the discriminator has an output for either. In every turn the first set is
played, then the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.games import Batches, Classes, Order, Progress, Shipped, Told, Update, Variant, settle
from frugan.games._domains import Domains, Rules, check, targets
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError

ROWS = 8


class StarJoint:
    """A translator and a discriminator with the outputs ``score``, ``first`` and ``second``.

    Arguments as for `Star`; `batch_size` images of each set in each step.
    """

    streams = ("first", "second")

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
        outputs: Mapping[str, int] = getattr(discriminator, "outputs", {})
        if not {"first", "second"} <= set(outputs):
            raise UserError("The game 'star_joint' needs a discriminator that says its outputs 'first' and 'second'.")
        one, two = outputs["first"], outputs["second"]
        if getattr(generator, "classes", 0) != one + two + 2:
            raise UserError(f"The game 'star_joint' needs a generator that is told {one} + {two} labels and 2 more.")
        check(discriminator_steps)
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.batch_size = batch_size
        self.rules = Rules(
            generator, discriminator, loss, tuple(penalties), tuple(augment), classification, reconstruction
        )
        self.discriminator_steps = discriminator_steps
        self.domains = {
            "first": Domains("first", "first", one, 0, two, (1.0, 0.0)),
            "second": Domains("second", "second", two, one, 0, (0.0, 1.0)),
        }

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: both sets in each of `discriminator_steps` turns, in the last the generator after each."""
        rules = self.rules
        scalars: dict[str, Tensor] = {}
        for turn in range(self.discriminator_steps):
            played = []
            for domains in self.domains.values():
                real = rules.take(batches, progress, domains, self.batch_size, turn)
                wanted = rules.targets(real, progress, domains, turn)
                values = rules.train_discriminator(real, wanted, progress, update, domains, turn)
                if turn == self.discriminator_steps - 1:
                    values |= rules.train_generator(real, wanted, progress, update, domains)
                played.append(values)
            scalars = {name: (played[0][name] + played[1][name]) / 2 for name in played[0]}
        return scalars

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """The images of `like`, of the first set, translated to its labels."""
        if like.labels is None:
            raise UserError("The game 'star_joint' translates images to labels; none were given.")
        return networks["generator"](like.images, self.domains["first"].told(like.labels))

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """For each of the first set's first images a row: the image, then each target of the first and the second set.

        Of the second set's attributes each is asked for alone, since an image of the first has none of its labels.
        """
        images, labels, others = first["first"].images[:ROWS], first["first"].labels, first["second"].labels
        if labels is None or others is None:
            raise UserError("The game 'star_joint' translates images to labels; none were given.")
        one, two = self.domains.values()
        told = [one.told(target) for target in targets(labels[:ROWS], one.size, first["first"].exclusive)]
        none = torch.zeros((len(images), *others.shape[1:]), dtype=others.dtype, device=others.device)
        told += [two.told(target) for target in targets(none, two.size)]
        made = [networks["generator"](images, one_told) for one_told in told]
        return torch.stack([images, *made], dim=1).flatten(0, 1), 1 + len(made)

    def shipped(self) -> dict[str, Shipped]:
        """The translator, and how it is told which set is meant."""
        told = tuple(Told(one.stream, one.before, one.after, one.mask) for one in self.domains.values())
        return {"translator": Shipped("generator", told=told)}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Nothing here follows from the weights, unless a network of one's own says so."""
        settle(network, seed)


def order(**options: object) -> dict[str, Order]:
    """A translator that is told both sets' labels and a mask, and an encoder that names either's."""
    outputs: dict[str, int | Classes] = {"score": 1, "first": Classes(("first",)), "second": Classes(("second",))}
    return {
        "generator": Order("translator", condition=Classes(("first", "second"), more=2)),
        "discriminator": Order("encoder", outputs),
    }


variant = Variant(StarJoint, order)
