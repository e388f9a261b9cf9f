"""StarGAN's game on two data sets with different labels, each of which the other lacks.

Choi et al. 2018 (arXiv 1711.09020, section 3.3): the generator's condition is the labels of one set, zeros for those of
the other, and a mask that says which are meant; the discriminator has an output for either. In every turn the first set
is played, then the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name
from frugan.games import Batches, Classes, LabelLayout, Order, Progress, Shipped, Update, Variant, settle
from frugan.games._domains import ROWS, Domains, Rules, targets
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError


class StarJoint:
    """A translator and a discriminator with the outputs ``score``, ``first`` and ``second``.

    Arguments as for `Star`; `batch_size` images of each set in each step.
    """

    streams = ("first", "second")
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
        outputs: Mapping[str, int] = getattr(discriminator, "outputs", {})
        if not {"first", "second"} <= set(outputs):
            raise UserError("The game 'star_joint' needs a discriminator with the outputs 'first' and 'second'.")
        one, two = outputs["first"], outputs["second"]
        if getattr(generator, "classes", 0) != one + two + 2:
            raise UserError(
                f"The game 'star_joint' needs a generator with a condition of {one} + {two} labels and 2 more values "
                "(a mask)."
            )
        self.penalties = by_name(penalties)
        self.rules = Rules(
            "star_joint", generator, discriminator, batch_size, loss, self.penalties, tuple(augment),
            discriminator_steps, classification, reconstruction,
        )
        self.networks = self.rules.networks()
        self.domains = {
            "first": Domains("first", "first", one, 0, two, (1.0, 0.0)),
            "second": Domains("second", "second", two, one, 0, (0.0, 1.0)),
        }

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: both sets in each of `discriminator_steps` turns, in the last the generator after each."""
        return self.rules.step([*self.domains.values()], batches, progress, update)

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """The images of `like`, of the first set, translated to its labels."""
        return self.rules.sample(networks, like, self.domains["first"])

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """For each of the first set's first images a row: the image, then each target of the first and the second set.

        Of the second set's attributes each is asked for alone, since an image of the first has none of its labels.
        """
        images, labels = first["first"].images[:ROWS], self.rules.labels_of(first["first"])
        others = self.rules.labels_of(first["second"])
        one, two = self.domains.values()
        conditions = [one.condition(target) for target in targets(labels[:ROWS], one.size, first["first"].exclusive)]
        none = torch.zeros((len(images), *others.shape[1:]), dtype=others.dtype, device=others.device)
        conditions += [two.condition(target) for target in targets(none, two.size)]
        return self.rules.rows(networks, images, conditions)

    def shipped(self) -> dict[str, Shipped]:
        """The translator, and where its condition has the labels of each set."""
        layouts = tuple(LabelLayout(one.stream, one.before, one.after, one.mask) for one in self.domains.values())
        return {"translator": Shipped("generator", label_layouts=layouts)}


def order(**options: object) -> dict[str, Order]:
    """A translator conditioned on both sets' labels and a mask, and an encoder that classifies either set."""
    outputs: dict[str, int | Classes] = {"score": 1, "first": Classes(("first",)), "second": Classes(("second",))}
    return {
        "generator": Order("translator", condition=Classes(("first", "second"), more=2)),
        "discriminator": Order("encoder", outputs),
    }


variant = Variant(StarJoint, order)
