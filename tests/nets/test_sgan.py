"""The workshop's nets by the sheet's counts (sgan.md, 3.2 and section 6, item 8), and their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.registry import UserError

DIGITS = (1, 28, 28)


def test_sgan_sheet_6_8_counts_of_the_preset(make_meta, count):
    assert count(make_meta("sgan", "decoder", DIGITS, 100)) == (797_793, 797_985)
    assert count(make_meta("sgan", "encoder", DIGITS, {"classes": 10})) == (127_946, 128_394)
    heads = make_meta("sgan", "encoder", DIGITS, {"classes": 10, "score": 1})
    assert count(heads).trainable == 127_946 + 2_049


def test_the_maps_are_those_of_the_sheet(make):
    network = make("sgan", "encoder", DIGITS, {"classes": 10})
    assert [tuple(one.shape[1:]) for one in network.features(torch.zeros(2, *DIGITS))] == [
        (32, 14, 14), (64, 7, 7), (128, 4, 4),
    ]  # fmt: skip
    assert sum(isinstance(part, nn.BatchNorm2d) for part in network.modules()) == 3  # after the first layer too


def test_weights_begin_as_the_text_says(make):
    torch.manual_seed(0)
    for part, outputs in (("decoder", 100), ("encoder", {"classes": 10})):
        network = make("sgan", part, DIGITS, outputs)
        drawn = [weight.detach() for weight in network.parameters() if weight.dim() > 1 and weight.numel() > 1000]
        assert len(drawn) >= 2
        assert all(abs(float(weight.std()) - 0.02) < 0.003 for weight in drawn)


def test_sides_that_are_no_multiples_of_4_are_refused(make):
    for part, outputs in (("decoder", 100), ("encoder", {"classes": 10})):
        with pytest.raises(UserError, match=r"multiples of 4.*32 x 32"):
            make("sgan", part, (1, 30, 30), outputs)


def test_an_encoder_without_norms_and_with_dropout(make):
    network = make("sgan", "encoder", DIGITS, {"classes": 10}, normalisation="none", dropout=0.5)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    images = torch.randn(2, *DIGITS)
    assert not torch.equal(network(images)["classes"], network(images)["classes"])
    network.eval()
    assert torch.equal(network(images)["classes"], network(images)["classes"])
