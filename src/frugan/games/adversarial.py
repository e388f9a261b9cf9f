"""The adversarial game: a generator against a discriminator that tells its images from real ones.

Goodfellow et al. 2014 (arXiv 1406.2661), as DCGAN plays it: the discriminator judges a real and a fake batch apart
(batch norm must not mix them), then the generator is trained through it. There is no conditional variant: labels
travel in the batch, and a discriminator that takes labels judges a fake with the label that it was made with.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frugan import nets
from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, by_name, check_steps
from frugan.games import Batches, Loss, Progress, Update, Variant, settle
from frugan.games._pair import Pair, order, shipped
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError


class Adversarial:
    """One generator and one discriminator, trained in turn.

    Args:
        generator: latents ``[n, size]`` -> images; discriminator: images -> ``{"score": logits}``.
        batch_size: real images in each discriminator step, over all processes; as many fakes.
        latents, loss, penalties, augment: values, see their modules.
        discriminator_steps: how often the discriminator is trained in a round, on fresh images each time.
        fresh_latents: give the generator new latents for its own step; otherwise the last fake batch serves both.
        labels: "real" makes fakes with the labels of the real batch, "uniform" draws them evenly.
        pieces: compute each batch in so many equal pieces, whose mean gradient makes one step: a large batch in the
            memory of a small one. Batch norm, spectral norm and losses that compare images see each piece alone.
        orthogonal: the strength of orthogonal regularisation of the generator, see `frugan.nets.orthogonality`.
    """

    streams = ("train",)
    shipped = staticmethod(shipped)
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
        discriminator_steps: Times = 1,
        fresh_latents: bool = False,
        labels: str = "real",
        pieces: int = 1,
        orthogonal: float = 0.0,
    ) -> None:
        check_steps(discriminator_steps)
        _check_pieces(pieces, batch_size, fresh_latents)
        if orthogonal < 0:
            raise UserError(f"game.orthogonal={orthogonal:g}: give a strength of 0 or more, e.g. 5e-5.")
        self.penalties = by_name(penalties)
        self.pair = Pair(
            generator, discriminator, batch_size // pieces, latents, loss, self.penalties, tuple(augment), labels
        )
        self.networks = self.pair.networks()
        self.sample, self.score_images = self.pair.sample, self.pair.score
        self.check_attributes = self.pair.check_attributes
        self.discriminator_steps = discriminator_steps
        self.fresh_latents = fresh_latents
        self.pieces = pieces
        self.orthogonal = orthogonal

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of the generator."""
        last = self.discriminator_steps - 1
        for turn in range(last):
            reals, fakes = self._batches(batches, progress, turn, graph=False)
            self._train_discriminator(reals, fakes, progress, update, turn)
        # The fake batch of the last turn also serves the generator: it is made once, with its graph.
        reals, fakes = self._batches(batches, progress, last, graph=not self.fresh_latents)
        scalars = self._train_discriminator(reals, fakes, progress, update, last)
        return scalars | self._train_generator(reals, fakes, progress, update)

    def _batches(
        self, batches: Batches, progress: Progress, turn: int, *, graph: bool
    ) -> tuple[list[Batch], list[Batch]]:
        """The real and the fake batch of one turn, in pieces."""
        reals = [batches.take("train", self.pair.batch_size) for _ in range(self.pieces)]
        fakes = [
            self.pair.fake(real, progress, _named(f"latents.{turn}", piece), graph=graph)
            for piece, real in enumerate(reals)
        ]
        return reals, fakes

    def _train_discriminator(
        self, reals: Sequence[Batch], fakes: Sequence[Batch], progress: Progress, update: Update, turn: int
    ) -> dict[str, Tensor]:
        places = [_named(f"{turn}", piece) for piece in range(self.pieces)]
        steps = [
            self.pair.begin_step(real, fake, progress, place)
            for real, fake, place in zip(reals, fakes, places, strict=True)
        ]

        def adversarial(step: DiscriminatorStep) -> Tensor:
            real_scores = self.pair.judge(step.real, progress, f"real.{step.place}")
            fake_scores = self.pair.judge(step.fake, progress, f"fake.{step.place}")
            return step.loss(real_scores, fake_scores, progress.generator(f"targets.{step.place}"))

        losses = [loss for step in steps for loss in (functools.partial(adversarial, step), *step.further())]
        update("discriminator", *(self._shared(loss) for loss in losses))
        reported = [step.reported() for step in steps]
        return {name: torch.stack([one[name] for one in reported]).mean() for name in reported[0]}

    def _train_generator(
        self, reals: Sequence[Batch], fakes: Sequence[Batch], progress: Progress, update: Update
    ) -> dict[str, Tensor]:
        loss = self.pair.loss

        def adversarial(piece: int) -> Tensor:
            real, fake = reals[piece], fakes[piece]
            if self.fresh_latents:
                # Made only now, so that the graph of one piece is gone before the next.
                fake = self.pair.fake(real, progress, _named("latents.generator", piece))
            fake_scores = self.pair.judge(fake, progress, _named("fake.generator", piece))
            real_scores = self.pair.judge(real, progress, _named("real.generator", piece)) if loss.needs_real else None
            return loss.generator(
                fake_scores, real_scores, random=progress.generator(_named("targets.generator", piece))
            )

        losses = [self._shared(functools.partial(adversarial, piece)) for piece in range(self.pieces)]
        if not self.orthogonal:
            return {"generator.loss": torch.stack(update("generator", *losses)).sum()}
        generator = self.networks["generator"]
        *values, regular = update("generator", *losses, lambda: self.orthogonal * nets.orthogonality(generator))
        return {"generator.loss": torch.stack(values).sum(), "generator.orthogonality": regular}

    def _shared(self, loss: Loss) -> Loss:
        """A piece's share of a loss that is a mean over the batch."""
        return loss if self.pieces == 1 else lambda: loss() / self.pieces


def _named(name: str, piece: int) -> str:
    """Random numbers of further pieces are others; those of the first have the names that a whole batch has."""
    return f"{name}.{piece}" if piece else name


def _check_pieces(pieces: int, batch_size: int, fresh_latents: bool) -> None:
    """Raise UserError for a batch that cannot be computed in so many pieces."""
    if pieces < 1 or batch_size % pieces:
        fitting = [count for count in range(1, batch_size + 1) if batch_size % count == 0]
        raise UserError(
            f"game.pieces={pieces}: a batch of {batch_size} images is split in equal pieces. Give one of "
            f"{', '.join(map(str, fitting))}, or another batch_size."
        )
    if pieces > 1 and not fresh_latents:
        raise UserError(
            f"game.pieces={pieces}: the generator then makes its images piece by piece, in its own step. Give "
            "game.fresh_latents=true as well."
        )


variant = Variant(Adversarial, order)
