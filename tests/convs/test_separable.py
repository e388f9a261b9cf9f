"""The depthwise, grouped, bilinear additive and inception families: weights by formula, what they decline."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import convs
from frugan.registry import UserError


def weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("cin", "cout", "kernel", "count", "fraction"),
    [(256, 256, 3, 67_840, 0.11502), (64, 128, 4, 9_216, 0.07031), (512, 1024, 4, 532_480, 0.06348)],
)
@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_stargan_sheet_2_3_separable_weights(
    kind: str, cin: int, cout: int, kernel: int, count: int, fraction: float
) -> None:
    with torch.device("meta"):
        layer = getattr(convs.find("depthwise"), kind)(cin, cout, kernel, bias=False)
    assert weights(layer) == count
    assert round(count / (kernel**2 * cin * cout), 5) == fraction == round(1 / cout + 1 / kernel**2, 5)


def test_stargan_sheet_2_3_pointwise_first_mixes_at_the_small_size() -> None:
    layer = convs.find("depthwise").up(8, 4, 4, bias=False, order="pointwise_first", inner_norm=nn.BatchNorm2d)
    assert list(dict(layer.named_children())) == ["pointwise", "norm", "depthwise"]
    assert weights(layer) == 8 * 4 + 16 * 4 + 8
    assert layer[0](torch.zeros(1, 8, 7, 7)).shape == (1, 4, 7, 7)


def test_cyclegan_sheet_2_3_both_parts_carry_a_bias() -> None:
    layer = convs.find("depthwise").same(256, 256, 3)
    assert weights(layer) == 67_840 + 256 + 256
    assert [part.tag for part in layer] == ["spatial", "pointwise"]


def test_a_multiplier_gives_each_channel_several_kernels() -> None:
    layer = convs.find("depthwise").down(8, 4, 3, bias=False, multiplier=3, inner_norm=nn.BatchNorm2d, between="relu")
    assert list(dict(layer.named_children())) == ["depthwise", "norm", "activation", "pointwise"]
    assert weights(layer) == 9 * 8 * 3 + 2 * 24 + 24 * 4
    with pytest.raises(UserError, match="multiplier=2 with order=pointwise_first"):
        convs.find("depthwise").down(8, 4, 3, multiplier=2, order="pointwise_first")


def test_an_unknown_activation_at_the_seam_is_answered() -> None:
    for family in ("depthwise", "factorised"):
        with pytest.raises(UserError, match=f"'{family}' has no activation 'rleu' .* Did you mean 'relu'"):
            convs.find(family).same(8, 8, 3, between="rleu")


def test_grouped_keeps_one_group_of_the_weights() -> None:
    assert weights(convs.find("grouped").up(16, 8, 5, bias=False)) == 25 * 16 * 8 // 4
    assert weights(convs.find("grouped").same(16, 8, 5, groups=8, bias=False)) == 25 * 16 * 8 // 8
    with pytest.raises(convs.Declined, match="16 -> 3 channels"):
        convs.find("grouped").down(16, 3, 5)


def test_bilinear_additive_keeps_a_quarter_and_is_for_up_only() -> None:
    family = convs.find("bilinear_additive")
    assert weights(family.up(16, 8, 5, bias=False)) == 25 * 4 * 8
    assert weights(family.up(18, 8, 3, stride=3, bias=False)) == 9 * 2 * 8
    for build in (family.same, family.down):
        with pytest.raises(convs.Declined, match="enlarge"):
            build(16, 8, 5)
    with pytest.raises(convs.Declined, match="groups of 4"):
        family.up(6, 8, 5)


@pytest.mark.parametrize(("kind", "cin"), [("same", 16), ("down", 16), ("up", 4)])
def test_inception_weights_by_branch(kind: str, cin: int) -> None:
    layer = getattr(convs.find("inception"), kind)(16, 12, 5, bias=False)
    quarter = 3
    point, pair, small, pool = (weights(branch) for branch in (layer.point, layer.pair, layer.small, layer.pool))
    assert (point, pool) == (cin * quarter, cin * quarter)
    assert pair == cin * quarter + 2 * 5 * quarter**2
    assert small == cin * quarter + 2 * 9 * quarter**2


def test_inception_declines_widths_it_cannot_divide() -> None:
    family = convs.find("inception")
    with pytest.raises(convs.Declined, match="four branches"):
        family.same(16, 3, 5)
    with pytest.raises(convs.Declined, match="groups of 4"):
        family.up(6, 8, 5)
