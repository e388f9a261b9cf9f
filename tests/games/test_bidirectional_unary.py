"""The bidirectional game of three scores (BigBiGAN): the sheet's facts, and its options."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import build, convs, games, losses, penalties, recipes
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, play
from frugan.games import LatentSize
from frugan.games.bidirectional_unary import divergence
from frugan.latents import Latents
from frugan.recipe import Network, Recipe, Rule
from frugan.registry import UserError

HINGE = losses.find("hinge")


def recipe(**changes) -> Recipe:
    """`bigbigan-mnist`, so thin that a round takes a moment."""
    return recipes.find("bigbigan-mnist").with_changes({
        "data.source": "glyphs:digits", "data.size": 8, "data.limit": 24, "batch_size": 4, "latents.size": 6,
        "generator.channels": 2, "encoder.channels": 2, "discriminator.channels": 2, "encoder.hidden": 4,
        "discriminator.hidden": 4, "precision": "float32", "kernels": "plain", "averages": {},
        **{key.replace("__", "."): value for key, value in changes.items()},
    })  # fmt: skip


def parts(**changes) -> Parts:
    wanted = recipe(**changes)
    made = build.parts(build.assemble(wanted), build.datasets(wanted))
    for network in made.trained().values():
        network.train()
    return made


def game_of(loss=HINGE, latents="normal", **options):
    given = {"batch_size": 4, "latents": Latents(6, latents), "loss": loss, **options}
    return games.find("bidirectional_unary").game(nn.Identity(), nn.Identity(), nn.Identity(), **given)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


@pytest.fixture(scope="module")
def played() -> Parts:
    """A run after a round, for tests that change nothing."""
    made = parts()
    play(made, rounds=1)
    return made


def pairs_of(made: Parts):
    progress = Progress(0, 0, seed=0)
    return made.game.make_pairs(made.batches.first("train", 4), progress), progress


# ----------------------------------------------------------------------------------------------------------- the losses


def test_bigbigan_sheet_5_fact_3_losses_are_taken_score_by_score():
    real, fake = row(2, 0.5, -1), row(-2, 0, 1)  # s_xz, s_x, s_z
    game = game_of()
    assert float(game.judging.discriminator(real, fake)) == pytest.approx(5.5)  # a hinge on the sums would give 0
    assert float(game.fool_by_codes(real)) == pytest.approx(1.5)
    assert float(game.fool_by_fakes(fake)) == pytest.approx(1.0)


def test_bigbigan_sheet_5_fact_5_without_the_unary_scores_it_is_bigan_with_a_hinge():
    game = game_of(image_score=False, latent_score=False)
    assert game.outputs == ["score"]
    real, fake = torch.randn(8, 1), torch.randn(8, 1)
    assert torch.equal(game.judging.discriminator(real, fake), HINGE.discriminator(real, fake))
    assert torch.equal(game.fool_by_fakes(fake), -fake.mean())
    torch.testing.assert_close(game.fool_by_codes(real), real.mean())


def test_accuracies_are_of_the_sum_of_the_scores():
    assert game_of().judging.takes_for_real(torch.tensor([[2.0, -1, -0.5], [-2, 1, 0.5]])).tolist() == [True, False]


# -------------------------------------------------------------------------------------------------------- the gradients


def reached(made: Parts, value: Tensor) -> set[str]:
    """The networks that a gradient of `value` reaches."""
    for network in made.game.networks.values():
        network.zero_grad()
    value.backward(retain_graph=True)
    return {
        name for name, network in made.game.networks.items()
        if any(one.grad is not None and one.grad.any() for one in network.parameters())
    }  # fmt: skip


def test_bigbigan_sheet_5_fact_4_who_learns_from_which_score_of_which_pair(played):
    pairs, progress = pairs_of(played)
    scores = {kind: played.game.scores(pairs, progress, kind).sum(0) for kind in ("real", "fake")}
    of = {name: place for place, name in enumerate(played.game.outputs)}
    judge = {"discriminator"}
    assert reached(played, scores["real"][of["score"]]) == judge | {"encoder"}
    assert reached(played, scores["fake"][of["score"]]) == judge | {"generator"}
    assert reached(played, scores["real"][of["score_of_images"]]) == judge
    assert reached(played, scores["fake"][of["score_of_images"]]) == judge | {"generator"}
    assert reached(played, scores["real"][of["score_of_vectors"]]) == judge | {"encoder"}
    assert reached(played, scores["fake"][of["score_of_vectors"]]) == judge


def test_each_step_leaves_the_other_networks_as_they_are():
    made, seen = parts(game__discriminator_steps=1), {}
    whole = made.update

    def snapshot() -> dict[str, list[Tensor]]:
        return {
            name: [one.detach().clone() for one in network.parameters()] for name, network in made.game.networks.items()
        }

    def changed(before, after) -> set[str]:
        return {name for name in before if any(not torch.equal(*two) for two in zip(before[name], after[name]))}  # noqa: B905

    class Watched:
        def __call__(self, player, *given):
            before = snapshot()
            values = whole(player, *given)
            seen[player] = changed(before, snapshot())
            return values

        def together(self, given):
            before = snapshot()
            values = whole.together(given)
            seen["+".join(given)] = changed(before, snapshot())
            return values

    made.game.step(made.batches, Progress(0, 0, seed=0), Watched())
    assert seen == {"discriminator": {"discriminator"}, "generator+encoder": {"generator", "encoder"}}


def test_bigbigan_sheet_5_fact_6_each_part_of_the_discriminator_runs_once_for_a_pair():
    made = parts(game__discriminator_steps=2)
    judge, calls = made.game.networks["discriminator"], Counter()
    for part, inside in judge.parts.items():
        judge.get_submodule(inside).register_forward_hook(lambda module, given, out, part=part: calls.update([part]))
    pairs, progress = pairs_of(made)
    made.game.scores(pairs, progress, "real")
    assert calls == dict.fromkeys(("F", "H", "J", "s_x", "s_z", "s_xz"), 1)
    calls.clear()
    play(made, rounds=1)
    # Two steps of the discriminator with a real and a fake pair each, then one real pair and one fake one.
    assert calls == dict.fromkeys(("F", "H", "J", "s_x", "s_z", "s_xz"), 2 * 2 + 2)


# ---------------------------------------------------------------------------------------------------------- the encoder


def test_bigbigan_sheet_5_fact_8_a_stochastic_encoder_draws_by_the_seed_and_not_at_all_without_deviation():
    made = parts()
    real, game = made.batches.first("train", 4), made.game
    encoder = game.networks["encoder"]
    one, other = (game.make_pairs(real, Progress(0, 0, seed=3)).real[1] for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, game.make_pairs(real, Progress(0, 0, seed=4)).real[1])
    means = encoder(real.images)["latents"]
    raw = encoder(real.images)["raw_deviations"]
    noise = torch.randn(4, 6, generator=Progress(0, 0, seed=3).generator("deviations.0"))
    torch.testing.assert_close(one, means + functional.softplus(raw) * noise)
    nn.init.constant_(encoder.heads["raw_deviations"].bias, -1e4)
    assert torch.equal(game.make_pairs(real, Progress(0, 0, seed=3)).real[1], means)
    nn.init.constant_(encoder.heads["raw_deviations"].bias, 1e4)
    wide = game.make_pairs(real, Progress(0, 0, seed=3)).real[1]
    torch.testing.assert_close(wide, means + functional.softplus(torch.tensor(5.0)) * noise)


def test_a_deterministic_encoder_and_uniform_latents():
    assert games.orders("bidirectional_unary", {})["encoder"].outputs == {
        "latents": LatentSize(), "raw_deviations": LatentSize()
    }  # fmt: skip
    made = parts(latents__distribution="uniform", game__stochastic=False, encoder__bounded=["latents"])
    play(made, rounds=1)
    codes = made.game.networks["encoder"](made.batches.first("train", 24).images)
    assert list(codes) == ["latents"]
    assert codes["latents"].abs().max() < 1


def test_bigbigan_sheet_5_fact_9_the_encoder_has_a_rate_of_its_own():
    made = parts(players__encoder__learning_rate=5e-3)
    rates = {name: player.optimiser.param_groups[0]["lr"] for name, player in made.update.players.items()}
    assert rates["encoder"] == pytest.approx(10 * rates["generator"])


def test_bigbigan_sheet_5_fact_7_a_finer_encoder_and_means_of_its_pixels():
    made, seen = parts(data__finer=2), {}
    for name, network in made.game.networks.items():
        network.register_forward_hook(lambda module, given, out, name=name: seen.update({name: given[0]}))
    real = made.batches.first("train", 4)
    pairs = made.game.make_pairs(real, Progress(0, 0, seed=0))
    made.game.scores(pairs, Progress(0, 0, seed=0), "real")
    assert seen["encoder"].shape == (4, 1, 16, 16)
    means = seen["encoder"].unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    torch.testing.assert_close(seen["discriminator"], means, atol=1e-6, rtol=0)
    play(made, rounds=1)
    images, _ = made.game.preview(made.game.networks, {"train": real}, 0)
    assert images.shape[1:] == (1, 8, 8)
    assert torch.equal(images[:4], real.images)


# --------------------------------------------------------------------------------------------------------------- it all


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("bigbigan-tiny", (998_147, 3_156_000, 2_222_211)), ("bigbigan-32", (3_978_755, 12_611_648, 8_868_099)),
        ("bigbigan-64", (7_818_884, 12_603_440, 9_679_460)),
    ],
)  # fmt: skip
def test_bigbigan_sheet_2_recipes_have_the_designs(name, counts):
    totals = {"bigbigan-tiny": 6_376_358, "bigbigan-32": 25_458_502, "bigbigan-64": 30_101_784}
    unspectral = recipes.find(name).with_changes({
        "generator.normalisation": "none", "discriminator.normalisation": "none"
    })  # fmt: skip  # it adds no parameter
    with torch.device("meta"):
        built = {network: one.build()[0] for network, one in build.blueprints(unspectral).items()}
    found = {network: sum(one.numel() for one in module.parameters()) for network, module in built.items()}
    assert found == dict(zip(("generator", "encoder", "discriminator"), counts, strict=True))
    assert sum(found.values()) == totals[name]


@pytest.mark.parametrize("family", convs.names())
def test_every_family_builds_and_plays_all_three_networks(family):
    plain = recipe(data__size=16)
    thin = {
        name: replace(spec, families=(Rule("*", family),), options={**spec.options, "channels": 4})
        for name, spec in plain.networks.items()
    }
    made = replace(plain, networks=thin)
    playing = build.parts(build.assemble(made), build.datasets(made))
    play(playing, rounds=1)
    assert all(math.isfinite(value) for value in playing.means.take().values())


@pytest.mark.parametrize("scores", [(1, 0, 1), (0, 1, 1), (0, 0, 1), (1, 1, 0)])
def test_each_score_is_a_switch_also_with_another_generator(scores):
    image, latent, pair = map(bool, scores)
    dcgan = Network("dcgan", {"channels": 2, "kernel": 4})
    wanted = recipe(game__image_score=image, game__latent_score=latent, game__pair_score=pair)
    wanted = replace(wanted, networks={**wanted.networks, "generator": dcgan})
    made = build.parts(build.assemble(wanted), build.datasets(wanted))
    play(made, rounds=1)
    names = {"score": pair, "score_of_images": image, "score_of_vectors": latent}
    assert dict(made.game.networks["discriminator"].outputs) == {name: 1 for name, on in names.items() if on}


def test_networks_of_bigan_play_it_without_the_unary_scores():
    thin = {"hidden": [4, 4], "bounded": []}
    networks = {
        name: Network("bigan", {key: value for key, value in thin.items() if key == "hidden" or name == "encoder"})
        for name in ("generator", "encoder", "discriminator")
    }
    plain = replace(recipe(game__image_score=False, game__latent_score=False), networks=networks)
    play(build.parts(build.assemble(plain), build.datasets(plain)), rounds=1)
    with pytest.raises(UserError, match="judges images and vectors only together"):
        build.assemble(replace(recipe(), networks=networks))


def test_penalties_see_the_sum_of_the_scores_with_the_latents_of_their_images():
    made = parts()
    r1 = penalties.find("r1", weight=1.0)
    made.game.penalties["r1"] = r1
    play(made, rounds=1)
    assert made.means.take()["discriminator.r1"] > 0


def test_how_far_latents_are_from_the_drawn_ones_is_logged():
    made = parts()
    play(made, rounds=1)
    assert 0 < made.means.take()["encoder.divergence"] < 100
    drawn = torch.randn(4000, 3, dtype=torch.float64)
    wide = (drawn - drawn.mean(0)) / drawn.std(0, correction=0)
    # KL(N(0.5, 4), N(0, 1)) = (4 + 0.25 - 1 - ln 4) / 2
    assert float(divergence(2 * wide + 0.5, wide)) == pytest.approx((4 + 0.25 - 1 - math.log(4)) / 2, abs=1e-4)
    assert math.isfinite(divergence(torch.zeros(1, 3), torch.ones(1, 3)))  # of one image there is no variance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_score": False, "latent_score": False}, "nothing would teach the encoder.*biggan-small"),
        ({"pair_score": False, "image_score": False}, "nothing would teach the generator.*game.pair_score=true"),
        ({"loss": losses.find("lsgan")}, "'lsgan' with these options is not one. Take loss=hinge"),
        ({"loss": losses.find("ra_hinge")}, "mirror each other about 0"),
        ({"loss": losses.find("non_saturating", smoothing=0.9)}, "mirror each other about 0"),
        ({"latents": "uniform"}, r"game.stochastic=false .and encoder.bounded"),
        ({"discriminator_steps": 0}, "game.discriminator_steps=0"),
    ],
)
def test_what_cannot_be_played_is_refused_in_words(options, message):
    with pytest.raises(UserError, match=message):
        game_of(**options)


@pytest.mark.parametrize("loss", ["hinge", "non_saturating", "minimax", "wgan", "binary_targets"])
def test_losses_that_mirror_real_and_fake_are_accepted(loss):
    game_of(losses.find(loss))
