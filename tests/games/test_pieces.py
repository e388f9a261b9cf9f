"""The adversarial game's large batches in pieces, and its orthogonal regularisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from frugan import games, losses, nets, penalties
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine.loop import Parts, play
from frugan.engine.update import Player, Update
from frugan.registry import UserError

SHAPE = ImageShape(1, 4, 4)


class InTurn:
    """Latents that follow one another, however many are asked for at once."""

    size = 5

    def __init__(self) -> None:
        self.rows, self.next = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)), 0

    def draw(self, count: int, random: torch.Generator) -> torch.Tensor:
        self.next += count
        return self.rows[self.next - count : self.next]


class Maker(nn.Module):
    image_range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 16), nn.Unflatten(1, SHAPE))

    def forward(self, latents: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.body(latents)


class Score(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, images: torch.Tensor, condition: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        return {"score": self.body(images)}


def played(rounds: int = 1, **options: Any) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The weights after some rounds of plain gradient steps without any norm, and the last logged means."""
    torch.manual_seed(0)
    networks = {"generator": Maker(), "discriminator": Score()}
    given: dict[str, Any] = {"batch_size": 8, "latents": InTurn(), "loss": losses.find("hinge"), **options}
    game = games.find("adversarial").game(**networks, **given)
    images = torch.randint(0, 256, (16, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    data = Dataset("noise", "train", SHAPE, images, None, (), "hash")
    players = {
        name: Player(name, {name: network}, lambda weights: torch.optim.SGD(weights, 0.5))
        for name, network in networks.items()
    }
    parts = Parts(
        game, Batches({"train": data}, seed=0), Update(players), {}, seed=0, device=torch.device("cpu")
    )
    play(parts, rounds=rounds)
    both = nn.ModuleDict(networks).state_dict()
    return dict(both), parts.means.take()


@pytest.mark.parametrize("pieces", [2, 4])
@pytest.mark.parametrize("regular", [(), ("r1",)])
def test_biggan_sheet_5_13_pieces_give_the_gradient_of_the_whole_batch(pieces, regular):
    options = {"fresh_latents": True, "penalties": [penalties.find(name) for name in regular]}
    whole, told = played(**options)
    parted, told_parted = played(pieces=pieces, **{**options, "penalties": [penalties.find(name) for name in regular]})
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-5, atol=1e-7)
    assert told_parted == pytest.approx(told, rel=1e-5)


def test_a_piece_holds_no_more_than_its_share_of_the_batch():
    sizes: list[int] = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, made: sizes.append(len(given[0])) if isinstance(module, Score) else None
    )
    played(pieces=4, fresh_latents=True)
    handle.remove()
    assert set(sizes) == {2}
    assert len(sizes) == 4 * 3  # real, fake, and the generator's


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pieces": 3, "fresh_latents": True}, r"game\.pieces=3: a batch of 8 images .* 1, 2, 4, 8"),
        ({"pieces": 0, "fresh_latents": True}, r"game\.pieces=0"),
        ({"pieces": 2}, r"game\.fresh_latents=true as well"),
        ({"orthogonal": -1.0}, r"game\.orthogonal=-1: give a strength of 0 or more"),
    ],
)
def test_what_cannot_be_in_pieces_is_refused(options, told):
    with pytest.raises(UserError, match=told):
        played(**options)


def test_orthogonal_regularisation_is_added_to_the_generators_loss():
    plain, _ = played()
    moved, told = played(orthogonal=0.25)
    torch.manual_seed(0)
    generator = Maker()
    value = nets.orthogonality(generator)
    value.backward()
    assert told["generator.orthogonality"] == pytest.approx(0.25 * value.item(), rel=1e-5)
    for name, parameter in generator.named_parameters():
        change = 0 if parameter.grad is None else -0.5 * 0.25 * parameter.grad
        torch.testing.assert_close(moved[f"generator.{name}"], plain[f"generator.{name}"] + change)
    assert torch.equal(moved["discriminator.body.1.weight"], plain["discriminator.body.1.weight"])
