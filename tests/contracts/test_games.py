"""Games of one's own find in the contract what they need; and what the games between two networks do beyond it.

That every registered game keeps the contract is tested in test_contracts.py. The games defined here use what only later
games of frugan's own will: several streams, trial copies, gradients that are not stepped, two gradients from one
forward pass, settling, forgotten moments.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frugan import build, games, losses, penalties, recipes, seeds
from frugan.batch import Batch, ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import checkpoint
from frugan.engine.average import Average
from frugan.engine.loop import Parts, play
from frugan.engine.observers import Moment
from frugan.engine.update import Player, Update
from frugan.games import Shipped
from frugan.latents import Latents
from frugan.registry import UserError

SHAPE = ImageShape(1, 4, 4)
CLASSES = 3


def dataset(seed: int = 0, count: int = 12, labelled: bool = True) -> Dataset:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=random)
    labels = torch.arange(count) % CLASSES if labelled else None
    classes = ("a", "b", "c") if labelled else ()
    return Dataset(f"noise-{seed}", "train", SHAPE, images, labels, classes, f"hash-{seed}")


class Generator(nn.Module):
    """Latents, and labels if it takes any, to images."""

    image_range = (-1.0, 1.0)

    def __init__(self, classes: int = 0, norm: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.latents = 5
        self.embed = nn.Embedding(classes, 5) if classes else None
        # A bias before a norm has no gradient but rounding, which Adam would make large.
        middle = [nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8)] if norm else [nn.Linear(5, 8)]
        self.body = nn.Sequential(*middle, nn.Tanh(), nn.Linear(8, 16), nn.Tanh())

    def forward(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            assert condition is not None
            latents = latents * self.embed(condition)
        else:
            assert condition is None
        return self.body(latents).view(-1, *SHAPE)


class Discriminator(nn.Module):
    """Images, and labels if it takes any, to a score and further outputs; remembers what it saw."""

    def __init__(self, classes: int = 0, outputs: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.outputs = dict(outputs or {"score": 1})
        self.embed = nn.Embedding(classes, 8) if classes else None
        self.first, self.last = nn.Linear(16, 8), nn.Linear(8, sum(self.outputs.values()))
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        self.seen.append((images.detach(), condition))
        hidden = nn.functional.leaky_relu(self.first(images.flatten(1)), 0.2)
        if self.embed is not None:
            hidden = hidden * self.embed(condition)
        parts = self.last(hidden).split(list(self.outputs.values()), dim=1)
        return dict(zip(self.outputs, parts, strict=True))


# But for the growing game, which needs networks that grow, and lets `adversarial` play its rounds.
PAIRED = [name for name in games.names() if "labels" in games.find(name).options() and name != "growing"]
"""The games of one generator and one discriminator."""


def pair(classes: int = 0, norm: bool = False) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"generator": Generator(classes, norm), "discriminator": Discriminator(classes)}


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01, betas=(0.5, 0.999))


def parts_of(game: Any, streams: Mapping[str, Dataset], averages: Mapping[str, Average] | None = None) -> Parts:
    grouped: dict[str, dict[str, nn.Module]] = {}
    for name, network in game.networks.items():
        grouped.setdefault(name.partition("_")[0], {})[name] = network
    players = {name: Player(name, networks, adam) for name, networks in grouped.items()}
    return Parts(game, Batches(streams, seed=0), Update(players), averages or {}, seed=0, device=torch.device("cpu"))


def made(name: str, networks: dict[str, nn.Module], **options: Any) -> Any:
    given = {"batch_size": 4, "latents": Latents(5), "loss": losses.find("non_saturating"), **options}
    return games.find(name).game(**networks, **given)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------- games between two networks


@pytest.mark.parametrize("name", PAIRED)
def test_labels_may_be_drawn_evenly(name):
    networks = pair(CLASSES)
    game = made(name, networks, labels="uniform", batch_size=30)
    data = dataset(count=30)
    data = dataclasses.replace(data, labels=torch.zeros(30, dtype=torch.int64))
    drawn: list[Tensor] = []
    networks["generator"].register_forward_hook(lambda module, given, out: drawn.append(given[1]))
    play(parts_of(game, {"train": data}), images=30)
    assert set(drawn[0].tolist()) == {0, 1, 2}
    with pytest.raises(UserError, match=r"these data have attributes\. Give game\.labels=real"):
        game.check_attributes()
    made(name, networks).check_attributes()
    with pytest.raises(UserError, match="Did you mean 'uniform'"):
        made(name, networks, labels="unifrom")


def unbroken_and_resumed(new: Callable[[], Parts], tmp_path: Path) -> tuple[Parts, Parts]:
    """Parts that played six rounds, and others that took over after three from a checkpoint and played on."""
    whole, first, second = new(), new(), new()
    play(whole, rounds=6)
    play(first, rounds=3)
    path = checkpoint.write(tmp_path, first.stateful(), first.clock.images)
    checkpoint.restore(second.stateful(), *checkpoint.read(path))
    play(second, rounds=6)
    return whole, second


@pytest.mark.parametrize("name", PAIRED)
def test_twins_see_the_same_images_and_latents_whatever_their_weights(name):
    def seen(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        networks = {"generator": Generator(), "discriminator": Discriminator()}
        latents: list[Tensor] = []
        networks["generator"].register_forward_hook(lambda module, given, out: latents.append(given[0]))
        game = made(name, networks)
        play(parts_of(game, {"train": dataset()}), images=12)
        assert isinstance(networks["discriminator"], Discriminator)
        return latents + [images for images, _ in networks["discriminator"].seen[::2]]

    one, other = seen(0), seen(1)
    reals = {image.numpy().tobytes() for image in one[3:]} & {image.numpy().tobytes() for image in other[3:]}
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(one[:3], other[:3], strict=True))
    assert reals


# ------------------------------------------------------------------------------------------------- the adversarial game


@pytest.mark.parametrize("fresh", [False, True])
def test_three_rounds_of_adversarial_equal_a_loop_written_out(fresh):
    networks = pair(norm=True)
    game = made("adversarial", networks, fresh_latents=fresh)
    parts = parts_of(game, {"train": dataset()})
    got = []
    for _ in range(3):
        play(parts, images=parts.clock.images + 4)
        taken = parts.means.take()
        got.append((taken["discriminator.loss"], taken["generator.loss"]))

    hand = pair(norm=True)
    generator, discriminator = hand["generator"], hand["discriminator"]
    steps = {name: adam(network.parameters()) for name, network in hand.items()}
    batches, latents = Batches({"train": dataset()}, seed=0), Latents(5)
    bce = nn.functional.binary_cross_entropy_with_logits
    for round_, (d_loss, g_loss) in enumerate(got):
        real = batches.take("train", 4)

        def drawn(name: str, images: int = 4 * round_) -> Tensor:
            return latents.draw(4, seeds.generator(0, name, images))

        fake = generator(drawn("latents.0"))
        scores = discriminator(real.images)["score"], discriminator(fake.detach())["score"]
        loss = bce(scores[0], torch.ones(4, 1)) + bce(scores[1], torch.zeros(4, 1))
        steps["discriminator"].zero_grad()
        loss.backward()
        steps["discriminator"].step()
        assert loss.item() == pytest.approx(d_loss, abs=1e-5)
        if fresh:
            fake = generator(drawn("latents.generator"))
        loss = bce(discriminator(fake)["score"], torch.ones(4, 1))
        steps["generator"].zero_grad()
        loss.backward()
        steps["generator"].step()
        assert loss.item() == pytest.approx(g_loss, abs=1e-5)
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, hand[name].state_dict()[key], rtol=0, atol=1e-5)


def test_in_adversarial_each_step_leaves_the_other_network_unchanged(monkeypatch):
    networks = pair()
    game = made("adversarial", networks, loss=losses.find("relativistic"), penalties=[])
    parts = parts_of(game, {"train": dataset()})
    usual = type(parts.update)._step
    order = []

    def step(self, player, given):
        other = {"generator": "discriminator", "discriminator": "generator"}[player.name]
        before = weights(networks[other])

        def watched(loss):
            assert not any(p.requires_grad for p in networks[other].parameters())
            return loss()

        values = usual(self, player, [functools.partial(watched, loss) for loss in given])
        assert same(before, weights(networks[other]))
        assert all(p.grad is None for p in networks[other].parameters())
        order.append(player.name)
        return values

    monkeypatch.setattr(type(parts.update), "_step", step)
    play(parts, images=8)
    assert order == ["discriminator", "generator"] * 2


def test_penalties_come_at_their_own_rhythm_and_several_discriminator_steps_see_fresh_images():
    networks = pair()
    game = made("adversarial", networks, penalties=[penalties.find("r1", every=2)], discriminator_steps=2)
    parts = parts_of(game, {"train": dataset()})
    play(parts, images=24)
    assert parts.clock.rounds == 3
    discriminator = networks["discriminator"]
    assert isinstance(discriminator, Discriminator)
    # Rounds 0 and 2 have the penalty: two turns of (real, fake, penalty), then the generator's; round 1 has none.
    assert len(discriminator.seen) == 7 + 5 + 7
    first, second = discriminator.seen[0][0], discriminator.seen[3][0]
    assert not torch.equal(first, second)
    assert "discriminator.r1" in parts.means.sums


def test_simultaneous_makes_one_forward_pass_and_has_no_place_for_penalties():
    networks = pair()
    calls = []
    networks["generator"].register_forward_hook(lambda *given: calls.append(1))
    game = made("simultaneous", networks)
    play(parts_of(game, {"train": dataset()}), images=4)
    discriminator = networks["discriminator"]
    assert isinstance(discriminator, Discriminator)
    assert (len(calls), len(discriminator.seen)) == (1, 2)
    with pytest.raises(UserError, match="cannot use penalties"):
        made("simultaneous", networks, penalties=[penalties.find("r1")])


# --------------------------------------------------------------------------------------------------- games of one's own


class Own:
    """What the games below share: nothing but saying what they hold."""

    def __init__(self, **networks: nn.Module) -> None:
        self.networks = networks

    def sample(self, networks: Mapping[str, nn.Module], like: Batch, seed: int) -> Tensor:
        return networks["generator"](Latents(5).rows(0, like.count, seed))

    def shipped(self) -> dict[str, Shipped]:
        return {"generator": Shipped("generator")}

    def settle(self, network: nn.Module, seed: int) -> None:
        games.settle(network, seed)


class SemiSupervised(Own):
    """Two streams of one run: labelled images teach the classes, unlabelled ones what is real."""

    streams = ("labelled", "unlabelled")

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__(**networks)
        self.counts: list[tuple[int, int]] = []

    def step(self, batches, progress, update):
        labelled, unlabelled = batches.take("labelled", 2), batches.take("unlabelled", 6)
        assert unlabelled.labels is None
        self.counts.append((labelled.count, unlabelled.count))
        discriminator = self.networks["discriminator"]

        def classes():
            score = discriminator(labelled.images)["score"]
            return nn.functional.binary_cross_entropy_with_logits(score, (labelled.labels[:, None] > 0).float())

        def real():
            return nn.functional.softplus(-discriminator(unlabelled.images)["score"]).mean()

        values = update("discriminator", classes, real)
        return {"discriminator.classes": values[0], "discriminator.loss": values[1]}


class Translating(Own):
    """Streams A and B of different sizes: pairs never meet twice in the same way."""

    streams = ("A", "B")

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__(**networks)
        self.seen: dict[str, list[Tensor]] = {"A": [], "B": []}

    def step(self, batches, progress, update):
        a, b = (batches.take(stream, 4).images for stream in self.streams)
        self.seen["A"].append(a)
        self.seen["B"].append(b)
        there = self.networks["discriminator"]
        return {"loss": update("discriminator", lambda: (there(a)["score"] - there(b)["score"]).mean())[0]}


class Evolving(Own):
    """Every round the generator has two children, and the one that fools the discriminator better takes its place."""

    streams = ("train",)

    def step(self, batches, progress, update):
        real = batches.take("train", 4)
        latents = Latents(5).draw(4, progress.generator("latents"))
        discriminator = self.networks["discriminator"]
        children, fitness = [], []
        for name in ("non_saturating", "minimax"):
            loss, child = losses.find(name), update.fork("generator")
            fork = child.networks["generator"]
            child.update(lambda fork=fork, loss=loss: loss.generator(discriminator(fork(latents))["score"]))
            children.append(child)
            with torch.no_grad():
                quality = discriminator(fork(latents))["score"].sigmoid().mean()
            fake = fork(latents).detach()
            grads = update.gradients("discriminator", lambda fake=fake: self.judged(real.images, fake))
            diversity = -torch.log(torch.stack([grad.square().sum() for grad in grads.values()]).sum())
            fitness.append(quality + 0.1 * diversity)
        best = int(torch.stack(fitness).argmax())
        children[best].keep()
        fake = self.networks["generator"](latents).detach()
        return {"fitness": fitness[best], "loss": update("discriminator", lambda: self.judged(real.images, fake))[0]}

    def judged(self, real: Tensor, fake: Tensor) -> Tensor:
        score = self.networks["discriminator"]
        return losses.find("non_saturating").discriminator(score(real)["score"], score(fake)["score"])


class Forgetting(Own):
    """Forgets the discriminator's moments in every other round."""

    streams = ("train",)

    def step(self, batches, progress, update):
        real = batches.take("train", 4)
        if progress.rounds % 2 == 0:
            update.reset("discriminator")
        loss = update("discriminator", lambda: self.networks["discriminator"](real.images)["score"].square().mean())[0]
        return {"loss": loss}


class Remembering(Own):
    """A game with state of its own, which travels with the run."""

    streams = ("train",)

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__(**networks)
        self.mean = torch.zeros(())

    def step(self, batches, progress, update):
        self.mean = self.mean + batches.take("train", 4).images.mean()
        return {"mean": self.mean}

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


class Idle(Own):
    """Takes no real image, so that nothing could be counted."""

    streams = ("train",)

    def step(self, batches, progress, update):
        return {}


STREAMS = {
    SemiSupervised: {"labelled": dataset(0, 5), "unlabelled": dataset(1, 9, labelled=False)},
    Translating: {"A": dataset(0, 12), "B": dataset(1, 7)},
    Evolving: {"train": dataset()}, Forgetting: {"train": dataset()}, Remembering: {"train": dataset()},
}


@pytest.mark.parametrize("kind", STREAMS, ids=lambda kind: kind.__name__)
def test_games_of_ones_own_resume_bit_for_bit(kind, tmp_path):
    """Each with its streams, forks and state: played to the half, kept, loaded into new parts, and played on."""

    def new() -> Parts:
        networks = pair(norm=True)
        averages = {"generator": Average(networks["generator"], 30)}
        return parts_of(kind(**networks), STREAMS[kind], averages)

    whole, second = unbroken_and_resumed(new, tmp_path)
    (mine, facts), (theirs, others) = (checkpoint.capture(parts.stateful()) for parts in (whole, second))
    assert same(mine, theirs)
    for part in ("batches", "optimiser.discriminator"):
        assert facts[part] == others[part]
    assert (whole.clock.images, whole.clock.rounds) == (second.clock.images, second.clock.rounds)


def test_images_are_counted_over_all_streams():
    parts = parts_of(SemiSupervised(**pair()), STREAMS[SemiSupervised])
    play(parts, images=16)
    assert (parts.clock.images, parts.clock.rounds) == (16, 2)
    assert parts.batches.state_dict() == {"labelled": 4, "unlabelled": 12}
    game = parts.game
    assert isinstance(game, SemiSupervised)
    assert game.counts == [(2, 6)] * 2
    translating = parts_of(Translating(**pair()), STREAMS[Translating])
    play(translating, rounds=7)
    assert translating.batches.state_dict() == {"A": 28, "B": 28}
    assert isinstance(translating.game, Translating)
    everyone = torch.cat(translating.game.seen["B"])
    assert len(torch.unique(everyone.flatten(1), dim=0)) == 7  # B went round four times while A did so twice


def test_a_round_without_a_real_image_is_refused_for_it_would_never_end():
    with pytest.raises(UserError, match=r"took no real images in a round.*\(train\): batches\.take"):
        play(parts_of(Idle(**pair()), {"train": dataset()}), images=8)


def test_an_evolving_generator_takes_over_a_child_and_its_moments():
    parts = parts_of(Evolving(**pair(norm=True)), STREAMS[Evolving])
    before = weights(parts.game.networks["generator"])
    play(parts, rounds=3)
    optimiser = parts.update.players["generator"].optimiser
    assert not same(before, weights(parts.game.networks["generator"]))
    assert {int(state["step"]) for state in optimiser.state.values()} == {3}


def test_forgotten_moments_begin_anew():
    parts = parts_of(Forgetting(**pair()), STREAMS[Forgetting])
    play(parts, rounds=3)
    assert {int(state["step"]) for state in parts.update.players["discriminator"].optimiser.state.values()} == {1}


def test_settling_recomputes_virtual_batch_norm_for_the_averaged_weights(tmp_path):
    """What a look at the averaged generator shows follows from its weights, whenever statistics were last taken."""
    keys = {
        "generator.channels": [4, 4, 4], "generator.reference": 4, "discriminator.channels": [4, 4, 4, 4],
        "latents.size": 4, "data.size": 8, "batch_size": 4, "precision": "float32",
    }
    recipe = recipes.find("vbn").with_changes(keys)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=random)
    noise = Dataset("noise", "train", ImageShape(1, 8, 8), images, None, (), "hash")
    parts = build.parts(build.assemble(recipe), {"train": noise})
    play(parts, rounds=4)
    like = Batch(torch.zeros(5, 1, 8, 8))

    def look() -> Tensor:
        clock, averaged = parts.clock, parts.averaged()
        moment = Moment(clock.images, clock.rounds, 0.0, 1, {}, parts.game, parts.game.networks, averaged)
        return moment.sample(like, 0)

    averaged = parts.averages["generator"].network
    unsettled = parts.game.sample(parts.averaged(), like, 0)
    settled = look()
    assert not torch.equal(unsettled, settled)
    for name, buffer in averaged.named_buffers():
        if "mean" in name or "square" in name:
            buffer.add_(1.0)
    torch.testing.assert_close(look(), settled)
    live = parts.game.networks["generator"]
    assert live.training
    assert live.network.training  # type: ignore[union-attr]
    # A look changes nothing of what is played afterwards.
    twin = build.parts(build.assemble(recipe), {"train": noise})
    play(twin, rounds=4)
    play(twin, rounds=6)
    play(parts, rounds=6)
    assert same(weights(live), weights(twin.game.networks["generator"]))
    assert same(weights(averaged), weights(twin.averages["generator"].network))
