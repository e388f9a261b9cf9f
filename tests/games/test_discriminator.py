"""Every game with a discriminator applies every kind of penalty: of slopes, of scores, with state that is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frugan import build, games, losses, penalties, recipes
from frugan.batch import Batch, ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.discriminating import DiscriminatorStep, by_name
from frugan.engine import checkpoint
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, play
from frugan.engine.update import Player, Update
from frugan.games import DISCRIMINATOR, Classes, LatentSize, Order
from frugan.latents import Latents
from frugan.penalties import Judgement
from frugan.registry import UserError

SHAPE = ImageShape(1, 4, 4)
SEVERAL = ("star", "star_joint", "evolutionary", "bidirectional_unary")
"""Games that train the discriminator several times in a round."""


class Drawn:
    """Draws scores to the moving averages of the other kind, as LeCam does (Tseng et al. 2021)."""

    name = "drawn"
    needs_scores = True

    def __init__(self, weight: float = 0.5, every: int = 1) -> None:
        self.weight, self.every = weight, every
        self.means = torch.zeros(2)

    def __call__(self, judgement: Judgement) -> Tensor:
        real, fake = judgement.real_scores, judgement.fake_scores
        now = judgement.mean(torch.stack([real.mean(), fake.mean()]))
        self.means = 0.9 * self.means.to(now) + 0.1 * now
        apart = (real - self.means[1]).square().mean() + (fake - self.means[0]).square().mean()
        return self.weight * self.every * apart

    def state_dict(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.means = state["means"]


class Still(nn.Module):
    """Says that it grows, as one game needs, and has a single level."""

    image, top = SHAPE, 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(()))

    def grow(self, level: float) -> None:
        assert level == 0


class Maker(Still):
    """Latents or images, with a condition if it is told one, to images."""

    image_range = (-1.0, 1.0)

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.body = nn.Linear(size + classes, 16)

    def forward(self, given: Tensor, condition: Tensor | None = None) -> Tensor:
        told = [] if condition is None else [condition.float()]
        return self.body(torch.cat([given.flatten(1), *told], dim=1)).tanh().view(-1, *SHAPE)


class Reader(Still):
    """Images, or images with vectors, to outputs."""

    def __init__(self, outputs: Mapping[str, int], vector: int = 0) -> None:
        super().__init__()
        self.outputs, self.vector = dict(outputs), vector
        self.body = nn.Linear(16 + vector, sum(outputs.values()))

    def forward(self, images: Tensor, *given: Tensor | None) -> dict[str, Tensor]:
        vectors = [each for each in given[:1] if self.vector and each is not None]
        parts = self.body(torch.cat([images.flatten(1), *vectors], dim=1)).split(list(self.outputs.values()), dim=1)
        return dict(zip(self.outputs, parts, strict=True))


class Judge(Reader):
    """A discriminator; counts how many images it judged."""

    judged = 0

    def forward(self, images: Tensor, *given: Tensor | None) -> dict[str, Tensor]:
        self.judged += len(images)
        return super().forward(images, *given)

    def features(self, images: Tensor, *given: Tensor | None) -> list[Tensor]:
        return list(super().forward(images, *given).values())


def parts_of(name: str, held: list[Any], **options: Any) -> Parts:
    """A run of the game `name`, tiny, on noise with three classes in each stream."""
    torch.manual_seed(0)

    def number(size: Any) -> int:
        if isinstance(size, LatentSize):
            return 5
        return 3 * len(size.streams) + size.more if isinstance(size, Classes) else size or 0

    def network(order: Order) -> nn.Module:
        if order.part in ("encoder", "joint"):
            kind = Judge if order.role == DISCRIMINATOR else Reader
            outputs = {output: number(size) for output, size in (order.outputs or {}).items()}
            return kind(outputs, number(order.vector))
        return Maker(5 if order.part == "decoder" else 16, number(order.condition))

    networks = {one: network(order) for one, order in games.find(name).order().items()}
    given = {"batch_size": 4, "latents": Latents(5), "loss": losses.find("hinge"), "penalties": held, **options}
    game = games.find(name).game(**networks, **given)
    players: dict[str, dict[str, nn.Module]] = {}
    for one, module in networks.items():
        owner = owners(name).get(one, "")
        if owner:
            players.setdefault(owner, {})[one] = module
    streams = {}
    for number_, stream in enumerate(game.streams):
        random = torch.Generator().manual_seed(number_)
        images = torch.randint(0, 256, (12, *SHAPE), dtype=torch.uint8, generator=random)
        streams[stream] = Dataset(stream, "train", SHAPE, images, torch.arange(12) % 3, ("a", "b", "c"), stream)
    update = Update({one: Player(one, grouped, adam) for one, grouped in players.items()})
    return Parts(game, Batches(streams, seed=0), update, {}, seed=0, device=torch.device("cpu"))


def owners(game: str) -> dict[str, str]:
    """Which player trains which network, as the first recipe of this game says; a frozen network has none."""
    recipe = next(recipe for recipe in map(recipes.find, recipes.names()) if recipe.game.name == game)
    return {network: name for name, player in recipe.players.items() for network in player.networks}


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def states(parts: Parts) -> dict[str, Tensor]:
    return checkpoint.capture(parts.stateful())[0]


def judges(parts: Parts) -> list[Judge]:
    return [network for network in parts.game.networks.values() if isinstance(network, Judge)]


@pytest.mark.parametrize("name", games.names())
def test_a_penalty_with_state_is_resumed_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole, first, second = (parts_of(name, [Drawn(every=2)]) for _ in range(3))
    play(whole, rounds=6)
    play(first, rounds=3)
    path = checkpoint.write(tmp_path, first.stateful(), first.clock.images)
    checkpoint.restore(second.stateful(), *checkpoint.read(path))
    play(second, rounds=6)
    mine, theirs = states(whole), states(second)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[one], theirs[one]) for one in mine)
    kept = [state for one, state in mine.items() if one.startswith("penalty.drawn")]
    assert len(kept) == len(judges(whole))
    assert all(state.abs().min() > 0 for state in kept)
    assert len({tuple(state.tolist()) for state in kept}) == len(kept)  # of each discriminator, its own


@pytest.mark.parametrize("name", games.names())
def test_a_penalty_of_scores_takes_no_further_pass_and_changes_what_is_learnt(name: str) -> None:
    bare, priced = parts_of(name, []), parts_of(name, [Drawn()])
    play(bare, rounds=2)
    play(priced, rounds=2)
    assert [judge.judged for judge in judges(bare)] == [judge.judged for judge in judges(priced)]
    pairs = zip(judges(bare), judges(priced), strict=True)
    assert all(not torch.equal(one.body.weight, other.body.weight) for one, other in pairs)
    assert any(name.startswith("discriminator.drawn") for name in priced.means.sums)
    # The penalty is reported by itself, and the loss without it.
    bare, priced = parts_of(name, []), parts_of(name, [Drawn()])
    for parts in (bare, priced):
        play(parts, rounds=1)
    if name not in SEVERAL:
        assert bare.means.sums["discriminator.loss"] == priced.means.sums["discriminator.loss"]


@pytest.mark.parametrize("name", [name for name in games.names() if name != "simultaneous"])
def test_penalties_of_slopes_and_of_scores_go_together(name: str) -> None:
    held = [penalties.find("r1", every=2), Drawn(), penalties.find("wgan_gp")]
    parts = parts_of(name, held)
    play(parts, rounds=1)
    suffixes = ("_a", "_b") if name == "cycle" else ("",)
    for suffix in suffixes:
        assert {f"discriminator.{kind}{suffix}" for kind in ("r1", "drawn", "wgan_gp")} <= parts.means.sums.keys()
    parts.means.take()
    play(parts, rounds=2)  # the second round, in which r1 is not due
    assert not any("r1" in kind for kind in parts.means.sums)
    assert any("drawn" in kind for kind in parts.means.sums)


def test_the_gradient_is_that_of_the_loss_and_the_penalty_written_out() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 1, requires_grad=True)
    real, fake = torch.rand(4, 16), torch.rand(4, 16)
    held, loss = Drawn(weight=3.0), losses.find("non_saturating")
    step = DiscriminatorStep(
        loss, by_name([held]), lambda images, labels: images @ weight, Batch(real), Batch(fake), Progress(0, 0, 0), "0"
    )
    total = step.loss(real @ weight, fake @ weight, torch.Generator())
    (got,) = torch.autograd.grad(total, weight)
    means = [0.1 * (images @ weight).mean().item() for images in (real, fake)]
    drawn = 3 * (((real @ weight - means[1]) ** 2).mean() + ((fake @ weight - means[0]) ** 2).mean())
    softplus = nn.functional.softplus
    wanted = softplus(-real @ weight).mean() + softplus(fake @ weight).mean() + drawn
    torch.testing.assert_close(got, torch.autograd.grad(wanted, weight)[0])
    assert held.means.tolist() == pytest.approx(means)
    assert step.values["drawn"].item() == pytest.approx(drawn.item(), rel=1e-5)
    assert not any(value.requires_grad for value in step.values.values())
    assert step.further() == []


def test_state_is_made_of_means_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "mean", lambda self, tensor: torch.tensor([10.0, 20.0]))
    held = Drawn()
    play(parts_of("adversarial", [held]), rounds=1)
    assert held.means.tolist() == pytest.approx([1, 2])


def test_a_penalty_that_does_not_say_that_it_looks_at_scores_is_told_to() -> None:
    held = Drawn()
    held.needs_scores = False
    with pytest.raises(UserError, match="needs_scores = True"):
        play(parts_of("adversarial", [held]), rounds=1)


def test_scores_in_half_precision_are_widened() -> None:
    seen: list[torch.dtype] = []

    class Looks(Drawn):
        def __call__(self, judgement: Judgement) -> Tensor:
            seen.extend([judgement.real_scores.dtype, judgement.fake_scores.dtype])
            return super().__call__(judgement)

    parts = parts_of("adversarial", [Looks()])
    parts.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    play(parts, rounds=1)
    assert seen == [torch.float32] * 2


@pytest.mark.parametrize("name", ["adversarial", "cycle"])
def test_a_penalty_that_is_given_twice_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="r1, r1: one of them is given twice"):
        parts_of(name, [penalties.find("r1"), penalties.find("r1", weight=3)])


def test_penalties_are_told_the_labels_of_what_they_look_at() -> None:
    told: dict[str, Tensor | None] = {}
    real, fake = Batch(torch.rand(3, 16), torch.tensor([0, 1, 2])), Batch(torch.rand(3, 16), torch.tensor([2, 2, 2]))
    for name in ("r1", "r2", "dragan", "wgan_gp", "wgan_lp"):

        def score(images: Tensor, labels: Tensor | None, name: str = name) -> Tensor:
            told[name] = labels
            return images.square().sum(1)

        penalties.find(name)(Judgement(score, real, fake, torch.Generator()))
    of_real = {name for name, labels in told.items() if labels is real.labels}
    assert of_real == {"r1", "dragan"}
    assert {name for name, labels in told.items() if labels is fake.labels} == {"r2", "wgan_gp", "wgan_lp"}


def test_a_game_that_applies_no_penalties_is_refused_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(games.find("adversarial").game):  # type: ignore[misc]
        """Takes penalties and forgets them."""

        def __init__(self, *networks: nn.Module, penalties: Any = (), **given: Any) -> None:
            super().__init__(*networks, **given)

    monkeypatch.setattr(games.registry, "_added", {})
    games.add("bare", games.Variant(Bare, games.find("adversarial").order))
    recipe = recipes.find("mnist").with_changes({"game": "bare", "penalties": "r1"})
    with pytest.raises(UserError, match="'bare' does not use penalties, but the recipe has r1"):
        build.check(recipe)
    build.check(recipe.with_changes({"penalties": "none"}))


def test_a_game_whose_penalties_have_no_names_is_told_how_to_give_them_some() -> None:
    parts = parts_of("adversarial", [])
    parts.game.penalties = ()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"of Adversarial is a tuple. It must map name -> penalty.*by_name"):
        parts.stateful()
