"""Optimisers by name: what they use of a player's numbers, and one of the user's own from recipe to checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from frugan import build, optimisers, recipes
from frugan.recipe import Choice, Player, differences, from_dict, to_dict
from frugan.registry import UserError

NUMBERS = {"learning_rate": 0.1, "betas": (0.3, 0.9), "epsilon": 1e-3, "weight_decay": 0.5}


def stepped(name: str, **own: object) -> list[float]:
    """A weight of 1 after each of three steps with the gradients 2, -1 and 4."""
    weight = nn.Parameter(torch.ones((), dtype=torch.float64))
    optimiser = optimisers.build(name, own, [weight], **NUMBERS)
    found = []
    for gradient in (2.0, -1.0, 4.0):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        found.append(weight.item())
    return found


def test_adam_uses_all_of_the_numbers():
    for decoupled in (False, True):
        weight, first, second, wanted = 1.0, 0.0, 0.0, []
        for step, gradient in enumerate((2.0, -1.0, 4.0), start=1):
            if decoupled:
                weight -= 0.1 * 0.5 * weight
            else:
                gradient += 0.5 * weight
            first, second = 0.3 * first + 0.7 * gradient, 0.9 * second + 0.1 * gradient**2
            weight -= 0.1 * first / (1 - 0.3**step) / ((second / (1 - 0.9**step)) ** 0.5 + 1e-3)
            wanted.append(weight)
        assert stepped("adam", decoupled=decoupled) == pytest.approx(wanted, rel=1e-9)


def test_rmsprop_smooths_by_the_second_beta_and_sgd_has_the_first_as_momentum():
    weight, second, wanted = 1.0, 0.0, []
    for gradient in (2.0, -1.0, 4.0):
        gradient += 0.5 * weight
        second = 0.9 * second + 0.1 * gradient**2
        weight -= 0.1 * gradient / (second**0.5 + 1e-3)
        wanted.append(weight)
    assert stepped("rmsprop") == pytest.approx(wanted, rel=1e-9)
    weight, speed, wanted = 1.0, 0.0, []
    for gradient in (2.0, -1.0, 4.0):
        speed = 0.3 * speed + gradient + 0.5 * weight
        weight -= 0.1 * speed
        wanted.append(weight)
    assert stepped("sgd") == pytest.approx(wanted, rel=1e-9)


def test_a_recipe_of_before_with_an_optimisers_name_alone_is_the_same_recipe():
    recipe = recipes.find("mnist")
    old = to_dict(recipe)
    for player in old["players"].values():
        assert player["optimiser"] == {"name": "adam", "options": {}}
        player["optimiser"] = "adam"
    before = from_dict(json.loads(json.dumps(old)))
    assert before == recipe
    assert differences(before, recipe) == []


def test_options_of_an_optimiser_are_typed_after_its_name():
    recipe = recipes.find("mnist").with_changes({"players.generator.optimiser": "adam,decoupled=true"})
    assert recipe.players["generator"].optimiser == Choice("adam", {"decoupled": True})
    assert recipe.players["discriminator"].optimiser == Choice("adam")
    assert {one.optimiser.name for one in recipe.with_changes({"optimiser": "sgd"}).players.values()} == {"sgd"}
    with pytest.raises(UserError, match=r"The optimiser 'adam' has no option 'decopled'\. Did you mean 'decoupled'"):
        build.check(recipe.with_changes({"optimiser": "adam,decopled=true"}))


def test_an_optimiser_of_ones_own(monkeypatch):
    class Signs(torch.optim.Optimizer):
        """Steps by the sign of the gradient alone."""

        def step(self, closure=None):
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.data -= group["lr"] * group["share"] * weight.grad.sign()

    def signs(parameters, learning_rate, betas, epsilon, weight_decay, *, share=1.0):
        return Signs(parameters, {"lr": learning_rate, "share": share})

    monkeypatch.setattr(optimisers._known, "_added", {})
    with pytest.raises(UserError, match="no optimiser called 'signs'"):
        optimisers.check("signs", {})
    optimisers.add("signs", signs)
    assert stepped("signs", share=0.5) == pytest.approx([0.95, 1.0, 0.95])
    network = nn.Linear(2, 1)
    record = Player(("generator",), optimiser=Choice("signs", {"share": 0.1}))
    player = build.player("generator", record, {"generator": network}, 100)
    assert isinstance(player.optimiser, Signs)
    with pytest.raises(UserError, match=r"frugan itself has the optimiser 'adam'"):
        optimisers.add("adam", signs)
