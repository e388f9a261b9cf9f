"""Rules from role to family, and what `Layers` reports of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from frugan import convs, recipes, swap
from frugan.registry import UserError


def test_the_last_matching_rule_wins_and_the_rest_stays_standard() -> None:
    layers = convs.Layers([("up.*", convs.find("depthwise")), ("up.1", convs.find("factorised", form="small"))])
    for role in ("up.0", "up.1", "output"):
        layers.up(role, 16, 8, 5)
    assert [choice.family for choice in layers.choices] == ["depthwise", "factorised", "standard"]


def test_a_declined_layer_is_standard_and_says_why() -> None:
    layers = convs.Layers([("*", convs.find("grouped"))])
    layer = layers.same("output", 16, 3, 5)
    assert isinstance(layer, nn.Conv2d)
    assert layer.groups == 1
    choice = layers.choices[0]
    assert (choice.family, choice.asked) == ("standard", "grouped")
    assert choice.declined == "16 -> 3 channels do not divide into 4 groups"


def test_a_rule_replaces_what_the_architecture_asks_for() -> None:
    table = convs.find("factorised", kernel=3, stride=1, inner_norm="batch_norm", between="tanh")
    layers = convs.Layers([("up.0", table)])
    layer = layers.up("up.0", 8, 4, 5)
    kinds = (nn.ConvTranspose2d, nn.BatchNorm2d, nn.Tanh, nn.ConvTranspose2d)
    assert all(isinstance(part, kind) for part, kind in zip(layer, kinds, strict=True))
    assert layer.tall.weight.shape == (8, 4, 3, 1)
    assert layer.role == "up.0"
    assert (layers.choices[0].kernel, layers.choices[0].stride) == (3, 1)


def test_a_rule_that_matches_no_role_is_named() -> None:
    layers = convs.Layers([("dwon.*", convs.find("depthwise"))])
    layers.down("down.0", 4, 4, 3)
    with pytest.raises(UserError, match=r"'dwon.\*' -> depthwise matches no layer. .* the roles down.0"):
        layers.check_rules_used()


@pytest.mark.parametrize("name", convs.names())
@pytest.mark.parametrize("options", [
    {"inner_norm": "batch_norm"}, {"inner_bias": False}, {"start": "layerwise"},
], ids=str)  # fmt: skip
def test_an_option_changes_a_familys_layers_or_is_refused(name: str, options: dict[str, Any]) -> None:
    (option,) = options
    if option in convs.find(name).ignores:
        told = rf"^The convolution family '{name}': .*'{option}' is without effect on its layers"
        with pytest.raises(UserError, match=told):
            convs.find(name, **options)
        return

    def layers(given: dict[str, Any]) -> list[Any]:
        built = convs.Layers([("*", convs.find(name, **given))])
        torch.manual_seed(0)
        made = [getattr(built, kind)("one", 16, 8, 5) for kind in ("same", "down", "up")]
        return [str(made), *[float(weight.detach().norm()) for layer in made for weight in layer.parameters()]]

    assert layers(options) != layers({})


def test_misspelt_families_and_values_are_answered() -> None:
    with pytest.raises(UserError, match="Did you mean 'depthwise'"):
        convs.find("deptwise")
    with pytest.raises(UserError, match="Did you mean 'small'"):
        convs.Layers([("*", convs.find("factorised", form="smal"))]).same("x", 4, 4, 5)
    with pytest.raises(UserError, match="no order 'reversed'"):
        convs.Layers([("*", convs.find("depthwise", order="reversed"))]).same("x", 4, 4, 5)


@pytest.mark.parametrize("name", convs.names())
@pytest.mark.parametrize("options", [
    {"kernel": 1.5}, {"kernel": math.nan}, {"kernel": [3]}, {"kernel": None}, {"kernel": 1e30}, {"kernel": 0},
    {"kernel": -1}, {"kernel": True}, {"stride": 0}, {"padding": -1}, {"padding": [1]}, {"padding": [100_000, 0]},
    {"start": -1}, {"inner_norm": 3}, {"bias": 1}, {"padding_mode": "mirror"},
], ids=str)  # fmt: skip
def test_values_without_sense_reach_no_family(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^The convolution family '{name}': the option '{next(iter(options))}' is "):
        convs.find(name, **options)


@pytest.mark.parametrize(("name", "options"), [
    ("depthwise", {"multiplier": 1.5}), ("depthwise", {"multiplier": 0, "order": "depthwise_first"}),
    ("depthwise", {"order": None}), ("grouped", {"groups": 0}), ("factorised", {"middle": 0}),
    ("factorised", {"middle": 1e9}), ("factorised", {"holes": 1}),
], ids=str)  # fmt: skip
def test_nor_do_those_of_the_options_of_one_family(name: str, options: dict[str, Any]) -> None:
    key = next(iter(options))
    with pytest.raises(UserError, match=f"the option '{key}' is "):
        convs.find(name, **options)
    with pytest.raises(UserError, match=f"^swap to '{name}': the option '{key}' is "):
        swap(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)), name, **options)


@pytest.mark.parametrize("name", ["standard", "factorised", "depthwise", "grouped"])
def test_a_padding_mode_of_a_transposed_layer_is_refused_and_not_passed_over(name: str) -> None:
    layers = convs.Layers([("*", convs.find(name, padding_mode="reflect"))])
    assert any(getattr(part, "padding_mode", "") == "reflect" for part in layers.same("kept", 8, 8, 5).modules())
    with pytest.raises(UserError, match=r"^padding_mode=reflect was asked of a transposed convolution, which crops"):
        layers.up("up", 8, 8, 4)


def test_whole_numbers_may_be_typed_with_an_exponent() -> None:
    assert convs.find("grouped", groups=8e0).options == {"groups": 8}


def test_what_the_network_asks_of_its_layers_is_not_offered_as_an_option_of_a_family() -> None:
    with pytest.raises(UserError, match=r"Choose from: between, inner_bias, inner_norm, multiplier, order, start\.$"):
        convs.find("depthwise", kernl=3)
    for option in ("kernel", "stride", "padding"):
        with pytest.raises(UserError, match=rf"^standard,{option}=3: {option} is the network's own"):
            recipes.find("mnist").with_family(f"standard,{option}=3")
