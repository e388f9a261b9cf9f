"""CycleGAN's translator and its separable twins: counts to the unit, ranges, and what instance norm cancels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import convs, nets
from frugan.batch import ImageShape
from frugan.convs import Convolution, Layers, find
from frugan.costs import cost

K = "depthwise"
RESIDUAL, SAMPLING, EVERYTHING = [("block.*", K)], [("block.*", K), ("down.*", K), ("up.*", K)], [("*", K)]


def translator(rules=(), size=256, classes=0, **options):
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    return nets.find("cyclegan").part("translator")(ImageShape(3, size, size), layers, classes, **options)


def macs(network, size):
    found = cost(network, (1, 3, size, size))
    assert found.notes == ()
    return found.macs


@pytest.mark.parametrize(("blocks", "width", "parameters", "bare", "at_128", "at_256"), [
    (6, 1.0, 7_837_699, 7_833_987, 8_763_998_208, 35_055_992_832),
    (9, 1.0, 11_378_179, 11_372_931, 12_387_876_864, 49_551_507_456),
    (6, 0.5, 1_965_059, 1_963_203, 2_268_069_888, 9_072_279_552),
    (9, 0.5, 2_850_563, 2_847_939, 3_174_039_552, 12_696_158_208),
])
def test_cyclegan_sheet_2_1_generator(blocks, width, parameters, bare, at_128, at_256):
    network = translator(blocks=blocks, width=width)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert (macs(network, 128), macs(network, 256)) == (at_128, at_256)
    without = translator(blocks=blocks, width=width, biases=False)
    assert sum(p.numel() for p in without.parameters()) == bare


@pytest.mark.parametrize(("blocks", "rules", "parameters", "at_128", "at_256"), [
    (6, [], 7_837_699, 8.764, 35.056), (6, RESIDUAL, 1_576_963, 2.350, 9.399),
    (6, SAMPLING, 927_363, 1.488, 5.952), (6, EVERYTHING, 912_281, 1.240, 4.959),
    (9, [], 11_378_179, 12.388, 49.552), (9, RESIDUAL, 1_987_075, 2.767, 11.067),
    (9, SAMPLING, 1_337_475, 1.905, 7.619), (9, EVERYTHING, 1_322_393, 1.657, 6.627),
])
def test_cyclegan_sheet_2_3_separable_twins(blocks, rules, parameters, at_128, at_256):
    network = translator(rules, blocks=blocks)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert [round(macs(network, size) / 1e9, 3) for size in (128, 256)] == [at_128, at_256]


def test_cyclegan_sheet_5_1_counts():
    assert [sum(p.numel() for p in translator(blocks=blocks).parameters()) for blocks in (6, 9)] == [
        7_837_699, 11_378_179,
    ]


def test_cyclegan_sheet_5_2_sizes_and_range():
    network = translator(width=0.125, blocks=1)
    for size in ((32, 32), (36, 64)):
        made = network(torch.randn(1, 3, *size))
        assert made.shape == (1, 3, *size)
        assert made.abs().max() < 1


def test_cyclegan_sheet_5_9_initial_weights():
    torch.manual_seed(0)
    parts = [part for part in translator(blocks=1).modules() if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))]
    large = [part.weight for part in parts if part.weight.numel() > 30_000]
    assert (len(parts), len(large)) == (8, 6)
    assert not any(part.bias.any() for part in parts)
    assert all(abs(weight.std() - 0.02) < 5e-4 for weight in large)
    assert all(abs(weight.mean()) < 5e-4 for weight in large)


def test_cyclegan_sheet_5_11_instance_norm_cancels_hidden_biases():
    torch.manual_seed(0)
    network = translator(width=0.125, blocks=2).double()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = network(images)
    hidden = [part for part in network.modules() if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(hidden) == 10
    with torch.no_grad():
        for part in hidden[:-1]:
            part.bias.add_(torch.randn_like(part.bias))
        assert (network(images) - before).abs().max() < 1e-5
        hidden[-1].bias.add_(1)
        assert (network(images) - before).abs().max() > 0.1


def test_padding_is_by_reflection_in_the_first_the_last_and_the_residual_layers():
    network = translator(width=0.125, blocks=1)
    modes = [part.padding_mode for part in network.modules() if isinstance(part, Convolution)]
    assert modes == ["reflect", "zeros", "zeros", "reflect", "reflect", "reflect"]
    labelled = translator(width=0.125, blocks=1, classes=3)
    assert next(part.padding_mode for part in labelled.modules() if isinstance(part, Convolution)) == "zeros"


def test_the_padding_stays_with_the_depthwise_part():
    network = translator([("*", K)], width=0.125, blocks=1)
    for part in network.modules():
        if isinstance(part, Convolution) and part.tag == "pointwise":
            assert (part.rows, part.columns) == ((0, 0), (0, 0))
    stem = network.body[0]
    assert (stem.depthwise.padding_mode, stem.depthwise.rows) == ("reflect", (3, 3))


@pytest.mark.parametrize("family", convs.names())
@pytest.mark.parametrize("architecture", ["cyclegan", "stargan"])
def test_every_family_builds_layers_of_the_standard_ones_shapes(architecture, family):
    """Reflection, a kernel of 3 that halves with a row before, and one that doubles with output padding."""
    shapes = []
    for name in ("standard", family):
        seen: dict[str, tuple[int, ...]] = {}
        build = nets.find(architecture).part("translator")
        network = build(ImageShape(3, 32, 32), Layers([("*", find(name))]), width=0.25, blocks=1)
        for part in network.modules():
            if hasattr(part, "role"):
                part.register_forward_hook(lambda layer, given, out, seen=seen: seen.update({layer.role: out.shape}))
        network(torch.randn(1, 3, 32, 32))
        shapes.append(seen)
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 8
