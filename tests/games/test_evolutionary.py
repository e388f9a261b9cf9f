"""The evolutionary game against the formulas of the E-GAN sheet, on networks small enough to follow by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from frugan import losses, recipes
from frugan.batch import Batch, ImageShape
from frugan.convs import Layers
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import checkpoint
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, Stopped, play, play_round
from frugan.engine.update import Player, Update
from frugan.games import evolutionary
from frugan.games.evolutionary import MUTATIONS, Child, Evolutionary, Passed, dealt, diversity_of, name_of, select
from frugan.latents import Latents
from frugan.losses import AdversarialLoss
from frugan.nets import find as find_architecture
from frugan.registry import UserError

BATCH, SIZE = 4, 8


def noise(count: int = 24, channels: int = 1) -> Dataset:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return Dataset("noise", "train", ImageShape(channels, SIZE, SIZE), images, None, (), "hash")


def nets(parents: int = 1) -> dict[str, nn.Module]:
    """E-GAN's own networks, hardly any channels wide, and batch norm in the discriminator."""
    torch.manual_seed(0)
    shape, egan = ImageShape(1, SIZE, SIZE), find_architecture("egan")
    made = {name_of(n): egan.part("decoder")(shape, 5, Layers(), 0, channels=4, ends="kept") for n in range(parents)}
    judge = egan.part("encoder")(shape, {"score": 1}, Layers(), 0, channels=4, ends="kept", bias=False)
    return {**made, "discriminator": judge}


def parts_of(networks: dict[str, nn.Module] | None = None, data: Dataset | None = None, **options: Any) -> Parts:
    networks = nets(options.get("parents", 1)) if networks is None else networks
    usual = {"batch_size": BATCH, "latents": Latents(5), "loss": losses.find("non_saturating")}
    game = Evolutionary(**{**usual, **networks, **options})
    players = {
        name: Player(name, {name: network}, lambda parameters: torch.optim.Adam(parameters, 1e-3, betas=(0.5, 0.999)))
        for name, network in networks.items()
    }
    return Parts(
        game, Batches({"train": noise() if data is None else data}, seed=0), Update(players), {}, seed=0,
        device=torch.device("cpu"),
    )


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def child(mutation: str = "minimax", fitness: float = math.nan, fakes: Tensor | None = None) -> Child:
    return Child(mutation, None, Batch(torch.zeros(1) if fakes is None else fakes), fitness=fitness)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- the formulas

LOGITS = torch.tensor([0.0, math.log(3.0)], dtype=torch.float64)


@pytest.mark.parametrize(("loss", "value", "slope"), [
    (losses.find("minimax"), -1.039721, (-0.25, -0.375)),
    (losses.find("non_saturating"), 0.490415, (-0.25, -0.125)),
    (losses.find("sigmoid_lsgan"), 0.156250, (-0.125, -0.046875)),
    (losses.find("lsgan", generator_weight=1.0), 0.504862, (-1.0, 0.0986123)),
], ids=["minimax", "heuristic", "least squares on the probability", "least squares on the logit"])  # fmt: skip
def test_egan_sheet_5_2_mutations_and_their_slopes(loss, value, slope):
    logits = LOGITS.clone().requires_grad_()
    found = loss.generator(logits)
    found.backward()
    assert found.item() == pytest.approx(value, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx(slope, abs=1e-6)


class OneWeight(nn.Module):
    """A discriminator o = w x + b of images of one pixel, with w = b = 0 unless said."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.constant_(self.layer.bias, bias)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        return {"score": self.layer(images.flatten(1))}


def measured(real: float, **options: Any) -> Child:
    """The child whose fake is -1, beside a real image."""
    judge = OneWeight()
    parts = parts_of({"generator": nn.Linear(5, 1), "discriminator": judge}, **options)
    one = child(fakes=torch.full((1, 1, 1, 1), -1.0))
    assert isinstance(parts.game, Evolutionary)
    parts.game._measure([one], Batch(torch.full((1, 1, 1, 1), real)), Progress(0, 0, 0), parts.update)
    return one


def test_egan_sheet_5_2_fitness_of_a_discriminator_with_one_weight():
    one = measured(real=1.0)
    assert (one.quality, one.diversity) == (0.5, 0.0)
    other = measured(real=2.0, gamma=0.01)
    assert other.diversity == pytest.approx(-0.405465, abs=1e-6)
    assert other.fitness == pytest.approx(0.495945, abs=1e-6)
    loss = losses.find("non_saturating").discriminator(torch.zeros(1), torch.zeros(1))
    assert float(loss) == pytest.approx(1.386294, abs=1e-6)


def test_egan_sheet_5_2_quality_is_the_mean_probability():
    judge = nn.Identity()
    parts = parts_of({"generator": nn.Linear(5, 1), "discriminator": nn.Linear(1, 1)}, gamma=0.0)
    parts.game.pair.discriminator.forward = lambda images, condition=None: {"score": judge(images)}  # type: ignore[attr-defined]
    one = child(fakes=LOGITS[:, None])
    parts.game._measure([one], Batch(LOGITS[:, None]), Progress(0, 0, 0), parts.update)  # type: ignore[attr-defined]
    assert one.quality == one.fitness == pytest.approx(0.625)


def test_egan_sheet_5_2_the_squared_norm_counts_twice():
    one, other = measured(real=2.0, gamma=0.01), measured(real=2.0, gamma=0.005, diversity="squared_norm")
    assert other.fitness == pytest.approx(one.fitness, abs=1e-7)
    assert other.diversity == pytest.approx(2 * one.diversity)
    assert math.isfinite(diversity_of(torch.zeros(())).item())


def test_egan_sheet_5_2_gradients_of_one_shared_pass_are_those_of_three():
    parts = parts_of()
    game, progress = parts.game, Progress(0, 0, 0)
    assert isinstance(game, Evolutionary)
    generator, real = game.networks["generator"], parts.batches.take("train", BATCH)
    passed = Passed(game.pair, game.pair.fake(real, progress, "latents.mutation.all"), progress)
    for name, mutation in game.mutations.items():
        fakes = game.pair.fake(real, progress, "latents.mutation.all")
        loss = mutation.generator(game.pair.score(fakes.images, None))
        alone = torch.autograd.grad(loss, list(generator.parameters()))
        together = passed.gradients(mutation, progress)
        assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True)), name
        assert any(one.abs().max() > 0 for one in alone)


def test_egan_sheet_5_2_the_two_halves_are_the_joint_gradient():
    """With batch norm in training mode: its reals and fakes are passes of their own."""
    parts = parts_of()
    game, real = parts.game, parts.batches.take("train", 8)
    assert isinstance(game, Evolutionary)
    one = child(fakes=torch.rand(8, 1, SIZE, SIZE))
    game._measure([one], real, Progress(0, 0, 0), parts.update)
    judge = game.networks["discriminator"]
    scores = judge(real.images)["score"], judge(one.fakes.images)["score"]
    joint = torch.autograd.grad(softplus(-scores[0]).mean() + softplus(scores[1]).mean(), list(judge.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in joint]).norm()
    assert one.diversity == pytest.approx(-math.log(norm), abs=1e-6)
    assert one.quality == pytest.approx(scores[1].sigmoid().mean().item(), abs=1e-6)


# -------------------------------------------------------------------------------------------------------- the algorithm


def test_egan_sheet_5_2_the_survivors_optimiser_has_made_one_step_more():
    parts = parts_of()
    for rounds in (1, 2):
        play_round(parts)
        steps = {int(value["step"]) for value in parts.update.players["generator"].optimiser.state.values()}
        assert steps == {rounds}


@pytest.mark.parametrize("wanted", MUTATIONS)
@pytest.mark.parametrize("fresh", [False, True])
def test_egan_sheet_5_2_the_survivor_is_one_manual_step_of_its_parent(wanted, fresh, monkeypatch):
    def prefer(self, children, real, progress, update):
        for one in children:
            one.fitness = float(one.mutation == wanted)

    monkeypatch.setattr(Evolutionary, "_measure", prefer)
    parts = parts_of(fresh_latents=fresh)
    hand = nets()
    place = f"generator.{MUTATIONS.index(wanted)}" if fresh else "all"
    latents = Latents(5).draw(BATCH, Progress(0, 0, 0).generator(f"latents.mutation.{place}"))
    scalars = play_round(parts)
    optimiser = torch.optim.Adam(hand["generator"].parameters(), 1e-3, betas=(0.5, 0.999))
    losses.find(wanted).generator(hand["discriminator"](hand["generator"](latents))["score"]).backward()
    optimiser.step()
    for name, weight in parts.game.networks["generator"].state_dict().items():
        torch.testing.assert_close(weight, hand["generator"].state_dict()[name], rtol=0, atol=1e-7)
    assert {name: scalars[f"shares.mutations.{name}"] for name in MUTATIONS} == {
        name: float(name == wanted) for name in MUTATIONS
    }


def test_egan_sheet_5_2_mutation_and_fitness_leave_the_discriminators_weights(monkeypatch):
    monkeypatch.setattr(Evolutionary, "_train_discriminator", lambda *given: {})
    parts = parts_of()
    judge = parts.game.networks["discriminator"]
    before, weights = state(judge), [weight.clone() for weight in judge.parameters()]
    play_round(parts)
    assert all(torch.equal(one, other) for one, other in zip(weights, judge.parameters(), strict=True))
    assert all(weight.grad is None for weight in judge.parameters())
    moved = {name for name, tensor in state(judge).items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked") for name in moved)


def test_egan_sheet_5_2_selection_keeps_the_fittest():
    children = [child(fitness=value) for value in (0.1, 0.4, math.nan, 0.3, math.inf, -1.0)]
    assert [one.fitness for one in select(children, 2, 0.01, 0)] == [0.4, 0.3]


def test_egan_sheet_5_2_the_loaders_images():
    """The sheet's loader reads 32 more, for a term that has no gradient."""
    assert (32 * (3 + 1) + 256, 50_000 // (32 * (3 + 1) + 256)) == (384, 130)
    published = recipes.find("egan-large").game.options
    assert (published["evaluation"], published["fresh_latents"]) == (256, True)
    parts = parts_of(batch_size=32, evaluation=256)
    before = parts.batches.taken
    play_round(parts)
    assert parts.batches.taken - before == 384 - 32


def test_no_parent_survives_even_if_all_children_are_worse(monkeypatch):
    monkeypatch.setattr(evolutionary, "select", lambda children, count, gamma, images: children[-count:])
    parts = parts_of()
    before = state(parts.game.networks["generator"])
    play_round(parts)
    assert not same(before, state(parts.game.networks["generator"]))


def test_several_parents_are_the_fittest_of_all_children_with_their_own_moments(monkeypatch):
    ranks = iter([1, 5, 2, 4, 0, 3])  # of three children each of two parents

    def rank(self, children, real, progress, update):
        for one in children:
            one.fitness = float(next(ranks))

    monkeypatch.setattr(Evolutionary, "_measure", rank)
    kept: list[tuple[int, str | None]] = []
    parts = parts_of(parents=2)
    usual = parts.update.fork
    made: list[Any] = []

    def fork(player: str) -> Any:
        one = usual(player)
        number, keep = len(made), one.keep
        one.keep = lambda into=None: (kept.append((number, into)), keep(into))[0]
        made.append(one)
        return one

    monkeypatch.setattr(parts.update, "fork", fork)
    play_round(parts)
    assert kept == [(1, "generator"), (3, "generator_1")]
    assert [one.player.name for one in made] == ["generator"] * 3 + ["generator_1"] * 3
    for name, number in (("generator", 1), ("generator_1", 3)):
        (trained,) = made[number].networks.values()
        assert same(state(parts.game.networks[name]), state(trained))
        both = parts.update.players[name], made[number].player
        mine, theirs = (one.optimiser.state_dict()["state"] for one in both)
        assert all(torch.equal(mine[key]["exp_avg"], theirs[key]["exp_avg"]) for key in mine)


def test_the_discriminator_is_trained_on_the_images_that_fitness_saw():
    parts = parts_of(parents=2)
    game = parts.game
    assert isinstance(game, Evolutionary)
    made: list[bytes] = []
    fake = type(game.pair).fake

    def remembered(self, real, progress, name, graph=True):
        batch = fake(self, real, progress, name, graph)
        if "fitness" in name:
            made.extend(image.numpy().tobytes() for image in batch.images)
        return batch

    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(game.pair), "fake", remembered)
        usual = type(game.pair).begin_step

        def begin_step(self, real, fakes, progress, turn):
            seen.extend(image.numpy().tobytes() for image in fakes.images)
            return usual(self, real, fakes, progress, turn)

        patch.setattr(type(game.pair), "begin_step", begin_step)
        play_round(parts)
    assert len(made) == 6 * 12
    assert len(seen) == len(set(seen)) == 3 * BATCH
    assert set(seen) <= set(made)


@pytest.mark.parametrize(("survivors", "have", "count"), [(1, 12, 4), (1, 32, 4), (2, 12, 4), (3, 16, 4), (8, 12, 4)])
def test_images_are_dealt_once_and_alike_by_several_processes(survivors, have, count):
    def batches(begin: int, end: int) -> list[Batch]:
        return [Batch(torch.arange(begin, end) + 100 * number, torch.arange(begin, end)) for number in range(survivors)]

    whole = [dealt(batches(0, have), turn, 3, count) for turn in range(3)]
    images = torch.cat([batch.images for batch in whole])
    assert len(images.unique()) == len(images) == 3 * count
    assert all(torch.equal(batch.labels, batch.images % 100) for batch in whole)
    half = have // 2
    for turn in range(3):
        parts = [dealt(batches(rank * half, (rank + 1) * half), turn, 3, count // 2).images for rank in (0, 1)]
        if survivors in (1, 2) and have % (3 * count // survivors) == 0:
            assert sorted(torch.cat(parts).tolist()) == sorted(whole[turn].images.tolist())


def test_one_child_alone_needs_no_fitness(monkeypatch):
    monkeypatch.setattr(Evolutionary, "_measure", lambda *given: pytest.fail("it was measured"))
    scalars = play_round(parts_of(mutations=["minimax"]))
    assert scalars["shares.mutations.minimax"] == 1
    assert not any(name.startswith("fitness") for name in scalars)


# --------------------------------------------------------------------------------------------- dead children, bad input


def poisoned(fake: Tensor, real: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
    return fake.mean() * math.nan


@pytest.fixture
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation that is never finite."""
    healthy = losses.find("non_saturating")
    loss = AdversarialLoss("poison", healthy.discriminator, poisoned)
    monkeypatch.setitem(losses._known._added, "poison", lambda: loss)


@pytest.mark.usefixtures("_poison")
def test_a_child_that_is_not_finite_is_dead_and_the_run_goes_on():
    parts = parts_of(mutations=["non_saturating", "poison", "minimax"])
    alone = parts_of(mutations=["non_saturating", "minimax"])
    for one in (parts, alone):
        play(one, rounds=3)
    assert parts.means.peek()["generator.alive"] == 2
    assert same(state(parts.game.networks["generator"]), state(alone.game.networks["generator"]))


@pytest.mark.usefixtures("_poison")
def test_with_no_child_alive_the_run_stops_and_says_what_was_not_finite():
    with pytest.raises(Stopped, match=r"loss 1 \(nan\) of a trial copy of the player 'generator' is not finite"):
        play(parts_of(mutations=["poison"]), rounds=2)


def test_a_gamma_that_leaves_no_fitness_finite_is_told_in_one_line():
    line = (
        r"no child has a finite fitness F_q \+ gamma F_d: F_q is 0\.\d+ and F_d .* with game\.gamma=1\.7e\+308\. "
        r"Give game\.gamma a smaller number, such as 0\.01\.$"
    )
    with pytest.raises(UserError, match=line) as told:
        play_round(parts_of(gamma=1.7e308, diversity="squared_norm"))
    assert "\n" not in str(told.value)
    for gamma in (math.inf, math.nan, -0.1):
        with pytest.raises(UserError, match=r"game\.gamma=.*: give a number of 0 or more, such as 0\.01"):
            parts_of(gamma=gamma)
    with pytest.raises(UserError, match=r"gradients are not finite: lower players\.discriminator\.learning_rate"):
        select([child()], 1, 0.01, 0)


@pytest.mark.parametrize(("options", "told"), [
    ({"mutations": ["minmax"]}, "Did you mean 'minimax'"),
    ({"mutations": []}, r"give a list of losses, such as \[non_saturating,minimax,sigmoid_lsgan\]"),
    ({"mutations": "minimax"}, "give a list of losses"),
    ({"mutations": ["minimax", "minimax"]}, "give every loss once"),
    ({"mutations": ["relativistic"]}, "'relativistic' compares fakes with real images"),
    ({"loss": losses.find("relativistic_average")}, r"Use another loss, e\.g\. loss=non_saturating"),
    ({"diversity": "norms"}, "Did you mean 'norm'"),
    ({"evaluation": 11}, r"its 3 steps need 12 of each survivor\. Give 12 or more"),
    ({"discriminator_steps": 0}, "give a whole number, 1 or more"),
])  # fmt: skip
def test_options_that_cannot_be_played_are_named(options, told):
    with pytest.raises(UserError, match=told):
        parts_of(**options)


@pytest.mark.parametrize("parents", [0, 1.5, "two"])
def test_a_population_has_a_member(parents):
    with pytest.raises(UserError, match=rf"game\.parents={parents}: give a whole number, 1 or more"):
        evolutionary.order(parents=parents)


# --------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize("options", [{"parents": 2}, {"fresh_latents": True, "evaluation": 16}])
def test_killed_between_two_generations_it_goes_on_bit_for_bit(options, tmp_path):
    whole, first, second = (parts_of(**options) for _ in range(3))
    play(whole, rounds=4)
    play(first, rounds=2)
    path = checkpoint.write(tmp_path, first.stateful(), first.clock.images)
    checkpoint.restore(second.stateful(), *checkpoint.read(path))
    play(second, rounds=4)
    (mine, _), (theirs, _) = (checkpoint.capture(parts.stateful()) for parts in (whole, second))
    assert same(mine, theirs)
