"""The dense nets of Salimans et al. 2016 (sgan.md, 3.3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from frugan.nets.salimans import Noise, Shift
from frugan.registry import UserError

DIGITS = (1, 28, 28)


def test_the_layers_are_those_of_the_sheet(make):
    generator = make("salimans", "decoder", DIGITS, 100)
    assert [part.out_features for part in generator.modules() if isinstance(part, nn.Linear)] == [500, 500, 784]
    assert sum(isinstance(part, nn.Softplus) for part in generator.modules()) == 2
    assert all(not part.affine for part in generator.modules() if isinstance(part, nn.BatchNorm1d))
    assert sum(isinstance(part, Shift) for part in generator.modules()) == 2
    assert generator.image_range == (0.0, 1.0)
    judge = make("salimans", "encoder", DIGITS, {"classes": 10})
    dense = [part for part in judge.modules() if isinstance(part, nn.Linear)]
    assert [part.out_features for part in dense] == [1000, 500, 250, 250, 250, 10]
    assert all(is_parametrized(part) for part in dense)
    assert [part.deviation for part in judge.modules() if isinstance(part, Noise)] == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_noise_is_there_in_training_alone_and_features_are_before_their_own(make):
    judge = make("salimans", "encoder", DIGITS, {"classes": 10}, width=0.1, noise=(0.0, 0.5))
    images = torch.rand(3, *DIGITS)
    first, again = (judge.features(images) for _ in range(2))
    assert torch.equal(first[0], again[0])  # no noise on the image, and that of the first layer comes after it
    assert not torch.equal(first[1], again[1])
    assert not torch.equal(judge(images)["classes"], judge(images)["classes"])
    judge.eval()
    assert torch.equal(judge(images)["classes"], judge(images)["classes"])
    layer = Noise(0.5).train()
    assert float((layer(torch.zeros(100, 100))).std()) == pytest.approx(0.5, rel=0.03)


def test_two_deviations_are_needed(make):
    with pytest.raises(UserError, match="two numbers"):
        make("salimans", "encoder", DIGITS, {"classes": 10}, noise=(0.3,))
