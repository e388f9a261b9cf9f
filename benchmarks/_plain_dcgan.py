"""The plain side of the speed comparison: the 64-pixel DCGAN, trained the way a first example of it is written.

A. Radford, L. Metz, S. Chintala, *Unsupervised Representation Learning with Deep Convolutional GANs*, arXiv 1511.06434,
in the variant that the PyTorch examples made popular: 4 x 4 kernels, base width 64, RGB. Float32, torch's default
layout, ordinary modules, three backward passes a step; nothing of frugan is used, and nothing here is made faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

LATENTS = 100
Weights = Mapping[str, Mapping[str, Tensor]]
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Generator(nn.Module):
    """Latents ``[n, 100, 1, 1]`` -> images ``[n, 3, 64, 64]`` in -1 to 1."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(LATENTS, width * 8, 4, 1, 0, bias=False),
            nn.BatchNorm2d(width * 8),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 8, width * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
            nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.main(latents)


class Discriminator(nn.Module):
    """Images ``[n, 3, 64, 64]`` -> logits ``[n]``: above zero for real."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width * 2, width * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width * 4, width * 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width * 8, 1, 4, 1, 0, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images).view(-1)


def initialise(module: nn.Module) -> None:
    """Weights of convolutions from N(0, 0.02), gains of batch norm from N(1, 0.02), its shifts 0 (paper, section 4)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def initial_weights(seed: int) -> Weights:
    """The state of both networks before training: ``{"generator": {...}, "discriminator": {...}}``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = {"generator": Generator().apply(initialise), "discriminator": Discriminator().apply(initialise)}
    return {name: network.state_dict() for name, network in networks.items()}


def make_plain(weights: Weights, device: str | torch.device = "cpu") -> tuple[Generator, Step]:
    """A generator that starts from a copy of `weights`, and one step of its training.

    The step takes real images ``[n, 3, 64, 64]`` in -1 to 1 and latents ``[n, 100]``, updates the discriminator and
    then the generator with the same latents, and returns both losses: D's as the sum of its two terms, G's
    non-saturating.
    """
    generator, discriminator = Generator().to(device), Discriminator().to(device)
    generator.load_state_dict(weights["generator"])
    discriminator.load_state_dict(weights["discriminator"])
    criterion = nn.BCEWithLogitsLoss()
    optimiser_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimiser_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(real: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)

        discriminator.zero_grad()
        loss_real = criterion(discriminator(real), ones)
        loss_real.backward()
        fake = generator(latents.view(-1, LATENTS, 1, 1))
        loss_fake = criterion(discriminator(fake.detach()), zeros)
        loss_fake.backward()
        optimiser_d.step()

        generator.zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        loss_g.backward()
        optimiser_g.step()
        return (loss_real + loss_fake).detach(), loss_g.detach()

    return generator, step
