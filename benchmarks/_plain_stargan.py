"""The plain side of the StarGAN benchmark: both networks and a round of training, written the way its own code does it.

Y. Choi et al., *StarGAN*, CVPR 2018, arXiv 1711.09020: ordinary modules with their own instance norms, float32, torch's
default layout, separate backward passes; five steps of the discriminator with the gradient penalty, one of the
generator. Nothing of frugan is used, and nothing here is made faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights = Mapping[str, Sequence[Tensor]]


class Residual(nn.Module):
    """Two 3 x 3 convolutions with instance norms, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.InstanceNorm2d(width, affine=True), nn.ReLU(True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.InstanceNorm2d(width, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Generator(nn.Module):
    """Images ``[n, 3, h, w]`` in -1 to 1 and labels ``[n, labels]`` to images."""

    def __init__(self, labels: int = 5, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3 + labels, width, 7, 1, 3, bias=False)]
        layers += [nn.InstanceNorm2d(width, affine=True), nn.ReLU(True)]
        for _ in range(2):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)]
            width *= 2
            layers += [nn.InstanceNorm2d(width, affine=True), nn.ReLU(True)]
        layers += [Residual(width) for _ in range(blocks)]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
            width //= 2
            layers += [nn.InstanceNorm2d(width, affine=True), nn.ReLU(True)]
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = labels[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.main(torch.cat([images, planes], dim=1))


class Discriminator(nn.Module):
    """Images to a score map ``[n, 1, h', w']`` and logits ``[n, labels]``."""

    def __init__(self, size: int = 128, labels: int = 5, width: int = 64, stages: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in range(stages):
            layers += [nn.Conv2d(before, width * 2**stage, 4, 2, 1), nn.LeakyReLU(0.01)]
            before = width * 2**stage
        self.main = nn.Sequential(*layers)
        self.score = nn.Conv2d(before, 1, 3, 1, 1, bias=False)
        self.classes = nn.Conv2d(before, labels, size // 2**stages, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.main(images)
        return self.score(seen), self.classes(seen).flatten(1)


class Turn(NamedTuple):
    """What one step of the discriminator is given: images, their labels, those asked for, shares of the penalty."""

    real: Tensor
    labels: Tensor
    wanted: Tensor
    shares: Tensor


def penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """The mean squared distance from 1 of the slope at mixtures of real and fake images."""
    mixed = (shares * real + (1 - shares) * fake).requires_grad_()
    score, _ = discriminator(mixed)
    (slope,) = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)
    return ((slope.flatten(1).square().sum(1).sqrt() - 1) ** 2).mean()


def named(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropies, summed over labels and averaged over images."""
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(logits)


def make_plain_round(generator: Generator, discriminator: Discriminator) -> Callable[[Sequence[Turn]], list[float]]:
    """A round: one step of the discriminator for each turn, one of the generator on the last; changes both networks.

    It returns each step's loss without the penalty, as numbers, the generator's last.
    """
    optimiser_g = torch.optim.Adam(generator.parameters(), 1e-4, (0.5, 0.999))
    optimiser_d = torch.optim.Adam(discriminator.parameters(), 1e-4, (0.5, 0.999))

    def play(turns: Sequence[Turn]) -> list[float]:
        losses = []
        for turn in turns:
            score, logits = discriminator(turn.real)
            fake = generator(turn.real, turn.wanted)
            of_fake, _ = discriminator(fake.detach())
            adversarial = of_fake.mean() - score.mean()
            slopes = penalty(discriminator, turn.real, fake.detach(), turn.shares)
            loss = adversarial + named(logits, turn.labels) + 10 * slopes
            discriminator.zero_grad()
            loss.backward()
            optimiser_d.step()
            losses.append(adversarial.item())
        last = turns[-1]
        fake = generator(last.real, last.wanted)
        score, logits = discriminator(fake)
        back = generator(fake, last.labels)
        adversarial = -score.mean()
        loss = adversarial + named(logits, last.wanted) + 10 * (last.real - back).abs().mean()
        generator.zero_grad()
        loss.backward()
        optimiser_g.step()
        return [*losses, adversarial.item()]

    return play
