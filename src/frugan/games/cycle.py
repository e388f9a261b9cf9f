"""CycleGAN's game: two translators between two unpaired sets of images, one for each direction.

Zhu et al. 2017 (arXiv 1703.10593), as the authors' PyTorch code trains it: both translators first, then both
discriminators, on pools of fakes made before. With the loss ``lsgan,generator_weight=1`` this is what the paper used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, for_each, judge
from frugan.games import Batches, Order, Progress, Shipped, Update, Variant, settle
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError

ROWS = 8


class ImagePool:
    """Fakes of earlier rounds, shown to a discriminator instead of half of the new ones (Shrivastava et al. 2017).

    Until `size` images are kept, each new one is kept and given back. After that, each is given back with probability
    1/2; otherwise it takes the place of a kept one, drawn at random, which is given back. A size of 0 keeps nothing.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise UserError(f"game.pool={size}: give a number of images, 0 or more.")
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor, random: torch.Generator) -> Tensor:
        """As many images as are given, ``[n, c, h, w]``, without gradients; `random` is a CPU generator."""
        if self.size == 0:
            return images
        given = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone(memory_format=torch.contiguous_format))
                given.append(image)
            elif torch.rand((), generator=random) < 0.5:
                place = int(torch.randint(self.size, (), generator=random))
                given.append(self.images[place].to(image))
                self.images[place] = image.clone(memory_format=torch.contiguous_format)
            else:
                given.append(image)
        # Always in the batch's memory layout: sums in another order differ in their last bits.
        return torch.empty_like(images).copy_(torch.stack(given))

    def state_dict(self) -> dict[str, Any]:
        """The kept images."""
        return {"images": list(self.images)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over kept images."""
        self.images = list(state["images"])


class Cycle:
    """Two translators, ``generator_ab`` and ``generator_ba``, and a discriminator for either set.

    Args:
        batch_size: images of each set in a round, over all processes; 1 in the paper.
        latents: not used here.
        loss: value, see its module; penalties: those of both discriminators, on the fakes that these are shown, which
            the pools give.
        augment: applied once to each real batch, before any network sees it.
        cycle: weight of the distance of an image from itself after both translations (L1).
        identity: weight, relative to `cycle`, of the distance of an image from its translation into its own set;
            0 leaves it out.
        pool: how many fakes each set's pool keeps. With several processes each has a pool of its own, and a resumed
            run begins with those of the first in all.
    """

    streams = ("a", "b")
    settle = staticmethod(settle)

    def __init__(
        self,
        generator_ab: nn.Module,
        generator_ba: nn.Module,
        discriminator_a: nn.Module,
        discriminator_b: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        cycle: float = 10.0,
        identity: float = 0.5,
        pool: int = 50,
    ) -> None:
        if cycle < 0 or identity < 0:
            raise UserError(f"game.cycle={cycle}, game.identity={identity}: give weights of 0 or more.")
        self.networks = {
            "generator_ab": generator_ab, "generator_ba": generator_ba,
            "discriminator_a": discriminator_a, "discriminator_b": discriminator_b,
        }
        self.batch_size = batch_size
        self.loss = loss
        self.penalties_of = for_each(self.streams, penalties)
        self.penalties = {
            f"{name}_{stream}": penalty for stream, own in self.penalties_of.items() for name, penalty in own.items()
        }
        self.augment = tuple(augment)
        self.cycle, self.identity = cycle, identity
        self.pools = {stream: ImagePool(pool) for stream in self.streams}

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: both translators on one batch of each set, then both discriminators on the fakes made for it."""
        real = {stream: self._take(batches, progress, stream) for stream in self.streams}
        fakes: dict[str, Tensor] = {}
        scalars = self._train_generators(real, fakes, progress, update)
        shown = {
            stream: self.pools[stream].exchange(fake.detach(), progress.generator(f"pool.{stream}"))
            for stream, fake in fakes.items()
        }
        return scalars | self._train_discriminators(real, shown, progress, update)

    def _take(self, batches: Batches, progress: Progress, stream: str) -> Tensor:
        images = batches.take(stream, self.batch_size).images
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{stream}.{number}"))
        return images

    def _train_generators(
        self, real: Mapping[str, Tensor], fakes: dict[str, Tensor], progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        ab, ba = self.networks["generator_ab"], self.networks["generator_ba"]
        scalars: dict[str, Tensor] = {}

        def judged() -> Tensor:
            fakes["b"], fakes["a"] = ab(real["a"]), ba(real["b"])
            adversarial = self._passing("a", real, fakes, progress) + self._passing("b", real, fakes, progress)
            back = _distance(ba(fakes["b"]), real["a"]) + _distance(ab(fakes["a"]), real["b"])
            scalars["generator.loss"], scalars["generator.cycle"] = adversarial.detach(), back.detach()
            total = adversarial + self.cycle * back
            if self.identity:
                kept = _distance(ab(real["b"]), real["b"]) + _distance(ba(real["a"]), real["a"])
                scalars["generator.identity"] = kept.detach()
                total = total + self.cycle * self.identity * kept
            return total

        scalars["generator.total"] = update("generator", judged)[0]
        return scalars

    def _passing(
        self, stream: str, real: Mapping[str, Tensor], fakes: Mapping[str, Tensor], progress: Progress
    ) -> Tensor:
        """The adversarial loss of the translator that makes the fakes of a set."""
        discriminator = self.networks[f"discriminator_{stream}"]
        of_real = discriminator(real[stream])["score"] if self.loss.needs_real else None
        random = progress.generator(f"loss.{stream}.generator")
        return self.loss.generator(discriminator(fakes[stream])["score"], of_real, random=random)

    def _train_discriminators(
        self, real: Mapping[str, Tensor], shown: Mapping[str, Tensor], progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        def begin(stream: str) -> DiscriminatorStep:
            def score(images: Tensor, labels: Tensor | None) -> Tensor:
                return self.networks[f"discriminator_{stream}"](images)["score"]

            own = self.penalties_of[stream]
            return DiscriminatorStep(self.loss, own, score, Batch(real[stream]), Batch(shown[stream]), progress, stream)

        steps = {stream: begin(stream) for stream in self.streams}

        def judged(stream: str) -> Tensor:
            discriminator = self.networks[f"discriminator_{stream}"]
            of_real, of_fake = (one["score"] for one in judge(discriminator, real[stream], shown[stream]))
            return steps[stream].loss(of_real, of_fake, progress.generator(f"loss.{stream}"))

        further = [loss for step in steps.values() for loss in step.further()]
        update("discriminator", *(lambda stream=stream: judged(stream) for stream in self.streams), *further)
        a, b = (step.values for step in steps.values())
        scalars = {"discriminator.loss": a["loss"] + b["loss"]}
        for kind in ("accuracy_real", "accuracy_fake"):
            scalars[f"discriminator.{kind}"] = torch.stack([a[kind], b[kind]]).mean()
        own = {name for penalties in self.penalties_of.values() for name in penalties}
        return scalars | {
            f"discriminator.{name}_{stream}": value
            for stream, step in steps.items() for name, value in step.values.items() if name in own
        }

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """The images of `like`, of the set a, translated to b."""
        return networks["generator_ab"](like.images)

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """In each row an image of a, its translation, that translated back; then the same for one of b."""
        ab, ba = networks["generator_ab"], networks["generator_ba"]
        a, b = first["a"].images[:ROWS], first["b"].images[:ROWS]
        there, back = ab(a), ba(b)
        return torch.stack([a, there, ba(there), b, back, ab(back)], dim=1).flatten(0, 1), 6

    def shipped(self) -> dict[str, Shipped]:
        """Both translators; one alone serves one direction."""
        return {
            "translator_ab": Shipped("generator_ab", direction=("a", "b")),
            "translator_ba": Shipped("generator_ba", direction=("b", "a")),
        }

    def state_dict(self) -> dict[str, Any]:
        """The pools."""
        return {stream: pool.state_dict() for stream, pool in self.pools.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the pools."""
        for stream, pool in self.pools.items():
            pool.load_state_dict(state[stream])


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """The mean absolute difference of two batches, in float32."""
    return (one.float() - other).abs().mean()


def order(**options: object) -> dict[str, Order]:
    """Two translators, and two encoders that score images."""
    return {
        "generator_ab": Order("translator"), "generator_ba": Order("translator"),
        "discriminator_a": Order("encoder", {"score": 1}), "discriminator_b": Order("encoder", {"score": 1}),
    }


variant = Variant(Cycle, order)
