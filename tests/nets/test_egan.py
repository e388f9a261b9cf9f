"""E-GAN's networks against the counts of the sheet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.registry import UserError

IMAGE = (3, 32, 32)
LARGE = {"ends": "kept"}
LARGE_ENCODER = {**LARGE, "bias": False}


@pytest.fixture
def decoder(make_meta):
    return lambda rules=(), **options: make_meta("egan", "decoder", IMAGE, 100, rules, **options)


@pytest.fixture
def encoder(make_meta):
    return lambda **options: make_meta("egan", "encoder", IMAGE, {"score": 1}, **options)


def test_egan_sheet_5_1_counts_of_both_sizes(decoder, encoder, count):
    assert count(decoder()).trainable == 3_447_683
    assert count(encoder()).trainable == 2_638_209
    assert count(decoder(**LARGE)).trainable == 12_653_827
    assert count(encoder(**LARGE_ENCODER)).trainable == 11_033_473


def test_egan_sheet_2_2_counts_at_half_width(decoder, encoder, count):
    assert count(decoder(width=0.5)).trainable == 1_068_483
    assert count(encoder(width=0.5)).trainable == 663_745


def test_egan_sheet_2_1_counts_layer_by_layer(decoder, encoder):
    def layers(network: nn.Module) -> list[int]:
        sizes = [sum(part.numel() for part in module.parameters(recurse=False)) for module in network.modules()]
        return [size for size in sizes if size]

    assert layers(decoder(**LARGE)) == [1_639_424, 8_389_120, 2_097_408, 524_416, 3_459]
    large = [3_456, 524_288, 512, 2_097_152, 1_024, 8_388_608, 2_048, 16_385]
    assert layers(encoder(**LARGE_ENCODER)) == large


@pytest.mark.parametrize(
    ("options", "made", "judged"), [(LARGE, 407_830_528, 406_208_512), ({}, 69_500_928, 68_689_920)]
)
def test_egan_sheet_2_multiply_accumulates(decoder, encoder, macs, options, made, judged):
    assert macs(decoder(**options), torch.zeros(1, 100, device="meta")) == made
    assert macs(encoder(**options), torch.zeros(1, *IMAGE, device="meta")) == judged


def test_egan_sheet_2_2_counts_of_depthwise_forms(decoder, count):
    """The sheet's separable layers have one bias, behind the pointwise piece."""

    def swapped(pattern: str) -> list[tuple[str, str, dict[str, bool]]]:
        return [(pattern, "depthwise", {"inner_bias": False})]

    assert count(decoder(swapped("up.*"), **LARGE)).trainable == 2_360_579
    assert count(decoder(swapped("up.*"))).trainable == 1_002_371
    assert count(decoder(swapped("*"))).trainable == 998_659


def test_batch_norm_in_the_decoder(decoder, count):
    """The authors' ``g_norm``: a gain and a shift for each channel of every layer but the last."""
    assert count(decoder(normalisation="batch_norm")).trainable == 3_447_683 + 2 * (512 + 256 + 128)
    assert count(decoder(normalisation="batch_norm", **LARGE)).trainable == 12_653_827 + 2 * (1024 + 512 + 256 + 128)
    with pytest.raises(UserError, match="batch_norm"):
        decoder(normalisation="batchnorm")


@pytest.mark.parametrize("options", [{}, LARGE])
def test_egan_sheet_5_1_shapes_and_ranges(make, options):
    torch.manual_seed(0)
    generator = make("egan", "decoder", IMAGE, 100, width=0.125, **options)
    images = generator(50 * torch.randn(5, 100))
    assert images.shape == (5, *IMAGE)
    assert images.abs().max() <= 1
    scores = make("egan", "encoder", IMAGE, {"score": 1}, width=0.125, **options)(20 * images)["score"]
    assert scores.shape == (5, 1)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in generator.modules())


def test_ends_that_are_not_known_are_named(make):
    with pytest.raises(UserError, match=r"ends='keep' is not known\. .*kept"):
        make("egan", "decoder", IMAGE, 100, ends="keep")
