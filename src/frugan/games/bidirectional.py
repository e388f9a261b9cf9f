"""The bidirectional game: a generator and an encoder against a discriminator of images with their latents.

BiGAN (Donahue et al. 2016, arXiv 1605.09782) and ALI (Dumoulin et al. 2016, arXiv 1606.00704). A real image comes with
the latents that the encoder finds in it, a fake one with those that it was made of. The discriminator tells which pair
is which, and generator and encoder are trained to be taken for each other: at the optimum the encoder inverts the
generator. No image is compared with its reconstruction.

Both are trained by the discriminator's loss with both labels flipped, as both papers' codes do. So the loss ``minimax``
trains as ``non_saturating`` does, and ``halved=True`` halves both sides (BiGAN's code has halves, ALI's has sums).

Augmented BiGAN (Kumar et al. 2017, arXiv 1705.08850) has a third pair, the encoder's latents with what the generator
makes of them, which counts as fake.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, by_name
from frugan.games import Batches, LatentSize, Order, Progress, Shipped, Update, Variant, labels_for, settle
from frugan.games._encoding import check_drawn, drawn_around, generate, preview, sample
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.registry import UserError, suggest

UPDATES = ("alternating", "simultaneous")


@dataclass(frozen=True)
class Pairs:
    """What is judged in one round; ``[n, c, h, w]`` images and ``[n, size]`` latents.

    Attributes:
        real: real images with the latents that the encoder found.
        fakes: generated images with the latents that they were made of: those that were drawn, and in an augmented
            game those that the encoder found.
        labels: of all of them.
    """

    real: tuple[Tensor, Tensor]
    fakes: tuple[tuple[Tensor, Tensor], ...]
    labels: Tensor | None

    def cut(self) -> Pairs:
        """The same without gradients to generator and encoder."""
        (images, codes), fakes = self.real, self.fakes
        return Pairs((images, codes.detach()), tuple((one.detach(), of.detach()) for one, of in fakes), self.labels)


class Bidirectional:
    """One generator and one encoder, both of the player ``generator``, and one joint discriminator.

    Args:
        generator: latents ``[n, size]`` -> images; encoder: images -> ``{"latents": [n, size]}``; discriminator:
            ``(images, latents)`` -> ``{"score": logits}``.
        batch_size: real images in each round, over all processes; as many fakes of each kind.
        latents, loss, penalties, augment: values, see their modules. Penalties take the discriminator's slope by the
            image, with the latents that came with it.
        update: "alternating" trains the discriminator first and the others through what it has become; "simultaneous"
            takes both gradients from one forward pass, as the papers' codes do, and has no penalties on slopes.
        stochastic: the encoder's latents are means, a further output ``log_deviations`` are the logarithms of their
            deviations, and latents are drawn by these (ALI). Otherwise they are what the encoder puts out (BiGAN).
        third: the third pair's share of the fakes (augmented BiGAN: 0.5); 0 leaves it out.
        third_trains_encoder: whether the third pair trains the encoder too, instead of the generator alone.
        matching: weight of a further loss of the generator, the squared distance of the means of the discriminator's
            last features on real pairs and on generated ones (augmented BiGAN); 0 leaves it out.
    """

    streams = ("train",)
    settle = staticmethod(settle)

    def __init__(
        self,
        generator: nn.Module,
        encoder: nn.Module,
        discriminator: nn.Module,
        *,
        batch_size: int,
        latents: Latents,
        loss: AdversarialLoss,
        penalties: Sequence[Penalty] = (),
        augment: Sequence[Augmentation] = (),
        update: str = "alternating",
        stochastic: bool = False,
        third: float = 0.0,
        third_trains_encoder: bool = False,
        matching: float = 0.0,
    ) -> None:
        if update not in UPDATES:
            raise UserError(f"game.update={update}: {suggest(update, UPDATES)}")
        if not 0 <= third < 1:
            raise UserError(f"game.third={third}: give a share of the fakes, 0 or more and below 1, e.g. 0.5.")
        if matching < 0:
            raise UserError(f"game.matching={matching}: give a weight of 0 or more.")
        if matching and not callable(getattr(discriminator, "features", None)):
            raise UserError(
                f"game.matching={matching} compares features, but this discriminator has no method `features`. Give "
                "another architecture, or game.matching=0."
            )
        if stochastic:
            check_drawn(latents)
        self.penalties = by_name(penalties)
        apart = [name for name, penalty in self.penalties.items() if not penalty.needs_scores]
        if apart and update == "simultaneous":
            raise UserError(
                f"game.update=simultaneous cannot use penalties that need passes of their own ({apart[0]}). Use "
                "game.update=alternating."
            )
        self.networks = {"generator": generator, "encoder": encoder, "discriminator": discriminator}
        self.batch_size, self.latents, self.augment = batch_size, latents, tuple(augment)
        self.simultaneous, self.stochastic = update == "simultaneous", stochastic
        self.third, self.third_trains_encoder, self.matching = third, third_trains_encoder, matching
        self.loss = loss
        self.judging = replace(loss, discriminator=self._judge)

    # -------------------------------------------------------------------------------------------------------- training

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: everything is made once, then the discriminator is trained, and generator and encoder."""
        pairs = self._make_pairs(batches.take("train", self.batch_size), progress)
        cut = pairs.cut()

        def score(images: Tensor, codes: Tensor | None) -> Tensor:
            assert codes is not None  # the batches below have them in place of labels
            return self.score(images, codes, pairs.labels)

        step = DiscriminatorStep(
            self.judging, self.penalties, score, Batch(*cut.real), Batch(*cut.fakes[0]), progress, "0"
        )
        targets, told = progress.generator("targets"), dict[str, Tensor]()

        def fooling(scores: tuple[Tensor, Tensor]) -> Tensor:
            fooled = self.fool(*scores, targets)
            if not self.matching:
                return fooled
            apart = self._match(pairs, progress)
            told["generator.matching"] = apart.detach()
            return fooled + apart

        if not self.simultaneous:
            update("discriminator", lambda: step.loss(*self.scores(cut, progress), targets), *step.further())
            (fooled,) = update("generator", lambda: fooling(self.scores(pairs, progress)))
            return {**step.reported(), "generator.loss": fooled, **told}

        scores = functools.cache(lambda: self.scores(pairs, progress))
        values = update.together(
            {"discriminator": lambda: step.loss(*scores(), targets), "generator": lambda: fooling(scores())}
        )
        return {**step.reported(), "generator.loss": values["generator"], **told}

    def _make_pairs(self, real: Batch, progress: Progress) -> Pairs:
        drawn = self._draw(progress, "latents").to(real.images.device, non_blocking=True)
        codes = self._encode(real, progress)
        fakes = [(generate(self.networks, drawn, real.labels), drawn)]
        if self.third:
            kept = codes if self.third_trains_encoder else codes.detach()
            fakes.append((generate(self.networks, kept, real.labels), kept))
        return Pairs((real.images, codes), tuple(fakes), real.labels)

    def _draw(self, progress: Progress, name: str) -> Tensor:
        return progress.share(self.latents.draw(self.batch_size, progress.generator(name)))

    def _encode(self, real: Batch, progress: Progress) -> Tensor:
        """The encoder's latents; of a stochastic one mean + deviation * noise (ALI, section 2.3)."""
        encoder = self.networks["encoder"]
        found = encoder(real.images, labels_for(encoder, real.labels))
        if not self.stochastic:
            return found["latents"]
        deviations = found["log_deviations"].exp()
        return drawn_around(found["latents"], deviations, self.batch_size, progress, "deviations")

    def score(self, images: Tensor, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's logits for pairs as they are."""
        discriminator = self.networks["discriminator"]
        return discriminator(images, codes, labels_for(discriminator, labels))["score"]

    def scores(self, pairs: Pairs, progress: Progress) -> tuple[Tensor, Tensor]:
        """The logits ``[n, 1]`` of real pairs and ``[kinds, n, 1]`` of fake ones, their images augmented.

        Each kind is judged in a batch of its own: batch norm must not mix them.
        """

        def judged(images: Tensor, codes: Tensor, name: str) -> Tensor:
            return self.score(self._augmented(images, progress, name), codes, pairs.labels)

        real = judged(*pairs.real, "real")
        return real, torch.stack([judged(*fake, f"fake.{kind}") for kind, fake in enumerate(pairs.fakes)])

    def _augmented(self, images: Tensor, progress: Progress, name: str) -> Tensor:
        """Images as the discriminator sees them; the same name makes the same of them in one round."""
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{name}.{number}"))
        return images

    def _shares(self, fakes: Tensor) -> list[tuple[float, Tensor]]:
        return list(zip((1 - self.third, self.third), fakes, strict=False))

    def _judge(self, real: Tensor, fakes: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The discriminator's loss, each kind of fakes by its share."""
        parts = [share * self.loss.discriminator(real, fake, random=random) for share, fake in self._shares(fakes)]
        return torch.stack(parts).sum()

    def fool(self, real: Tensor, fakes: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The loss of generator and encoder: the discriminator's, both labels flipped."""
        parts = [share * self.loss.discriminator(fake, real, random=random) for share, fake in self._shares(fakes)]
        return torch.stack(parts).sum()

    def _match(self, pairs: Pairs, progress: Progress) -> Tensor:
        """The weighted squared distance of mean features, of all processes together; it trains the generator alone.

        Of the images as they are scored in this round, augmented.
        """
        discriminator = self.networks["discriminator"]

        def mean(images: Tensor, codes: Tensor, name: str) -> Tensor:
            seen, told = self._augmented(images, progress, name), labels_for(discriminator, pairs.labels)
            return discriminator.features(seen, codes, told)[-1].flatten(1).float().mean(0)  # type: ignore[operator]

        with torch.no_grad():
            wanted = mean(*pairs.real, "real")
        own = wanted - mean(*pairs.fakes[0], "fake.0")
        return self.matching * (own + (progress.mean(own.detach()) - own.detach())).square().sum()

    # --------------------------------------------------------------------------------------------------------- showing

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
        return sample(networks, self.latents, like, seed)

    def preview(self, networks: Mapping[str, nn.Module], first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int]:
        """Rows of real images, each with a row of their reconstructions G(E(x)) below it; then as many rows of samples.

        Of a stochastic encoder, the reconstructions of its means.
        """
        return preview(networks, self.latents, first["train"], seed)

    def shipped(self) -> dict[str, Shipped]:
        """The generator, and the encoder."""
        return {"generator": Shipped("generator"), "encoder": Shipped("encoder")}


def order(stochastic: bool = False, **options: object) -> dict[str, Order]:
    """A decoder, an encoder of latents, and a joint part that scores images with latents."""
    outputs = {"latents": LatentSize()} | ({"log_deviations": LatentSize()} if stochastic else {})
    return {
        "generator": Order("decoder"), "encoder": Order("encoder", outputs, role="encoder"),
        "discriminator": Order("joint", {"score": 1}, vector=LatentSize()),
    }


variant = Variant(Bidirectional, order)
