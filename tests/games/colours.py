"""Two domains that a tiny translator can learn: a bright square, red or blue, somewhere on noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine.loop import Parts
from frugan.engine.update import Player, Update

SHAPE = ImageShape(3, 16, 16)
RED, BLUE = 0, 2


def squares(count: int, channels: list[int], seed: int = 0, bits: bool = False) -> Dataset:
    """Images whose label, or only attribute, says in which of the `channels` their square is bright."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, *SHAPE), generator=random)
    labels = torch.arange(count) % len(channels)
    for number, label in enumerate(labels.tolist()):
        top, left = torch.randint(0, 8, (2,), generator=random).tolist()
        images[number, channels[label], top : top + 8, left : left + 8] += 180
    given = labels[:, None] if bits else labels
    classes = () if bits else tuple("rgb"[channel] for channel in channels)
    return Dataset("squares", "train", SHAPE, images.to(torch.uint8), given, classes, f"{seed}{channels}")


def brightest(images: Tensor) -> Tensor:
    """The channel with the largest mean, for each image: a classifier that nothing has trained."""
    return images.mean((2, 3)).argmax(1)


def parts_of(
    game, streams: Mapping[str, Dataset], players: Mapping[str, tuple[str, ...]], rate: float = 2e-3,
    epsilon: float = 1e-8,
) -> Parts:
    """A run of `game` with Adam for each player; a large `epsilon` keeps rounding from being made large."""

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.999), eps=epsilon)

    made = {
        name: Player(name, {network: game.networks[network] for network in networks}, adam)
        for name, networks in players.items()
    }
    return Parts(game, Batches(streams, seed=0), Update(made), {}, seed=0, device=torch.device("cpu"))


def states(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All weights, copied."""
    named = nn.ModuleDict(dict(networks))
    return {key: value.clone() for key, value in named.state_dict().items()}
