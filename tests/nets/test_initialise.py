"""Rules for first weights: by name or one's own, and what they make of a layer of several pieces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import convs, nets
from frugan.convs import Layers
from frugan.nets import FirstWeights, initialise
from frugan.registry import UserError


@pytest.mark.parametrize("family", ["standard", "factorised", "depthwise", "grouped"])
@pytest.mark.parametrize("kind", ["same", "up", "down"])
def test_lecun_keeps_the_size_of_a_signal_in_every_family(family: str, kind: str):
    torch.manual_seed(0)
    layer = getattr(Layers([("*", convs.find(family))]), kind)("role", 64, 64, 5, bias=False)
    initialise(layer, "lecun")
    out = layer(torch.randn(4, 64, 32, 32))[..., 4:-4, 4:-4]  # away from the padding
    assert 0.75 < float(out.detach().std()) < 1.3


def test_pieces_that_start_alone_shrink_a_signal_as_published_nets_do():
    torch.manual_seed(0)
    layer = Layers([("*", convs.find("depthwise", start="layerwise"))]).same("role", 64, 64, 5, bias=False)
    initialise(layer, "keras")
    assert float(layer(torch.randn(4, 64, 32, 32)).detach().std()) < 0.3


@pytest.mark.parametrize("rule", nets.rules.names())
@pytest.mark.parametrize("kind", ["same", "up", "down"])
def test_a_rule_says_the_variance_that_it_draws(rule: str, kind: str):
    torch.manual_seed(0)
    layers = Layers()
    layer = getattr(layers, kind)("role", 32, 48, 4)
    initialise(layer, rule)
    standard = convs.Standard(kind, 32, 48, 4, layers.choices[0].stride)
    said = nets.rules.find(rule).variance(standard)
    assert float(layer.weight.detach().square().mean()) == pytest.approx(said, rel=0.03)
    assert float(layer.bias.detach().abs().max()) == 0


def test_torch_is_how_torchs_layers_begin():
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 16, 3)
    torch.manual_seed(0)
    drawn = nn.Conv2d(8, 16, 3)
    torch.manual_seed(0)
    initialise(drawn, "torch")
    assert torch.equal(plain.weight, drawn.weight)


def test_a_rule_of_ones_own():
    halves = FirstWeights(lambda part: nn.init.constant_(part.weight, 0.5), lambda standard: 0.25)
    layer = Layers([("*", convs.find("grouped"))]).same("role", 8, 8, 3)
    initialise(layer, halves)
    assert torch.allclose(layer.weight, torch.tensor(1.0))  # four groups sum a quarter as much


def test_an_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'lecun'"):
        initialise(nn.Linear(2, 2), "lecum")
