"""A game of your own: the VAE-GAN (Larsen et al. 2016, arXiv 1512.09300, algorithm 1).

An encoder gives means and deviations of latents, and the generator decodes these into an image. The discriminator's
inner activations should be the same for this image and for the original. Reconstructions and images of drawn latents
are both fakes.

    frugan train vanilla --code examples/extending/vaegan.py game=vaegan --data glyphs --images 60k
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from frugan import games
from frugan.batch import Batch
from frugan.discriminating import DiscriminatorStep, by_name
from frugan.games import LatentSize, Order, Shipped, Variant, labels_for, settle
from frugan.recipe import Choice, Network
from frugan.recipes import find, recipe


class VaeGan:
    """Options: `prior` and `likeness`, weights of the divergence from the prior and of the discriminator's features."""

    streams = ("train",)

    def __init__(
        self, encoder: nn.Module, generator: nn.Module, discriminator: nn.Module, *, batch_size: int, latents: Any,
        loss: Any, penalties: Any = (), augment: Any = (), prior: float = 0.01, likeness: float = 1.0,
    ) -> None:
        self.networks = {"encoder": encoder, "generator": generator, "discriminator": discriminator}
        self.batch_size, self.latents, self.loss = batch_size, latents, loss
        self.prior, self.likeness, self.penalties = prior, likeness, by_name(penalties)

    def step(self, batches: Any, progress: Any, update: Any) -> dict[str, Tensor]:
        """One round: the discriminator, then encoder and generator together."""
        encoder, generator, discriminator = self.networks.values()
        real = batches.take("train", self.batch_size)
        place = real.images.device

        def drawn(name: str) -> Tensor:
            latents = progress.share(self.latents.draw(self.batch_size, progress.generator(name)))
            return latents.to(place, non_blocking=True)

        def score(images: Tensor, labels: Tensor | None = real.labels) -> Tensor:
            return discriminator(images, labels_for(discriminator, labels))["score"]

        def made(latents: Tensor) -> Tensor:
            return generator(latents, labels_for(generator, real.labels))

        def encoded() -> tuple[Tensor, Tensor, Tensor]:
            mean, spread = encoder(real.images, labels_for(encoder, real.labels))["latents"].float().chunk(2, 1)
            return mean + (spread / 2).exp() * drawn("deviation"), mean, spread

        with torch.no_grad():
            latents = drawn("latents")
            latents[::2] = encoded()[0][::2].to(latents)  # every second fake is a reconstruction
            fake = Batch(made(latents), real.labels)
        step = DiscriminatorStep(self.loss, self.penalties, score, real, fake, progress, "first")
        update(
            "discriminator", lambda: step.loss(score(real.images), score(fake.images), progress.generator("targets")),
            *step.further(),
        )
        seen: dict[str, Tensor] = {}

        def passing() -> Tensor:
            latents, mean, spread = encoded()
            again, new = made(latents), made(drawn("latents"))
            divergence = 0.5 * (mean.square() + spread.exp() - spread - 1).sum(1).mean()
            there, here = (self._inner(discriminator, images, real.labels) for images in (again, real.images))
            likeness = (there - here.detach()).square().mean()
            adversarial = self.loss.generator(score(new), score(real.images) if self.loss.needs_real else None)
            parts = {"generator.loss": adversarial, "encoder.prior": divergence, "encoder.likeness": likeness}
            seen.update({name: value.detach() for name, value in parts.items()})
            return adversarial + self.prior * divergence + self.likeness * likeness

        update("generator", passing)
        return {**step.reported(), **seen}

    @staticmethod
    def _inner(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
        """The activations of the discriminator's last stage, flat."""
        features = discriminator.features(images, labels_for(discriminator, labels))  # type: ignore[operator]
        return features[-1].flatten(1).float()

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        """Images from latents 0, 1, ... of `seed`, with the labels of `like`."""
        latents = self.latents.rows(0, like.count, seed).to(like.images.device)
        return networks["generator"](latents, labels_for(networks["generator"], like.labels))

    def shipped(self) -> dict[str, Shipped]:
        """Generator and encoder."""
        return {"generator": Shipped("generator"), "encoder": Shipped("encoder", averaged=False)}

    def settle(self, network: nn.Module, seed: int) -> None:
        """Recompute buffers that follow from the weights."""
        settle(network, seed)


def order(**options: Any) -> dict[str, Order]:
    """An encoder of means and log variances, a decoder, and an encoder that scores."""
    return {
        "encoder": Order("encoder", {"latents": LatentSize(times=2)}, role="encoder"),
        "generator": Order("decoder"), "discriminator": Order("encoder", {"score": 1}),
    }


games.add("vaegan", Variant(VaeGan, order))


@recipe
def vae_digits() -> Any:
    """Digits by a VAE-GAN of dense layers."""
    plain = find("vanilla")
    players = {
        "generator": replace(plain.players["generator"], networks=("encoder", "generator")),
        "discriminator": plain.players["discriminator"],
    }
    networks = {**plain.networks, "encoder": Network("mlp")}
    return replace(plain, name="vae-digits", networks=networks, players=players, game=Choice("vaegan"))
