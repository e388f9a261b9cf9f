"""StarGAN's games: the formulas, the order of play, target labels, and that a tiny one learns."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from frugan import games, losses, nets, penalties, schedules, seeds
from frugan.batch import Batch, from_bytes
from frugan.convs import Layers
from frugan.data.batches import Batches
from frugan.discriminating import judge
from frugan.engine.loop import play
from frugan.games._domains import Domains, targets
from frugan.latents import Latents
from frugan.penalties import Judgement
from frugan.registry import UserError

spec = importlib.util.spec_from_file_location("colours", Path(__file__).with_name("colours.py"))
assert spec is not None
assert spec.loader is not None
colours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colours)
PLAYERS = {name: (name,) for name in ("generator", "discriminator")}


def star(size=2, name="star", told=None, outputs=None, **options):
    torch.manual_seed(0)
    generator = nets.find("stargan").part("translator")(
        colours.SHAPE, Layers(), told or size, width=1 / 8, blocks=1, stages=1
    )
    outputs = outputs or {"score": 1, "classes": size}
    discriminator = nets.find("stargan").part("encoder")(colours.SHAPE, outputs, Layers(), width=1 / 8)
    given = {
        "batch_size": 8, "latents": Latents(1), "loss": losses.find("wgan"), "penalties": [penalties.find("wgan_gp")],
        "discriminator_steps": 3, **options,
    }
    return games.find(name).game(generator, discriminator, **given)


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "batch_norm", "spectral"])
def test_real_and_fake_are_judged_in_one_call_where_it_is_the_same(normalisation):
    torch.manual_seed(0)
    judging = nets.find("dcgan").part("encoder")(
        colours.SHAPE, {"score": 1, "classes": 2}, Layers(), width=1 / 8, normalisation=normalisation
    ).double()
    real, fake = torch.randn(2, 4, *colours.SHAPE, dtype=torch.float64)
    calls = []
    judging.register_forward_hook(lambda *given: calls.append(len(given[1][0])))
    with torch.no_grad():
        judged = judge(judging, real, fake)
        assert calls == ([8] if normalisation in ("none", "layer_norm") else [4, 4])
        apart = judging(real), judging(fake)
    if normalisation != "spectral":  # whose estimate moves with every call
        for one, other in zip(judged, apart, strict=True):
            assert one.keys() == other.keys() == {"score", "classes"}
            assert all(torch.allclose(one[name], other[name], atol=1e-12) for name in one)


# -------------------------------------------------------------------------------------------------------- formulas


def test_stargan_depthwise_sheet_5_7_the_penalty_acts_on_the_sum_of_the_patch_scores():
    def critic(images):
        return (0.01 * images.sum((1, 2, 3))).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    real, fake = torch.rand(2, 2, 3, 128, 128, dtype=torch.float64)
    step = Judgement(lambda images, labels: critic(images), Batch(real), Batch(fake), torch.Generator().manual_seed(0))
    penalty = penalties.find("wgan_gp", weight=1.0)(step)
    assert penalty.item() == pytest.approx((0.04 * math.sqrt(49152) - 1) ** 2)
    assert penalty.item() == pytest.approx(61.906999, abs=1e-5)


def test_stargan_depthwise_sheet_5_8_attributes_are_summed_over_labels():
    for count in (1, 3):
        bits = torch.randint(0, 2, (count, 5))
        assert losses.classification(torch.zeros(count, 5), bits).item() == pytest.approx(3.465736, abs=1e-6)
    one = losses.classification(torch.tensor([[1.0, -1, 0, 2, -2]]), torch.tensor([[1, 0, 0, 1, 0]]))
    assert one.item() == pytest.approx(1.573527, abs=1e-4)


def test_stargan_depthwise_sheet_5_9_one_of_k_is_a_softmax():
    logits = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0]])
    assert losses.classification(logits, torch.tensor([0])).item() == pytest.approx(1.274009, abs=1e-4)


@pytest.mark.parametrize(("iteration", "rate"), [
    (1, 1e-4), (100_000, 1e-4), (150_000, 5e-5), (199_000, 1e-6), (200_000, 0),
])
def test_stargan_depthwise_sheet_5_10_learning_rate(iteration, rate):
    found = 1e-4 * schedules.find("linear", hold=0.5)(16 * iteration, 16 * 200_000)
    assert found == pytest.approx(rate, abs=1e-12)


def test_stargan_depthwise_sheet_5_11_target_labels():
    own = torch.tensor([[1, 0, 0, 1, 1]])
    found = [target[0].tolist() for target in targets(own, 5, [[0, 1, 2]])]
    assert found == [[1, 0, 0, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 1, 0]]
    assert [target.tolist() for target in targets(torch.tensor([2, 0]), 3)] == [[0, 0], [1, 1], [2, 2]]


def test_stargan_depthwise_sheet_5_12_joint_label_vector():
    celeba, rafd = Domains("first", "first", 5, 0, 8, (1.0, 0.0)), Domains("second", "second", 8, 5, 0, (0.0, 1.0))
    assert celeba.condition(torch.tensor([[1, 0, 0, 1, 1]])).tolist() == [[1, 0, 0, 1, 1] + 8 * [0] + [1, 0]]
    assert rafd.condition(torch.tensor([2])).tolist() == [5 * [0] + [0, 0, 1, 0, 0, 0, 0, 0] + [0, 1]]


# ------------------------------------------------------------------------------------------------------- order of play


def test_stargan_depthwise_sheet_5_13_one_generator_step_in_five(monkeypatch):
    game = star(discriminator_steps=5, batch_size=2, penalties=[])
    parts = colours.parts_of(game, {"train": colours.squares(20, [0, 2])}, PLAYERS)
    order, usual = [], type(parts.update)._step

    def step(self, player, given):
        order.append(player.name)
        return usual(self, player, given)

    monkeypatch.setattr(type(parts.update), "_step", step)
    play(parts, rounds=40)
    assert parts.clock.images == 40 * 5 * 2
    assert order.count("discriminator") == 200
    assert order.count("generator") == 40
    assert order[:6] == ["discriminator"] * 5 + ["generator"]


def test_two_rounds_equal_a_loop_written_out():
    data = colours.squares(20, [0, 2])
    game, twin = star(discriminator_steps=2), star(discriminator_steps=2)
    play(colours.parts_of(game, {"train": data}, PLAYERS, epsilon=1e-3), rounds=2)

    generator, discriminator = twin.networks.values()
    adams = {
        name: torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.5, 0.999), eps=1e-3)
        for name, network in twin.networks.items()
    }
    batches = Batches({"train": data}, seed=0)
    cross = nn.functional.cross_entropy
    for images in (0, 16):
        for turn in range(2):
            real = batches.take("train", 8)
            wanted = real.labels[torch.randperm(8, generator=seeds.generator(0, f"targets.train.{turn}", images))]
            fake = generator(real.images, wanted).detach()
            share = torch.rand(8, 1, 1, 1, generator=seeds.generator(0, f"penalty.wgan_gp.train.{turn}", images))
            between = (share * real.images + (1 - share) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(discriminator(between)["score"].sum(), between, create_graph=True)
            of_real, of_fake = discriminator(real.images), discriminator(fake)
            loss = -of_real["score"].mean() + of_fake["score"].mean() + cross(of_real["classes"], real.labels)
            loss = loss + 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
            adams["discriminator"].zero_grad()
            loss.backward()
            adams["discriminator"].step()
        fake = generator(real.images, wanted)
        judged = discriminator(fake)
        back = (real.images - generator(fake, real.labels)).abs().mean()
        adams["generator"].zero_grad()
        (-judged["score"].mean() + cross(judged["classes"], wanted) + 10 * back).backward()
        adams["generator"].step()
    for name, value in colours.states(game.networks).items():
        torch.testing.assert_close(value, colours.states(twin.networks)[name], rtol=0, atol=2e-5)


def test_each_step_leaves_the_other_network_alone_and_fakes_for_the_discriminator_have_no_graph(monkeypatch):
    game = star(discriminator_steps=1)
    parts = colours.parts_of(game, {"train": colours.squares(20, [0, 2])}, PLAYERS)
    usual = type(parts.update)._step

    def step(self, player, given):
        (other,) = set(game.networks) - {player.name}
        before = colours.states({other: game.networks[other]})
        needing = any(p.requires_grad for p in game.networks[other].parameters())
        values = usual(self, player, [functools.partial(_watched, loss, game.networks[other]) for loss in given])
        after = colours.states({other: game.networks[other]})
        assert needing
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert all(p.grad is None for p in game.networks[other].parameters())
        return values

    monkeypatch.setattr(type(parts.update), "_step", step)
    play(parts, rounds=2)


def _watched(loss, other):
    assert not any(p.requires_grad for p in other.parameters())
    return loss()


def test_a_bit_is_told_as_it_is_and_augmentation_changes_the_real_batch_once():
    told = []

    def darker(images, random):
        return images - 0.25

    game = star(1, batch_size=4, augment=[darker], discriminator_steps=1, penalties=[])
    game.networks["generator"].register_forward_hook(lambda net, given, out: told.append(given))
    data = colours.squares(4, [0, 2], bits=True)
    play(colours.parts_of(game, {"train": data}, PLAYERS), rounds=1)
    for_discriminator, there, back = told
    assert torch.equal(for_discriminator[0], there[0])
    assert there[0].min() < -1
    assert there[0].max() <= 0.75
    assert sorted(there[1].flatten().tolist()) == [0, 0, 1, 1]
    assert sorted(back[1].flatten().tolist()) == [0, 0, 1, 1]


def test_the_joint_game_plays_both_sets_and_tells_which_is_meant():
    outputs = {"score": 1, "first": 1, "second": 2}
    game = star(3, "star_joint", told=5, outputs=outputs, batch_size=4, discriminator_steps=2, penalties=[])
    told = []
    game.networks["generator"].register_forward_hook(lambda net, given, out: told.append(given[1]))
    streams = {"first": colours.squares(12, [0, 2], bits=True), "second": colours.squares(12, [0, 2], seed=1)}
    parts = colours.parts_of(game, streams, PLAYERS)
    play(parts, rounds=1)
    assert parts.batches.state_dict() == {"first": 8, "second": 8}
    masks = [one[:, 3:].unique(dim=0).tolist() for one in told]
    first, second = [[1.0, 0.0]], [[0.0, 1.0]]
    assert masks == [first, second] + [first] * 3 + [second] * 3
    assert all(not one[:, 1:3].any() for one in told if one[0, 3])
    images, columns = game.preview(game.networks, {name: parts.batches.first(name, 3) for name in streams}, 0)
    assert (len(images), columns) == (3 * 4, 4)
    with pytest.raises(UserError, match=r"condition of 1 \+ 2 labels and 2 more"):
        star(3, "star_joint", told=4, outputs=outputs)


def test_the_grid_shows_the_input_and_then_each_target():
    game = star(2)
    first = Batch(torch.rand(3, *colours.SHAPE), torch.tensor([0, 1, 0]))
    with torch.no_grad():
        images, columns = game.preview(game.networks, {"train": first}, 0)
        for number in range(3):
            assert torch.equal(images[3 * number], first.images[number])
            wanted = game.networks["generator"](first.images, torch.tensor([1, 1, 1]))[number]
            assert torch.equal(images[3 * number + 2], wanted)
    assert columns == 3


def test_a_round_has_a_step_of_the_discriminator():
    with pytest.raises(UserError, match="whole number, 1 or more"):
        star(2, discriminator_steps=0)


def test_to_give_one_of_exclusive_attributes_takes_the_others_away():
    game = star(3)
    bits = torch.tensor([[1, 0, 1], [0, 0, 0]])
    first = Batch(torch.rand(2, *colours.SHAPE), bits, exclusive=((0, 1),))
    with torch.no_grad():
        images, columns = game.preview(game.networks, {"train": first}, 0)
        for column, wanted in enumerate(([[1, 0, 1], [1, 0, 0]], [[0, 1, 1], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]])):
            made = game.networks["generator"](first.images, torch.tensor(wanted).float())
            assert torch.equal(images[column + 1 :: columns], made)


def test_data_without_labels_are_refused():
    data = dataclasses.replace(colours.squares(8, [0, 2]), labels=None)
    with pytest.raises(UserError, match="Use data with labels"):
        play(colours.parts_of(star(), {"train": data}, PLAYERS), rounds=1)


@pytest.mark.parametrize("bits", [False, True])
def test_a_tiny_one_learns_to_change_the_colour(bits):
    """After 45 rounds; before, half of the images or fewer have the colour asked for."""
    game = star(1 if bits else 2)
    parts = colours.parts_of(game, {"train": colours.squares(200, [0, 2], bits=bits)}, PLAYERS)
    held_out = colours.squares(64, [0, 2], seed=1, bits=bits)
    assert held_out.labels is not None
    images, wanted = from_bytes(held_out.images), 1 - held_out.labels

    def right():
        with torch.no_grad():
            made = game.sample(game.networks, Batch(images, wanted), 0)
        return (colours.brightest(made) == 2 * wanted.flatten()).float().mean()

    assert right() <= 0.6
    play(parts, rounds=45)
    assert right() > 0.9
