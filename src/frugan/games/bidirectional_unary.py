"""The bidirectional game whose discriminator also scores images alone and latents alone (BigBiGAN).

Donahue and Simonyan 2019 (arXiv 1907.02544). As in `bidirectional`, a real image comes with the latents that the
encoder finds in it, a fake one with those that it was made of. The discriminator gives each pair three scores: s_xz of
the pair, s_x of the image, s_z of the latents. Its loss is taken score by score, then added: a hinge on the sum would
be another loss. With the hinge loss the encoder minimises the plain sum of the scores of real pairs, and the generator
maximises that of fake ones. s_x cannot teach the encoder, nor s_z the generator.

Each score is a switch. Without s_x and s_z this is BiGAN with a hinge loss. The game without an encoder, s_x alone, is
`adversarial`.

Encoder and generator are two players, so their learning rates differ as the recipe says. The encoder may see finer
images than those that are made and judged: with ``data.finer=2`` it sees them at twice the size, and the discriminator
sees means of 2 x 2 of the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from frugan.augment import Augmentation
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, by_name, check_steps
from frugan.games import Batches, LatentSize, Order, Progress, Shipped, Update, Variant, labels_for, settle
from frugan.games._encoding import as_encoded, as_judged, check_drawn, drawn_around, generate, preview, sample
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.penalties import Penalty
from frugan.ranges import Times
from frugan.registry import UserError

WIDEST = 5.0
"""The largest raw deviation that counts. A wide encoder at a high rate would otherwise run away."""


@dataclass(frozen=True)
class Pairs:
    """Real images with the latents that were found in them, and fakes with those that they were made of.

    Images are ``[n, c, h, w]``, latents ``[n, size]``; `labels` are those of both, or None.
    """

    real: tuple[Tensor, Tensor]
    fake: tuple[Tensor, Tensor]
    labels: Tensor | None

    def cut(self) -> Pairs:
        """The same without gradients to generator and encoder."""
        (images, codes), (fakes, drawn) = self.real, self.fake
        return Pairs((images, codes.detach()), (fakes.detach(), drawn), self.labels)


class BidirectionalUnary:
    """One generator, one encoder, each a player, and one joint discriminator of three scores.

    Args:
        generator: latents ``[n, size]`` -> images; encoder: images -> ``{"latents": [n, size]}``; discriminator:
            ``(images, latents)`` -> ``{"score", "score_of_images", "score_of_vectors": logits}``.
        batch_size: real images in each step of the discriminator, over all processes; as many fakes.
        latents, loss, penalties, augment: values, see their modules. Penalties take the slope of the scores' sum by the
            image, with the latents that came with it.
        image_score, latent_score, pair_score: whether there is s_x, s_z, s_xz. The encoder needs s_z or s_xz, the
            generator s_x or s_xz.
        stochastic: the encoder's latents are means, a further output ``raw_deviations`` becomes deviations by softplus,
            and latents are drawn by these. Otherwise they are what the encoder puts out.
        discriminator_steps: steps of the discriminator in each round, each with real images of its own. The last one's
            pairs also train generator and encoder.
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
        image_score: bool = True,
        latent_score: bool = True,
        pair_score: bool = True,
        stochastic: bool = True,
        discriminator_steps: Times = 2,
    ) -> None:
        check_steps(discriminator_steps)
        _check_loss(loss)
        if stochastic:
            check_drawn(latents)
        self.outputs = _scores(image_score, latent_score, pair_score)
        self.penalties = by_name(penalties)
        self.networks = {"generator": generator, "encoder": encoder, "discriminator": discriminator}
        self.batch_size, self.latents, self.augment = batch_size, latents, tuple(augment)
        self.stochastic, self.discriminator_steps = stochastic, discriminator_steps
        self.loss = loss
        self.judging = replace(
            loss, discriminator=self._judge, takes_for_real=lambda scores: loss.takes_for_real(scores.sum(1))
        )

    # -------------------------------------------------------------------------------------------------------- training

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        """One round: `discriminator_steps` of the discriminator, then one of generator and encoder together."""
        last = self.discriminator_steps - 1
        for turn in range(last):
            with torch.no_grad():
                pairs = self.make_pairs(batches.take("train", self.batch_size), progress, turn)
            self._train_discriminator(pairs, progress, update, turn)
        pairs = self.make_pairs(batches.take("train", self.batch_size), progress, last)
        reported = self._train_discriminator(pairs.cut(), progress, update, last)
        targets = progress.generator("targets")
        fooled = update.together({
            "generator": lambda: self.fool_by_fakes(self.scores(pairs, progress, "fake"), targets),
            "encoder": lambda: self.fool_by_codes(self.scores(pairs, progress, "real"), targets),
        })
        return {
            **reported, "generator.loss": fooled["generator"], "encoder.loss": fooled["encoder"],
            "encoder.divergence": divergence(pairs.real[1].detach(), pairs.fake[1]),
        }

    def _train_discriminator(
        self, pairs: Pairs, progress: Progress, update: Update, turn: int
    ) -> dict[str, Tensor]:
        def score(images: Tensor, codes: Tensor | None) -> Tensor:
            assert codes is not None  # the batches below have them in place of labels
            return self.score(images, codes, pairs.labels).sum(1, keepdim=True)

        step = DiscriminatorStep(
            self.judging, self.penalties, score, Batch(*pairs.real), Batch(*pairs.fake), progress, f"{turn}"
        )

        def judged() -> Tensor:
            real, fake = (self.scores(pairs, progress, kind, turn) for kind in ("real", "fake"))
            return step.loss(real, fake, progress.generator(f"targets.{turn}"))

        update("discriminator", judged, *step.further())
        return step.reported()

    def make_pairs(self, real: Batch, progress: Progress, turn: int = 0) -> Pairs:
        """Both kinds of pairs for one batch of real images, with their graphs."""
        drawn = progress.share(self.latents.draw(self.batch_size, progress.generator(f"latents.{turn}")))
        drawn = drawn.to(real.images.device, non_blocking=True)
        fakes = generate(self.networks, drawn, real.labels)
        codes = self._encode(real, progress, turn)
        return Pairs((as_judged(real), codes), (fakes, drawn), real.labels)

    def _encode(self, real: Batch, progress: Progress, turn: int) -> Tensor:
        encoder = self.networks["encoder"]
        found = encoder(as_encoded(real), labels_for(encoder, real.labels))
        if not self.stochastic:
            return found["latents"]
        deviations = softplus(found["raw_deviations"].clamp(max=WIDEST))
        return drawn_around(found["latents"], deviations, self.batch_size, progress, f"deviations.{turn}")

    def score(self, images: Tensor, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The logits ``[n, scores]`` of pairs as they are, from one pass; in the order s_xz, s_x, s_z, as there are."""
        discriminator = self.networks["discriminator"]
        found = discriminator(images, codes, labels_for(discriminator, labels))
        return torch.cat([found[name] for name in self.outputs], dim=1)

    def scores(self, pairs: Pairs, progress: Progress, kind: str, turn: int | None = None) -> Tensor:
        """The logits ``[n, scores]`` of the pairs of one kind, "real" or "fake", their images augmented.

        `turn` is that of the discriminator, None where the others are trained.
        """
        images, codes = getattr(pairs, kind)
        name = kind if turn is None else f"{kind}.{turn}"
        for number, augmentation in enumerate(self.augment):
            images = augmentation(images, progress.generator(f"augment.{name}.{number}"))
        return self.score(images, codes, pairs.labels)

    def _judge(self, real: Tensor, fake: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The discriminator's loss, score by score."""
        parts = zip(real.split(1, dim=1), fake.split(1, dim=1), strict=True)
        return torch.stack([self.loss.discriminator(*part, random=random) for part in parts]).sum()

    def fool_by_fakes(self, fake: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The generator's loss: every score of fake pairs shall be that of real ones."""
        return torch.stack([self.loss.generator(one, random=random) for one in fake.split(1, dim=1)]).sum()

    def fool_by_codes(self, real: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The encoder's loss: every score of real pairs shall be that of fake ones."""
        return self.fool_by_fakes(-real, random)

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


def _scores(image_score: bool, latent_score: bool, pair_score: bool) -> list[str]:
    """The discriminator's outputs, by what is switched on. Raises UserError if a network would learn nothing."""
    if not pair_score and not (image_score and latent_score):
        taught = "encoder" if image_score else "generator" if latent_score else "encoder and generator"
        raise UserError(
            f"With these scores nothing would teach the {taught}. Give game.pair_score=true, or both "
            "game.image_score=true and game.latent_score=true. For a GAN without an encoder take biggan-small."
        )
    switched = {"score": pair_score, "score_of_images": image_score, "score_of_vectors": latent_score}
    return [name for name, on in switched.items() if on]


def _check_loss(loss: AdversarialLoss) -> None:
    """Raise UserError for a loss that treats real and fake logits otherwise than as mirror images about 0.

    The encoder minimises for real pairs what the generator minimises for fake ones, with the sign of the logits turned.
    """
    real, fake = torch.tensor([[0.7]]), torch.tensor([[-0.2]])
    mirrored = not loss.needs_real and torch.allclose(
        loss.discriminator(real, fake, random=torch.Generator().manual_seed(0)),
        loss.discriminator(-fake, -real, random=torch.Generator().manual_seed(0)),
    )
    if not mirrored:
        raise UserError(
            f"The game 'bidirectional_unary' needs a loss in which real and fake logits mirror each other about 0, and "
            f"'{loss.name}' with these options is not one. Take loss=hinge (the paper's), non_saturating or wgan."
        )


def divergence(codes: Tensor, drawn: Tensor) -> Tensor:
    """How far the encoder's latents are from the drawn ones; it grows where an encoder runs away.

    KL(codes, drawn) of normal distributions with their means and variances, a mean over the dimensions.
    """
    codes, drawn = codes.float(), drawn.float()
    # Of a batch of one, the variance is 0; the floor keeps the logarithm finite.
    one, other = (x.var(0, unbiased=False).clamp_min(1e-6) for x in (codes, drawn))
    apart = (codes.mean(0) - drawn.mean(0)).square()
    return 0.5 * ((one + apart) / other - 1 - (one / other).log()).mean()


def order(
    image_score: bool = True, latent_score: bool = True, pair_score: bool = True, stochastic: bool = True,
    **options: object,
) -> dict[str, Order]:
    """A decoder, an encoder of latents, and a joint part of the scores that are switched on."""
    outputs = {"latents": LatentSize()} | ({"raw_deviations": LatentSize()} if stochastic else {})
    scores = dict.fromkeys(_scores(image_score, latent_score, pair_score), 1)
    return {
        "generator": Order("decoder"), "encoder": Order("encoder", outputs, role="encoder", finer=True),
        "discriminator": Order("joint", scores, vector=LatentSize()),
    }


variant = Variant(BidirectionalUnary, order)
