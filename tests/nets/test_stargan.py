"""StarGAN's networks and their depthwise forms: counts to the unit, shapes, and what carries the label."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.costs import cost
from frugan.registry import UserError

STARGAN = nets.find("stargan")
S, K = "standard", "depthwise"
EVERY, KEPT_UP = ("*", K), ("up.*", S)


def translator(rules=(), classes=5, size=128, **options):
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    network = STARGAN.part("translator")(ImageShape(3, size, size), layers, classes, **options)
    layers.check_rules_used()
    return network


def encoder(rules=(), classes=5, size=128, **options):
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    outputs = {"score": 1, "classes": classes}
    network = STARGAN.part("encoder")(ImageShape(3, size, size), outputs, layers, **options)
    layers.check_rules_used()
    return network


def priced(network, size=128):
    inputs = [(1, 3, size, size)]
    if network.classes:
        inputs.append(torch.zeros(1, dtype=torch.int64))
    found = cost(network, *inputs)
    assert found.notes == ()
    return found.parameters, found.macs


@pytest.mark.parametrize(("classes", "parameters", "macs"), [
    (5, 8_430_528, 9_960_423_424), (7, 8_436_800, 10_063_183_872), (8, 8_439_936, 10_114_564_096),
    (15, 8_461_888, 10_474_225_664),
])
def test_stargan_depthwise_sheet_2_1_generator(classes, parameters, macs):
    assert priced(translator(classes=classes)) == (parameters, macs)


@pytest.mark.parametrize(("size", "classes", "parameters", "macs"), [
    (128, 5, 44_762_048, 683_786_240), (128, 7, 44_778_432, 683_802_624), (128, 8, 44_786_624, 683_810_816),
    (256, 5, 44_884_928, 2_735_144_960), (256, 13, 45_147_072, 2_735_407_104),
])
def test_stargan_depthwise_sheet_2_2_discriminator(size, classes, parameters, macs):
    assert priced(encoder(classes=classes, size=size), size) == (parameters, macs)


@pytest.mark.parametrize(("rules", "options", "parameters", "giga"), [
    ([EVERY, KEPT_UP], {}, 1_525_128, 2.050),
    ([("block.*.1", K), ("block.*.2", K)], {"block_layers": [3, 3, 3, 3, 3, 2]}, 5_640_384, 7.101),
], ids=["depthwise-g", "deeper"])
def test_stargan_depthwise_sheet_2_4_generators(rules, options, parameters, giga):
    found, macs = priced(translator(rules, **options))
    assert (found, round(macs / 1e9, 3)) == (parameters, giga)


@pytest.mark.parametrize(("classes", "depthwise", "deeper"), [(7, 1_525_354, 5_646_656), (8, 1_525_467, 5_649_792)])
def test_stargan_depthwise_sheet_2_4_other_label_lengths(classes, depthwise, deeper):
    assert priced(translator([EVERY, KEPT_UP], classes))[0] == depthwise
    rules = [("block.*.1", K), ("block.*.2", K)]
    assert priced(translator(rules, classes, block_layers=[3, 3, 3, 3, 3, 2]))[0] == deeper


@pytest.mark.parametrize(("classes", "parameters"), [(5, 34_333_568), (7, 34_349_952), (8, 34_358_144)])
def test_stargan_depthwise_sheet_2_4_discriminator(classes, parameters):
    found, macs = priced(encoder([("down.*", K), ("down.last", S)], classes))
    assert found == parameters
    if classes == 5:
        assert round(macs / 1e9, 4) == 0.1824


@pytest.mark.parametrize(("rules", "options", "parameters", "giga"), [
    ([("block.*", K)], {}, 2_166_720, 3.546),
    ([("block.*", K), ("down.*", K)], {}, 1_555_392, 2.546),
    ([EVERY, ("stem", S), ("output", S)], {}, 947_136, 1.753),
    ([EVERY], {}, 916_872, 1.257),
    ([EVERY, ("stem", S), ("output", S)], {"blocks": 10}, 1_493_952, 2.309),
    ([EVERY, KEPT_UP], {"blocks": 11}, 2_208_648, 2.745),
    ([EVERY, KEPT_UP], {"stages": 3, "blocks": 5}, 5_616_520, 2.471),
])
def test_stargan_depthwise_sheet_2_5_generators(rules, options, parameters, giga):
    found, macs = priced(translator(rules, **options))
    assert (found, round(macs / 1e9, 3)) == (parameters, giga)


@pytest.mark.parametrize(("rules", "parameters", "giga"), [
    ([EVERY], 2_890_867, 0.0451), ([EVERY, ("stem", S)], 2_893_696, 0.0567),
])
def test_stargan_depthwise_sheet_2_5_discriminators(rules, parameters, giga):
    found, macs = priced(encoder(rules))
    assert (found, round(macs / 1e9, 4)) == (parameters, giga)


def test_stargan_depthwise_sheet_2_3_five_separable_recipes_round_to_1_5_million():
    kept = {1_525_128: ["up.*"], 1_531_208: ["up.*", "output"], 1_549_312: ["up.*", "stem"],
            1_528_200: ["down.*"], 1_534_280: ["down.*", "output"]}
    for parameters, standard in kept.items():
        assert priced(translator([EVERY, *((role, S) for role in standard)]))[0] == parameters


def test_stargan_depthwise_sheet_5_1_counts():
    assert [priced(translator(classes=c), 128)[0] for c in (5, 8, 15)] == [8_430_528, 8_439_936, 8_461_888]
    assert priced(encoder(classes=13, size=256), 256)[0] == 45_147_072


def test_stargan_depthwise_sheet_5_3_any_size_that_can_be_halved():
    small = {"width": 0.125, "blocks": 1}
    network = translator(**small)
    labels = torch.tensor([[1.0, 0, 0, 1, 1], [0, 1, 0, 0, 1]])
    for size in ((128, 128), (36, 20)):
        made = network(torch.rand(2, 3, *size) * 2 - 1, labels)
        assert made.shape == (2, 3, *size)
        assert made.abs().max() < 1
    with pytest.raises(UserError, match="multiples of 4"):
        network(torch.zeros(1, 3, 30, 32), labels[:1])
    deeper = translator(stages=3, **small)
    assert deeper(torch.zeros(1, 3, 24, 40), labels[:1]).shape == (1, 3, 24, 40)
    with pytest.raises(UserError, match="multiples of 8"):
        deeper(torch.zeros(1, 3, 36, 40), labels[:1])


@pytest.mark.parametrize(("size", "side"), [(128, 2), (256, 4), (64, 2), (32, 2)])
def test_stargan_depthwise_sheet_5_4_score_maps(size, side):
    """At 128 and 256 pixels as in the sheet; smaller images have fewer layers."""
    network = encoder(size=size, width=1 / 64)
    found = network(torch.zeros(2, 3, size, size))
    assert found["score"].shape == (2, 1, side, side)
    assert found["classes"].shape == (2, 5)


def test_stargan_depthwise_sheet_5_5_seventeen_norms_begin_at_1_and_0():
    norms = [part for part in translator().modules() if isinstance(part, nn.InstanceNorm2d)]
    assert (len(norms), sum(norm.num_features for norm in norms)) == (17, 3712)
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
        assert norm.running_mean is None


def test_stargan_depthwise_sheet_5_6_what_a_separable_layer_keeps():
    parts = [find(name).same(256, 256, 3, bias=False) for name in (K, S)]
    separable, standard = (sum(p.numel() for p in part.parameters()) for part in parts)
    assert (separable, standard) == (67_840, 589_824)
    assert separable / standard == pytest.approx(1 / 256 + 1 / 9)


@pytest.mark.parametrize("family", [S, K, "factorised"])
def test_stargan_depthwise_sheet_5_14_the_label_reaches_the_output_through_the_zeros_at_the_border(family):
    torch.manual_seed(0)
    network = translator([("*", family)] if family != S else [], width=0.25, blocks=1, size=32).eval()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    one, other = torch.tensor([[1.0, 0, 0, 1, 1]]), torch.tensor([[0.0, 1, 0, 0, 1]])
    first = network.body[:2]

    def change():
        return (first(network.entrance(images, one)) - first(network.entrance(images, other))).abs().max()

    with torch.no_grad():
        assert change() > 0.2
        assert (network(images, one) - network(images, other)).abs().max() > 1e-3
        for part in first.modules():
            if hasattr(part, "rows") and part.kernel_size != (1, 1):
                part.padding_mode = "reflect"
                part._reversed_padding_repeated_twice = [side for pads in (part.columns, part.rows) for side in pads]
        assert change() < 1e-4


def test_stargan_depthwise_sheet_5_15_running_statistics_change_evaluation_only():
    plain, running = (nn.InstanceNorm2d(4, affine=True, track_running_stats=kept) for kept in (False, True))
    x = torch.randn(2, 4, 6, 6) * 3 + 1
    assert torch.equal(plain(x), running(x))
    assert not torch.allclose(plain.eval()(x), running.eval()(x), atol=0.1)
    network = translator(width=0.125, size=32)
    images, labels = torch.rand(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    assert torch.equal(network.train()(images, labels), network.eval()(images, labels))


@pytest.mark.parametrize(("build", "options", "told"), [
    (translator, {"block_layers": [3, 2]}, "one for each of the 6 blocks"),
    (translator, {"block_layers": [0]}, "one whole number above 0"),
    (translator, {"stages": -1}, "whole numbers, 0 or more"),
    (translator, {"size": 30}, "multiples of 4"),
    (encoder, {"stages": 7}, "at most 6"),
    (encoder, {"size": 31}, "is impossible"),
])
def test_depths_that_cannot_be_are_refused(build, options, told):
    with pytest.raises(UserError, match=told):
        build(**options)
