"""What games with an encoder share: latents by means and deviations, and pictures of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.batch import Batch
from frugan.games import Progress, labels_for
from frugan.latents import Latents
from frugan.registry import UserError

COLUMNS, ROWS = 8, 3


def check_drawn(latents: Latents) -> None:
    """Raise UserError for latents that a stochastic encoder can never find."""
    if latents.distribution == "uniform":
        raise UserError(
            "game.stochastic=true draws normal latents around the encoder's, which uniform ones are never like. Give "
            "latents.distribution=normal (and encoder.bounded=[] where the encoder's latents end at -1 and 1), or "
            "game.stochastic=false (and encoder.bounded='[\"latents\"]')."
        )


def drawn_around(means: Tensor, deviations: Tensor, count: int, progress: Progress, name: str) -> Tensor:
    """Latents ``[n, size]``: means + deviations * normal noise (ALI, section 2.3); `count` is of the whole batch."""
    noise = progress.share(torch.randn(count, means.shape[1], generator=progress.generator(name)))
    return means + deviations * noise.to(means.device, non_blocking=True)


def generate(networks: Mapping[str, nn.Module], latents: Tensor, labels: Tensor | None) -> Tensor:
    """The generator's images of these latents, with labels if it takes any."""
    generator = networks["generator"]
    return generator(latents, labels_for(generator, labels))


def sample(networks: Mapping[str, nn.Module], latents: Latents, like: Batch, seed: int) -> Tensor:
    """Images ``[n, c, h, w]`` from latents 0, 1, ... of `seed`, with the labels of `like`."""
    return generate(networks, latents.rows(0, like.count, seed).to(like.images.device), like.labels)


def preview(networks: Mapping[str, nn.Module], latents: Latents, real: Batch, seed: int) -> tuple[Tensor, int]:
    """Rows of real images, each with a row of their reconstructions G(E(x)) below it; then as many rows of samples.

    Of an encoder of means and deviations, the reconstructions of its means.
    """
    encoder, seen = networks["encoder"], as_encoded(real)
    columns = min(COLUMNS, real.count)
    shown = columns * min(ROWS, real.count // columns)
    codes = encoder(seen, labels_for(encoder, real.labels))["latents"]
    made = generate(networks, codes, real.labels)
    rows = [row for pair in zip(real.images[:shown].split(columns), made[:shown].split(columns), strict=True)
            for row in pair]  # fmt: skip
    return torch.cat([*rows, sample(networks, latents, real, seed)[:shown]]), columns


def as_encoded(real: Batch) -> Tensor:
    """Real images as the encoder sees them: the finer ones, if there are any."""
    return real.images if real.finer is None else real.finer


def as_judged(real: Batch) -> Tensor:
    """Real images as the discriminator sees them: of finer ones, each pixel is the mean of a square of theirs."""
    if real.finer is None:
        return real.images
    times = real.finer.shape[2] // real.images.shape[2]
    return functional.avg_pool2d(real.finer, times)
