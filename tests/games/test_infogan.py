"""The InfoGAN game: what is told of codes, whom it trains, its walks, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from frugan import build, recipes
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine.loop import Parts, play
from frugan.registry import UserError

SIDE = 8
IMAGES = torch.randint(0, 256, (60, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def parts(categories: tuple[int, ...] = (3, 2), **changes: Any) -> Parts:
    keys = {
        "generator.width": 0.05, "discriminator.width": 0.05, "latents.size": 9, "data.size": SIDE, "batch_size": 6,
        "precision": "float32", "kernels": "plain", "game.categories": [*categories],
        "generator.categories": [*categories],
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    recipe = recipes.find("infogan").with_changes({**keys, **given})
    shape = ImageShape(1, SIDE, SIDE)
    data = Dataset("noise", "train", shape, IMAGES, None, (), "hash")
    return build.parts(build.assemble(recipe), {"train": data})


def weights(network: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_what_is_untold_of_codes_by_hand():
    game = parts(game__weight=2.0, game__continuous_weight=0.5).game
    codes = torch.tensor([[0.1, 0.9, -0.3, -0.5, -0.7, 0.25, -2.0, 0.0, 0.0]])  # values 1 and 0; 0.25 and -2
    found = {
        "category_0": torch.tensor([[0.0, 1.0, 2.0]]), "category_1": torch.zeros(1, 2),
        "continuous": torch.tensor([[0.25, 1.0]]),
    }
    told: dict[str, Tensor] = {}
    missing = math.log(1 + math.e + math.e**2) - 1
    expected = 2 * (missing + math.log(2)) + 0.5 * 0.5 * 9
    assert game._untold(found, codes, told).item() == pytest.approx(expected, rel=1e-6)
    assert told["information.category_0"].item() == pytest.approx(math.log(3) - missing, rel=1e-5)
    assert told["information.category_1"].item() == pytest.approx(0, abs=1e-6)
    assert told["information.error"].item() == pytest.approx(4.5)


def test_codes_are_those_that_the_fakes_were_made_of():
    of = parts()
    made: list[Tensor] = []
    of.game.networks["generator"].register_forward_hook(lambda module, given, out: made.append(given[0]))
    seen: list[Tensor] = []
    untold = of.game._untold
    of.game._untold = lambda found, codes, told: seen.append(codes) or untold(found, codes, told)
    play(of, rounds=1)
    assert len(made) == 1
    assert all(torch.equal(made[0], codes) for codes in seen)
    assert len(seen) == 2


def test_telling_trains_generator_and_discriminator():
    def trained(weight: float) -> list[dict[str, Tensor]]:
        of = parts(game__weight=weight, game__continuous_weight=weight)
        play(of, rounds=1)
        return [weights(network) for network in of.game.networks.values()]

    for one, other in zip(trained(0.0), trained(5.0), strict=True):
        assert any(not torch.equal(one[name], other[name]) for name in one if "heads" not in name)


def test_a_tiny_generator_tells_its_codes_after_some_rounds():
    of = parts(players__generator__learning_rate=5e-3, players__discriminator__learning_rate=5e-3, batch_size=30)
    play(of, rounds=60)
    of.means.take()
    play(of, rounds=70)
    told = of.means.take()
    assert told["information.category_0"] > 0.5 * math.log(3)


def test_walks_change_one_code_along_each_row():
    of = parts()
    given: list[Tensor] = []
    of.game.networks["generator"].register_forward_hook(lambda module, inputs, out: given.append(inputs[0]))
    first = {"train": of.batches.first("train", 4)}
    with torch.no_grad():
        shown, columns = of.game.preview(of.game.networks, first, 0)
    assert columns == 10
    assert len(shown) == 10 * (4 + 4 + 2 + 2)
    walks = given[-1].view(12, 10, 9)
    values = of.game.networks["generator"].entrance(walks.flatten(0, 1)).view(12, 10, 9)
    assert values[0, :, :3].argmax(1).tolist() == [column % 3 for column in range(10)]
    for row, (begin, end) in enumerate([(0, 3)] * 4 + [(3, 5)] * 4 + [(5, 6)] * 2 + [(6, 7)] * 2):
        same = [column for column in range(9) if not begin <= column < end]
        assert (walks[row, :, same] == walks[row, :1, same]).all()
    assert torch.allclose(walks[8, :, 5], torch.linspace(-1, 1, 10))


@pytest.mark.parametrize(("options", "said"), [
    ({"game__categories": [3]}, r"Give both the same: generator\.categories=\[3\]"),
    ({"latents__size": 6}, r"Give latents\.size=7 or more"), ({"game__weight": -1.0}, r"game\.weight=-1\.0"),
    ({"game__categories": [1]}, "list of sizes, 2 or more"),
    ({"game__continuous": -1}, r"'continuous' is -1\. Give a whole number, 0 or more"),
])  # fmt: skip
def test_what_cannot_be_played_is_refused_in_words(options, said):
    with pytest.raises(UserError, match=said):
        parts(**options)
