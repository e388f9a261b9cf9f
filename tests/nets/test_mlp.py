from __future__ import annotations

import torch
from torch import nn

MNIST, SCORE = (1, 28, 28), {"score": 1}


def test_coursework_sheet_2_3_mlp_counts(make_meta, count):
    assert count(make_meta("mlp", "decoder", MNIST, 100)) == (1_489_936, 1_493_520)
    assert count(make_meta("mlp", "encoder", MNIST, SCORE)) == (533_505, 533_505)


def test_coursework_sheet_2_1_batch_norm_follows_the_activation(make_meta):
    body = make_meta("mlp", "decoder", MNIST, 100).body
    hidden = [nn.Linear, nn.LeakyReLU, nn.BatchNorm1d]
    assert [type(part) for part in body] == [*3 * hidden, nn.Linear, nn.Tanh, nn.Unflatten]
    assert {(part.eps, part.momentum) for part in body if isinstance(part, nn.BatchNorm1d)} == {(1e-3, 0.2)}
    assert {part.negative_slope for part in body if isinstance(part, nn.LeakyReLU)} == {0.2}


def test_coursework_sheet_2_5_labels_by_multiplication_are_tables(make_meta, count):
    plain = {"decoder": 1_489_936, "encoder": 533_505}
    for part, size, table in (("decoder", 100, 10 * 100), ("encoder", SCORE, 10 * 784)):
        network = make_meta("mlp", part, MNIST, size, classes=10, condition="multiply")
        assert count(network).trainable == plain[part] + table


def test_labels_join_the_flattened_image(make):
    network = make("mlp", "encoder", MNIST, SCORE, classes=10)
    assert network.stages[0][0].in_features == 794
    assert network(torch.zeros(3, *MNIST), torch.tensor([0, 5, 9]))["score"].shape == (3, 1)


def test_any_image_shape(make_meta):
    assert make_meta("mlp", "decoder", (3, 17, 5), 8)(torch.randn(2, 8, device="meta")).shape == (2, 3, 17, 5)
