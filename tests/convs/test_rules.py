"""Rules from role to family, and what `Layers` reports of them."""

from __future__ import annotations

import pytest
from torch import nn

from frugan import convs
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


def test_misspelt_families_and_values_are_answered() -> None:
    with pytest.raises(UserError, match="Did you mean 'depthwise'"):
        convs.find("deptwise")
    with pytest.raises(UserError, match="Did you mean 'small'"):
        convs.Layers([("*", convs.find("factorised", form="smal"))]).same("x", 4, 4, 5)
    with pytest.raises(UserError, match="no order 'reversed'"):
        convs.Layers([("*", convs.find("depthwise", order="reversed"))]).same("x", 4, 4, 5)
