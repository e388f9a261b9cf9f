"""InfoGAN: some latents are codes, and the discriminator finds them again in what the generator makes of them.

Chen et al. 2016 (arXiv 1606.03657). Generator and discriminator together make large what an image tells of its codes: a
lower bound of their mutual information, which is the log-likelihood of the codes under what is found, and the codes'
entropy (section 5). So codes come to mean what makes images differ: a class, a slant, a width. No labels are used.

The first latents are the codes: for each category as many as it has values, of which the largest is the value, then
the continuous ones. Generators of the architecture `infogan` see categories as ones and zeros; others see the latents
as they are drawn. A continuous code is found as the mean of a normal distribution of deviation 1, as in the authors'
code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import by_name
from frugan.games import Batches, Order, Progress, Shipped, Update, Variant, labels_for, settle
from frugan.games._pair import Pair
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Count, Repeats
from frugan.registry import UserError

COLUMNS, ROWS = 10, 4
"""Of the walks that are shown: values of each code, and images of other noise for the categories."""


class InfoGAN:
    """One generator and one discriminator, which also finds the codes.

    Args:
        generator: latents ``[n, size]`` -> images; discriminator: images -> the outputs that `order` asks of it.
        batch_size: real images in a step, over all processes; as many fakes.
        latents, loss, penalties, augment: values, see their modules.
        categories: the sizes of the categories, e.g. [10].
        continuous: how many latents after those are continuous codes.
        weight: of what is told of categories, the paper's lambda.
        continuous_weight: the same of continuous codes.
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
        categories: Sequence[Count] = (2,),
        continuous: Repeats = 1,
        weight: float = 1.0,
        continuous_weight: float = 0.1,
    ) -> None:
        _check_codes(categories, continuous)
        if sum(categories) + continuous > latents.size:
            raise UserError(
                f"game.categories={list(categories)} and game.continuous={continuous} are "
                f"{sum(categories) + continuous} latents, but there are {latents.size}. Give latents.size="
                f"{sum(categories) + continuous} or more."
            )
        for name, value in (("weight", weight), ("continuous_weight", continuous_weight)):
            if value < 0:
                raise UserError(f"game.{name}={value}: give 0 or more.")
        seen = getattr(getattr(generator, "entrance", None), "categories", None)
        if seen is not None and tuple(seen) != tuple(categories):
            raise UserError(
                f"The generator has categories={list(seen)}, but the game has {list(categories)}. Give both the same: "
                f"generator.categories={list(categories)}."
            )
        self.penalties = by_name(penalties)
        self.pair = Pair(generator, discriminator, batch_size, latents, loss, self.penalties, tuple(augment), "real")
        self.networks = self.pair.networks()
        self.sample = self.pair.sample
        self.categories, self.continuous = tuple(categories), continuous
        self.weight, self.continuous_weight = weight, continuous_weight

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: the discriminator, then the generator; both learn to tell the codes."""
        pair, told = self.pair, dict[str, Tensor]()
        real = batches.take("train", pair.batch_size)
        fake = pair.fake(real, progress, "latents")
        # The same numbers as the fakes were made of.
        drawn = progress.share(pair.latents.draw(pair.batch_size, progress.generator("latents")))
        codes = drawn.to(real.images.device, non_blocking=True)
        step = pair.begin_step(real, fake, progress, 0)

        def judging() -> Tensor:
            found = self._look(step.fake, progress, "fake")
            of_real = self._look(real, progress, "real")["score"]
            adversarial = step.loss(of_real, found["score"], progress.generator("targets"))
            return adversarial + self._untold(found, codes, told)

        def making() -> Tensor:
            found = self._look(fake, progress, "fake.generator")
            of_real = self._look(real, progress, "real.generator")["score"] if pair.loss.needs_real else None
            fooled = pair.loss.generator(found["score"], of_real, random=progress.generator("targets.generator"))
            told["generator.loss"] = fooled.detach()
            return fooled + self._untold(found, codes, {})

        update("discriminator", judging, *step.further())
        update("generator", making)
        return step.reported() | told

    def _look(self, batch: Batch, progress: Progress, name: str) -> dict[str, Tensor]:
        seen = self.pair.augmented(batch.images, progress, name)
        return self.pair.discriminator(seen, labels_for(self.pair.discriminator, batch.labels))

    def _untold(self, found: Mapping[str, Tensor], codes: Tensor, told: dict[str, Tensor]) -> Tensor:
        """What the images do not tell of the codes, weighted; `told` gets what they tell."""
        total = codes.new_zeros(())
        for name, of_category, size in self._parts(codes):
            if size:
                missing = functional.cross_entropy(found[name].float(), of_category.argmax(1))
                told[f"information.{name}"] = math.log(size) - missing.detach()
                total = total + self.weight * missing
            else:
                missing = 0.5 * (found[name].float() - of_category).square().sum(1).mean()
                told["information.error"] = (found[name].detach() - of_category).square().mean()
                total = total + self.continuous_weight * missing
        return total

    def _parts(self, codes: Tensor) -> list[tuple[str, Tensor, int]]:
        """Each output with the latents that it has to find, and the size of its category (0 for continuous ones)."""
        parts, begin = list[tuple[str, Tensor, int]](), 0
        for number, size in enumerate(self.categories):
            parts.append((f"category_{number}", codes[:, begin : begin + size], size))
            begin += size
        if self.continuous:
            parts.append(("continuous", codes[:, begin : begin + self.continuous], 0))
        return parts

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """Walks along each code, ten to a row: four rows through each category's values, and then two rows from end to
        end of each continuous code. All else is the same within a row; the noise is that of the first latents."""
        device, rows = first["train"].images.device, self.pair.latents.rows(0, ROWS, seed)
        low, high = (-2.0, 2.0) if self.pair.latents.distribution == "normal" else (-1.0, 1.0)
        walks, begin = [], 0
        for size in self.categories:
            walk = rows[:, None].repeat(1, COLUMNS, 1)
            walk[..., begin : begin + size] = low
            for column in range(COLUMNS):
                walk[:, column, begin + column % size] = high
            walks.append(walk)
            begin += size
        for number in range(self.continuous):
            walk = rows[:2, None].repeat(1, COLUMNS, 1)
            walk[..., begin + number] = torch.linspace(low, high, COLUMNS)
            walks.append(walk)
        latents = torch.cat([walk.flatten(0, 1) for walk in walks]).to(device)
        labels = first["train"].labels
        rest = Batch(latents, None if labels is None else labels[torch.arange(len(latents)) % len(labels)])
        return networks["generator"](latents, labels_for(networks["generator"], rest.labels)), COLUMNS

    def shipped(self) -> dict[str, Shipped]:
        """The generator, and the discriminator as an encoder of codes."""
        return {"generator": Shipped("generator"), "encoder": Shipped("discriminator")}


def _check_codes(categories: Sequence[int], continuous: int) -> None:
    if any(size < 2 for size in categories):
        raise UserError(f"game.categories={list(categories)}: give a list of sizes, 2 or more each, e.g. [10].")
    if continuous < 0 or not (continuous or categories):
        raise UserError(
            f"game.continuous={continuous}: give how many continuous codes there are; without categories, 1 or more."
        )


def order(categories: Sequence[int] = (2,), continuous: int = 1, **options: object) -> dict[str, Order]:
    """A decoder, and an encoder that scores images and finds each code."""
    _check_codes(categories, continuous)
    outputs = {f"category_{number}": size for number, size in enumerate(categories)}
    outputs |= {"continuous": continuous} if continuous else {}
    return {"generator": Order("decoder"), "discriminator": Order("encoder", {**outputs, "score": 1})}


variant = Variant(InfoGAN, order)
