from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.nets._dropout import Dropout
from frugan.registry import UserError

MNIST, SCORE = (1, 28, 28), {"score": 1}


def faithful(kernel):
    """The factorised project's table for its MNIST (kernel 3) and EMNIST (kernel 5) decoders."""
    return [
        ("block.0", "factorised", {"form": "both", "inner_norm": "batch_norm", "kernel": 5}),
        ("up.0", "factorised", {"kernel": kernel, "holes": True}),
        ("output", "factorised", {"stride": 1, "between": "tanh", "kernel": 5}),
    ]


@pytest.mark.parametrize(
    ("latents", "rules", "expected"),
    [
        (100, [], (2_305_472, 2_330_944)),
        (100, faithful(3), (1_563_077, 1_588_805)),
        (256, [], (4_262_336, 4_287_808)),
        (256, faithful(5), (3_544_517, 3_570_245)),
    ],
)
def test_factorised_sheet_7_mnist_and_emnist_counts(make_meta, count, latents, rules, expected):
    assert count(make_meta("tutorial", "decoder", MNIST, latents, rules)) == expected


@pytest.mark.parametrize(
    ("latents", "rules", "expected"),
    [
        (100, [], 51_744_000),
        (100, faithful(3), 17_164_112),
        (256, [], 53_700_864),
        (256, faithful(5), 21_529_424),
    ],
)
def test_factorised_sheet_7_mnist_and_emnist_macs(make_meta, macs, latents, rules, expected):
    network = make_meta("tutorial", "decoder", MNIST, latents, rules)
    assert macs(network, torch.randn(1, latents, device="meta")) == expected


def test_factorised_sheet_3_4_mnist_discriminator_count(make_meta, count):
    assert count(make_meta("tutorial", "encoder", MNIST, SCORE)).total == 212_865


def parameters(module):
    return sum(p.numel() for p in module.parameters()) + sum(
        b.numel() for b in module.buffers() if b.dim()
    )


def test_factorised_sheet_3_1_mnist_rows(make):
    """Weights and output shapes of the table's rows, for a batch of 2 (acceptance 9.2)."""
    rows = {
        "naive": ([], [1_254_400, 50_176, 819_200, 512, 204_800, 256, 1_600]),
        "factorised": (
            faithful(3),
            [1_254_400, 50_176, 98_304 + 49_152 + 512 + 49_152 + 49_152, 512, 24_576 + 12_288, 256, 320 + 5],
        ),
    }
    for name, (rules, expected) in rows.items():
        body = make("tutorial", "decoder", MNIST, 100, rules).body
        assert [p for p in map(parameters, body) if p] == expected, name
        x, shapes = torch.randn(2, 100), []
        for part in body:
            x = part(x)
            if parameters(part) and not isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                shapes.append(tuple(x.shape[1:]))
        up = (64, 14, 14) if name == "naive" else (64, 28, 28)
        assert shapes == [(12_544,), (128, 7, 7), up, (1, 28, 28)], name


@pytest.mark.parametrize(
    ("name", "image", "latents", "table"),
    [
        ("tutorial", MNIST, 100, faithful(3)),
        ("tutorial", MNIST, 256, faithful(5)),
        ("chollet", (3, 32, 32), 32, [("block.*", "factorised", {})]),
    ],
)
def test_factorised_sheet_9_2_a_batch_of_2_becomes_images_and_scores(make_meta, name, image, latents, table):
    """The shapes in between are checked with the tables' rows (3.1 to 3.4)."""
    encoder = make_meta(name, "encoder", image, SCORE)
    for rules in ([], table):
        images = make_meta(name, "decoder", image, latents, rules)(torch.randn(2, latents, device="meta"))
        assert images.shape == (2, *image)
        assert encoder(images)["score"].shape == (2, 1)


def test_factorised_sheet_3_2_emnist_rows(make_meta):
    body = make_meta("tutorial", "decoder", MNIST, 256, faithful(5)).body
    assert parameters(body[0]) == 3_211_264
    assert [p.numel() for p in body[7].parameters()] == [40_960, 20_480]


@pytest.mark.parametrize(("kernel", "zeros"), [(3, 0.625), (5, 0.5)])
def test_factorised_sheet_9_6_holes_in_the_net(make, kernel, zeros):
    body = make("tutorial", "decoder", MNIST, 16, faithful(kernel)).body
    before_norm = body[:8](torch.randn(4, 16))
    assert before_norm.shape == (4, 64, 28, 28)
    assert (before_norm == 0).float().mean().item() == zeros


def test_factorised_sheet_9_6_no_holes_by_the_uniform_rule(make):
    body = make("tutorial", "decoder", MNIST, 16, [("*", "factorised", {})]).body
    before_norm = body[:8](torch.randn(4, 16))
    assert before_norm.shape == (4, 64, 14, 14)
    assert (before_norm == 0).float().mean().item() == 0


def test_factorised_sheet_3_1_no_bias_in_the_decoder(make_meta):
    for rules in ([], faithful(3)):
        network = make_meta("tutorial", "decoder", MNIST, 100, rules)
        assert not [n for n, m in network.named_modules() if isinstance(m, nn.ConvTranspose2d) and m.bias is not None]


def test_factorised_sheet_3_4_mnist_discriminator_shapes(make):
    network = make("tutorial", "encoder", MNIST, SCORE)
    features = network.features(torch.zeros(2, 1, 28, 28))
    assert [tuple(f.shape) for f in features] == [(2, 64, 14, 14), (2, 128, 7, 7)]
    assert [part.p for part in network.modules() if isinstance(part, Dropout)] == [0.3, 0.3]


def test_factorised_sheet_5_3_keras_settings(make):
    """Also those norms that a family put inside a layer; Glorot weights, biases 0."""
    decoder = make("tutorial", "decoder", MNIST, 100, faithful(3))
    norms = [m for m in decoder.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert len(norms) == 4
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    encoder = make("tutorial", "encoder", MNIST, SCORE)
    for layer, fans in ((encoder.stages[1][0], 25 * 64 + 25 * 128), (encoder.heads["score"], 6272 + 1)):
        limit = (6 / fans) ** 0.5
        assert layer.weight.abs().max() <= limit
        assert layer.weight.abs().max() > 0.99 * limit
        assert not layer.bias.any()


@pytest.mark.parametrize(("part", "size"), [("decoder", 100), ("encoder", SCORE)])
@pytest.mark.parametrize(("name", "image"), [("tutorial", MNIST), ("chollet", (3, 32, 32))])
def test_factorised_sheet_9_5_leaky_relu_of_minus_one(make_meta, name, image, part, size):
    network = make_meta(name, part, image, size)
    values = [m(torch.tensor(-1.0)).item() for m in network.modules() if isinstance(m, nn.LeakyReLU)]
    assert len(values) >= 2
    assert values == pytest.approx([-0.3] * len(values))


def test_factorised_sheet_5_2_same_padding(make):
    """Stride 2 on an even image pads 1 before and 2 after."""
    convolution = make("tutorial", "encoder", MNIST, SCORE).stages[0][0]
    padded = torch.nn.functional.pad(images := torch.randn(1, 1, 28, 28), (1, 2, 1, 2))
    expected = torch.nn.functional.conv2d(padded, convolution.weight, convolution.bias, stride=2)
    torch.testing.assert_close(convolution(images), expected)


def test_spectral_norm_reaches_every_weight(make):
    network = make("tutorial", "encoder", MNIST, SCORE, [("*", "depthwise", {})], normalisation="spectral", width=0.25)
    for _ in range(30):
        network(torch.randn(2, 1, 28, 28))
    network.eval()
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 5
    for layer in layers:
        groups = layer.weight.unflatten(0, (getattr(layer, "groups", 1), -1)).flatten(2)  # which never meet
        assert torch.linalg.matrix_norm(groups, 2).tolist() == pytest.approx([1] * len(groups), abs=0.05)


@pytest.mark.parametrize(("normalisation", "kind"), [("batch_norm", nn.BatchNorm2d), ("layer_norm", nn.GroupNorm)])
def test_norms_leave_the_first_layer_alone(make_meta, normalisation, kind):
    network = make_meta("tutorial", "encoder", MNIST, SCORE, normalisation=normalisation)
    assert [n for n, m in network.named_modules() if isinstance(m, kind)] == ["stages.1.1"]


def test_an_unknown_choice_is_answered_with_the_nearest(make_meta):
    with pytest.raises(UserError, match="Did you mean 'spectral'"):
        make_meta("tutorial", "encoder", MNIST, SCORE, normalisation="spectal")
    with pytest.raises(UserError, match="Choose from: dcgan, keras"):
        make_meta("tutorial", "decoder", MNIST, 100, initialise="normal")


def test_a_wrong_number_of_channels_is_named(make_meta):
    with pytest.raises(UserError, match="3 whole numbers above 0"):
        make_meta("tutorial", "decoder", MNIST, 100, channels=(64, 32))


def test_an_odd_image_size_is_answered_with_one_that_works(make_meta):
    with pytest.raises(UserError, match="Resize the data to 32 x 32"):
        make_meta("tutorial", "decoder", (1, 30, 30), 100)


def test_dcgan_initialisation_by_option(make):
    network = make("tutorial", "decoder", MNIST, 100, initialise="dcgan")
    assert network.body[0].weight.std().item() == pytest.approx(0.02, rel=0.02)
