"""CycleGAN's game: the formulas, the pool, the order of play, exact resume, and that a tiny one learns."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frugan import games, losses, nets, schedules, seeds
from frugan.batch import from_bytes
from frugan.convs import Layers
from frugan.data.batches import Batches
from frugan.engine.loop import play
from frugan.games.cycle import ImagePool
from frugan.latents import Latents
from frugan.registry import UserError

spec = importlib.util.spec_from_file_location("colours", Path(__file__).with_name("colours.py"))
assert spec is not None
assert spec.loader is not None
colours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colours)
PLAYERS = {
    "generator": ("generator_ab", "generator_ba"), "discriminator": ("discriminator_a", "discriminator_b"),
}
LSGAN = losses.find("lsgan", generator_weight=1.0)


def cycle(**options):
    torch.manual_seed(0)
    translator, patch = nets.find("cyclegan").part("translator"), nets.find("patch").part("encoder")
    generators = [translator(colours.SHAPE, Layers(), width=1 / 8, blocks=1, stages=1) for _ in "ab"]
    discriminators = [patch(colours.SHAPE, {"score": 1}, Layers(), width=1 / 8, stages=2) for _ in "ab"]
    given = {"batch_size": 4, "latents": Latents(1), "loss": LSGAN, **options}
    return games.find("cycle").game(*generators, *discriminators, **given)


def streams(count=40):
    return {"a": colours.squares(count, [0], 2), "b": colours.squares(count, [2], 3)}


def test_cyclegan_sheet_5_5_least_squares_of_constant_maps():
    real, fake = torch.full((2, 1, 6, 6), 0.3), torch.full((2, 1, 6, 6), 0.6)
    assert LSGAN.discriminator(real, fake).item() == pytest.approx(0.425)
    assert LSGAN.generator(fake).item() == pytest.approx(0.16)


class Scripted(nn.Module):
    """Gives what it is called with, moved by the next number of a list."""

    def __init__(self, moves: list[float]) -> None:
        super().__init__()
        self.moves = iter(moves)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return images + next(self.moves) + 0 * self.weight


class Constant(nn.Module):
    """Scores everything the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"score": self.weight.expand(len(images), 1, 2, 2)}


def test_cyclegan_sheet_5_6_cycle_and_identity():
    """There by 0.3, back by -0.2: 0.1 away in both cycles; 0.2 in both identities."""
    generators = [Scripted([0.3, -0.2, 0.2]), Scripted([0.3, -0.2, 0.2])]
    game = games.find("cycle").game(
        *generators, Constant(0.6), Constant(0.6), batch_size=4, latents=Latents(1), loss=LSGAN
    )
    parts = colours.parts_of(game, streams(), PLAYERS)
    play(parts, rounds=1)
    found = parts.means.sums
    assert found["generator.loss"].item() == pytest.approx(2 * 0.16, abs=1e-6)
    assert found["generator.total"].item() - 0.32 == pytest.approx(4.0, abs=1e-5)
    assert found["generator.cycle"].item() == pytest.approx(0.2, abs=1e-6)
    assert found["generator.identity"].item() == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize(("epoch", "rate"), [
    (0, 2e-4), (99, 2e-4), (100, 1.980198e-4), (149, 1.009901e-4), (199, 1.980198e-6),
])
def test_cyclegan_sheet_5_7_learning_rate_by_epochs(epoch, rate):
    images = 2 * 1334
    for place in (0, images // 2, images - 1):
        seen = epoch * images + place
        found = 2e-4 * schedules.find("linear", hold=0.5, steps=200)(seen, 200 * images)
        assert found == pytest.approx(rate, rel=1e-6)


def test_cyclegan_sheet_5_8_the_pool():
    pool, random = ImagePool(50), torch.Generator().manual_seed(0)
    for number in range(50):
        image = torch.full((1, 1, 2, 2), float(number))
        assert torch.equal(pool.exchange(image, random), image)
    older = 0
    for number in range(50, 10_050):
        image = torch.full((1, 1, 2, 2), float(number))
        older += int(not torch.equal(pool.exchange(image, random), image))
        assert len(pool.images) == 50
    assert older / 10_000 == pytest.approx(0.5, abs=0.02)
    image = torch.zeros(3, 1, 2, 2)
    assert ImagePool(0).exchange(image, random) is image
    with pytest.raises(UserError, match="0 or more"):
        ImagePool(-1)


def test_what_the_pool_keeps_is_not_changed_from_outside():
    pool, random = ImagePool(2), torch.Generator().manual_seed(0)
    images = torch.ones(2, 1, 2, 2, requires_grad=True)
    given = pool.exchange(images, random)
    assert not given.requires_grad
    with torch.no_grad():
        images.zero_()
        given.zero_()
    assert all(image.eq(1).all() for image in pool.images)


def test_cyclegan_sheet_5_10_no_gradient_is_left_on_the_other_side(monkeypatch):
    game = cycle()
    parts = colours.parts_of(game, streams(), PLAYERS)
    usual, order = type(parts.update)._step, []

    def step(self, player, given):
        others = {name: net for name, net in game.networks.items() if name not in PLAYERS[player.name]}
        before = colours.states(others)

        def watched(loss):
            assert not any(p.requires_grad for net in others.values() for p in net.parameters())
            return loss()

        values = usual(self, player, [lambda loss=loss: watched(loss) for loss in given])
        after = colours.states(others)
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert all(p.grad is None for net in others.values() for p in net.parameters())
        order.append(player.name)
        return values

    monkeypatch.setattr(type(parts.update), "_step", step)
    play(parts, rounds=2)
    assert order == ["generator", "discriminator"] * 2


@pytest.mark.parametrize(("identity", "pool"), [(0.5, 50), (0.0, 0), (0.5, 3)])
def test_two_rounds_equal_a_loop_written_out(identity, pool):
    game, twin = cycle(identity=identity, pool=pool), cycle()
    play(colours.parts_of(game, streams(), PLAYERS, epsilon=1e-3), rounds=2)

    ab, ba, of_a, of_b = twin.networks.values()
    groups = {name: [p for network in of for p in twin.networks[network].parameters()] for name, of in PLAYERS.items()}
    adams = {name: torch.optim.Adam(group, lr=2e-3, betas=(0.5, 0.999), eps=1e-3) for name, group in groups.items()}
    batches, pools = Batches(streams(), seed=0), {name: ImagePool(pool) for name in "ab"}
    for images in (0, 8):
        a, b = (batches.take(name, 4).images for name in "ab")
        fake_b, fake_a = ab(a), ba(b)
        loss = ((of_b(fake_b)["score"] - 1) ** 2).mean() + ((of_a(fake_a)["score"] - 1) ** 2).mean()
        loss = loss + 10 * ((ba(fake_b) - a).abs().mean() + (ab(fake_a) - b).abs().mean())
        if identity:
            loss = loss + 10 * identity * ((ab(b) - b).abs().mean() + (ba(a) - a).abs().mean())
        adams["generator"].zero_grad()
        loss.backward()
        adams["generator"].step()
        for one, real, fake, name in ((of_a, a, fake_a, "a"), (of_b, b, fake_b, "b")):
            fake = pools[name].exchange(fake.detach(), seeds.generator(0, f"pool.{name}", images))
            judged = 0.5 * ((one(real)["score"] - 1) ** 2).mean() + 0.5 * (one(fake)["score"] ** 2).mean()
            if one is of_a:
                adams["discriminator"].zero_grad()
            judged.backward()
        adams["discriminator"].step()
    for name, value in colours.states(game.networks).items():
        torch.testing.assert_close(value, colours.states(twin.networks)[name], rtol=0, atol=5e-5)


class Watching:
    """A penalty that keeps what it was called with."""

    name, needs_scores, every = "watching", False, 1

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, judgement) -> Tensor:
        self.seen.append((judgement.real.images, judgement.fake.images))
        return 3 * judgement.score(judgement.fake.images, None).square().mean()


def test_penalties_see_the_fakes_that_the_discriminators_are_shown():
    game, exchanged = cycle(pool=4, penalties=[Watching()]), {"a": [], "b": []}
    for stream, pool in game.pools.items():

        def exchange(images, random, given=exchanged[stream], usual=pool.exchange):
            given.append((images, usual(images, random)))
            return given[-1][1]

        pool.exchange = exchange
    parts = colours.parts_of(game, streams(), PLAYERS)
    play(parts, rounds=2)
    for stream, given in exchanged.items():
        (first, second), (_, fakes) = given[1], game.penalties_of[stream]["watching"].seen[1]
        assert torch.equal(fakes, second)
        assert not torch.equal(fakes, first)  # some are of the round before
        assert parts.means.sums[f"discriminator.watching_{stream}"] > 0


def test_the_grid_shows_both_directions_and_the_way_back():
    game = cycle()
    first = {name: Batches({name: data}, seed=0).first(name, 3) for name, data in streams().items()}
    with torch.no_grad():
        images, columns = game.preview(game.networks, first, 0)
        there = game.networks["generator_ba"](first["b"].images)
    assert (len(images), columns) == (18, 6)
    assert torch.equal(images[6 + 3], first["b"].images[1])
    assert torch.equal(images[6 + 4], there[1])


def test_options_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="weights of 0 or more"):
        cycle(identity=-1.0)
    with pytest.raises(UserError, match=r"game\.pool=-1"):
        cycle(pool=-1)


def test_a_tiny_one_learns_to_change_the_colour_and_the_way_back():
    game = cycle()
    parts = colours.parts_of(game, streams(100), PLAYERS)
    images = from_bytes(colours.squares(64, [0], seed=1).images)

    def look():
        with torch.no_grad():
            made = game.networks["generator_ab"](images)
            back = game.networks["generator_ba"](made)
        return (colours.brightest(made) == 2).float().mean(), (back - images).abs().mean()

    before = look()
    play(parts, rounds=50)
    after = look()
    assert after[0] > 0.9
    assert after[1] < 0.5 * before[1]
