"""The tangent game: what its penalties train, what stays as it is, and what it refuses (tangent_ssl.md, section 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frugan import build, recipes, schedules, tangents
from frugan.artefact import load
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine.loop import Parts, play
from frugan.games.semi_supervised import matched
from frugan.recipe import Recipe
from frugan.registry import UserError
from frugan.training import _giving, train

SIDE, CLASSES = 8, 3
IMAGES = torch.randint(0, 256, (60, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def recipe_of(**changes: Any) -> Recipe:
    keys = {
        "generator.width": 0.1, "discriminator.width": 0.1, "encoder.width": 0.1, "latents.size": 4, "data.size": SIDE,
        "data.classes": CLASSES, "batch_size": 4, "precision": "float32", "kernels": "plain", "game.directions": 3,
        "streams.labelled.even_limit": 6,
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return recipes.find("tangent-mnist").with_changes({**keys, **given})


def parts(**changes: Any) -> Parts:
    shape = ImageShape(1, SIDE, SIDE)
    data = Dataset("noise", "train", shape, IMAGES, torch.arange(60) % CLASSES, ("a", "b", "c"), "hash")
    return build.parts(build.assemble(recipe_of(**changes)), {"train": data.masked(), "labelled": data.evenly(6)})


def weights(network: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_tangent_sheet_6_12_the_encoder_stays_as_it_is():
    of = parts(game__along=1.0, game__everywhere=0.1)
    before = weights(of.game.networks["encoder"])
    play(of, rounds=2)
    encoder = of.game.networks["encoder"]
    assert same(before, weights(encoder))
    assert all(weight.grad is None for weight in encoder.parameters())
    assert not encoder.training
    assert of.game.networks["discriminator"].training
    told = of.means.take()
    assert told["discriminator.along"] > 0
    assert told["discriminator.everywhere"] > 0


def test_each_penalty_trains_the_classifier_and_without_both_the_game_is_the_semi_supervised_one():
    def trained(**changes: Any) -> dict[str, Tensor]:
        of = parts(**changes)
        play(of, rounds=2)
        return weights(of.game.networks["discriminator"])

    # Logits of first weights hardly change with the image, so small weights would drown in rounding.
    none = trained(game__along=0.0, game__everywhere=0.0)
    assert not same(none, trained(game__along=1e6, game__everywhere=0.0, game__on="logits"))
    assert not same(none, trained(game__along=0.0, game__everywhere=1e6, game__on="logits"))
    plain = parts(game__along=0.0, game__everywhere=0.0)
    plain.game = plain.game.inner
    play(plain, rounds=2)
    assert same(none, weights(plain.game.networks["discriminator"]))


def test_the_supervised_twin_can_have_penalties_of_its_labelled_images():
    of = parts(game__unsupervised=0, game__along=1.0)
    assert "generator" not in of.game.shipped()
    play(of, rounds=1)
    assert of.means.take()["discriminator.along"] > 0


def test_penalties_apply_in_one_of_so_many_rounds_and_count_as_often():
    of = parts(game__along=1.0, game__everywhere=0.0, game__every=2)
    game, paid = of.game, {}
    images = torch.rand(4, 1, SIDE, SIDE)
    price = game._price("along", images, None, paid)()
    assert price.item() == pytest.approx(2 * paid["discriminator.along"].item())
    asked: list[int] = []
    weight = next(iter(game.networks["discriminator"].parameters()))
    game._price = lambda *given: asked.append(1) or (lambda: 0 * weight.sum())
    play(of, rounds=4)
    assert len(asked) == 2


def test_a_preview_moves_images_along_their_tangents():
    of = parts()
    first = {"train": of.batches.first("train", 4)}
    encoder = of.game.networks["encoder"]
    with torch.no_grad():
        shown, columns = of.game.preview(of.game.networks, first, 0)
    assert columns == 7
    assert len(shown) == 7 * (2 * 3 + 1)  # three tangents of each of two images, and samples
    real = first["train"].images
    assert torch.equal(shown[3], real[0])
    assert torch.equal(shown[7 * 3 + 3], real[1])
    found = tangents.dominant(lambda seen: encoder(seen)["latents"], real[:1], 3).directions[0, 0]
    torch.testing.assert_close(shown[4], (real[0] + 2 * found).clamp(real[:2].min(), real[:2].max()))


@pytest.mark.parametrize(("options", "said"), [
    ({"game__on": "logit"}, "Did you mean 'logits'"), ({"game__along": -1.0}, "game.along=-1.0: give 0 or more"),
    ({"game__directions": 0}, "'directions' is 0"), ({"game__every": 0}, "game.every=0"),
    ({"game__form": "stack"}, "Did you mean 'stacked'"), ({"encoder__labels": True}, "encoder.labels=false"),
])  # fmt: skip
def test_what_cannot_be_played_is_refused_in_words(options, said):
    with pytest.raises(UserError, match=said):
        parts(**options)


def test_an_encoder_that_saw_images_in_another_range_is_refused(tmp_path):
    np.savez(tmp_path / "noise.npz", images=IMAGES[:12, 0].numpy(), labels=np.arange(12) % CLASSES)
    encoder = recipes.find("tangent-encoder-mnist").with_changes({
        "generator.width": 0.02, "encoder.width": 0.1, "discriminator.width": 0.02, "latents.size": 4, "batch_size": 4,
        "data.source": str(tmp_path / "noise.npz"), "data.size": SIDE, "precision": "float32", "kernels": "plain",
    })
    train(encoder, rounds=1, out=tmp_path / "encoder", device="cpu", quiet=True)
    of = parts()
    recipe = recipe_of().with_changes({"encoder.init": str(tmp_path / "encoder")})
    _giving.give(recipe, of)
    assert same(weights(load(tmp_path / "encoder", role="encoder").module), weights(of.game.networks["encoder"]))
    with pytest.raises(UserError, match=r"nothing at runs/encoder, .* Train that run first \(frugan recipes"):
        _giving.give(recipe_of(), of)
    of.batches.image_range = (-1.0, 1.0)
    with pytest.raises(UserError, match=r"it saw images in 0 to 1, .* are in -1 to 1\. Set data\.image_range=\[0,1\]"):
        _giving.give(recipe, of)


def test_an_image_has_no_more_tangents_than_latents():
    of = parts(game__directions=10)
    assert of.game.directions == 4
    play(of, rounds=1)


def test_without_labels_and_with_fewer_labels_than_classes_it_says_what_to_do():
    with pytest.raises(UserError, match=r"data\.classes=5"):
        parts(data__classes=0)
    of = parts()
    of.batches.streams["labelled"] = of.batches.streams["labelled"].masked()
    with pytest.raises(UserError, match="one class for each image"):
        play(of, rounds=1)
    data = Dataset("few", "train", ImageShape(1, SIDE, SIDE), IMAGES, torch.arange(60) % 3, ("a", "b", "c"), "hash")
    with pytest.raises(UserError, match="even_limit=2"):
        data.evenly(2)


def test_tangent_sheet_6_11_the_learning_rate_rule():
    recipe, of = recipes.find("tangent"), parts(game__matching="mean_absolute")
    play(of, rounds=2)
    epoch = 500 * recipe.batch_size * of.clock.images // (2 * of.game.inner.pair.batch_size)  # of 500 rounds
    assert recipe.images == 1200 * epoch
    player = recipe.players["discriminator"]
    falling = schedules.find(player.schedule.name, **player.schedule.options)
    rates = [player.learning_rate * falling(number * epoch, recipe.images) for number in (0, 800, 1000, 1199)]
    assert rates == pytest.approx([3e-4, 3e-4, 1.5e-4, 7.5e-7])


@pytest.mark.parametrize(("name", "epochs", "rounds"), [("tangent", 1200, 500), ("sgan-salimans", 300, 600)])
def test_tangent_sheet_4_the_classifiers_average_moves_by_a_ten_thousandth_in_each_round(name, epochs, rounds):
    recipe = recipes.find(name)
    shown = recipe.images / (epochs * rounds)
    assert shown == 3 * recipe.batch_size
    average = recipe.averages["discriminator"]
    assert average.ramp is not None
    begun = average.half_life / average.ramp  # with a shorter one until then
    assert 0.5 ** ((recipe.images - begun) / average.half_life) < 1e-4  # which no longer counts at the end
    assert 1 - 0.5 ** (shown / average.half_life) == pytest.approx(1e-4, rel=1e-4)


@pytest.mark.parametrize("matching", ["sum_squares", "mean_squares", "mean_absolute"])
def test_tangent_sheet_6_6_feature_matching_of_identical_batches_is_0_and_their_order_does_not_count(matching):
    discriminator = parts().game.networks["discriminator"].eval().double()
    random = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(6, 1, SIDE, SIDE, generator=random).double() for _ in range(2))

    def price(one: Tensor, other: Tensor) -> float:
        means = [discriminator.features(images)[-1].flatten(1).mean(0) for images in (one, other)]
        return matched(means[0] - means[1], matching).item()

    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert price(real, real) == 0
    assert price(real, real[order]) < 1e-6 * price(real, fake)
    assert price(real[order], fake) == pytest.approx(price(real, fake), rel=1e-6)
    assert price(real, fake[order]) == pytest.approx(price(real, fake), rel=1e-6)
