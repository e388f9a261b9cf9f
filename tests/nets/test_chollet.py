from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.nets._dropout import Dropout
from frugan.registry import UserError

FROG, SCORE = (3, 32, 32), {"score": 1}
FACTORISED = [("block.*", "factorised", {})]


def test_factorised_sheet_7_cifar_counts(make_meta, count):
    assert count(make_meta("chollet", "decoder", FROG, 32)) == (6_264_579, 6_264_579)
    assert count(make_meta("chollet", "decoder", FROG, 32, FACTORISED)) == (3_971_587, 3_971_587)


def test_factorised_sheet_7_cifar_macs(make_meta, macs):
    latents = torch.randn(1, 32, device="meta")
    assert macs(make_meta("chollet", "decoder", FROG, 32), latents) == 3_873_177_600
    assert macs(make_meta("chollet", "decoder", FROG, 32, FACTORISED), latents) == 1_776_025_600


def test_factorised_sheet_3_4_cifar_discriminator_count(make_meta, count):
    assert count(make_meta("chollet", "encoder", FROG, SCORE)).total == 790_913


def test_factorised_sheet_3_3_cifar_rows(make_meta):
    rows = {
        "naive": ([], [1_081_344, 819_456, 1_048_832, 1_638_656, 1_638_656, 37_635]),
        "factorised": (FACTORISED, [1_081_344, 164_096 + 327_936, 1_048_832, 2 * 327_936, 2 * 327_936, 37_635]),
    }
    for rules, expected in rows.values():
        body = make_meta("chollet", "decoder", FROG, 32, rules).body
        assert [n for n in (sum(p.numel() for p in part.parameters()) for part in body) if n] == expected
        x, shapes = torch.randn(2, 32, device="meta"), []
        for part in body:
            x = part(x)
            if x.dim() == 4 and any(True for _ in part.parameters()):
                shapes.append(tuple(x.shape))
        assert shapes == [(2, 256, 16, 16), *3 * [(2, 256, 32, 32)], (2, 3, 32, 32)]


def test_batch_norm_follows_every_convolution_of_the_decoder_but_the_last(make_meta):
    body = list(make_meta("chollet", "decoder", FROG, 32, normalisation="batch_norm").body)
    norms = [place for place, part in enumerate(body) if isinstance(part, nn.BatchNorm2d)]
    assert [type(body[place - 1]).__name__ for place in norms] == ["Convolution", "Transposed", *2 * ["Convolution"]]
    assert all(isinstance(body[place + 1], nn.LeakyReLU) for place in norms)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in make_meta("chollet", "decoder", FROG, 32).body)


def test_factorised_sheet_3_4_cifar_discriminator_shapes(make_meta):
    network = make_meta("chollet", "encoder", FROG, SCORE)
    features = network.features(torch.randn(2, 3, 32, 32, device="meta"))
    assert [tuple(f.shape[1:]) for f in features] == [(128, s, s) for s in (30, 14, 6, 2)]
    assert network.heads["score"].in_features == 512
    assert [part.p for part in network.modules() if isinstance(part, Dropout)] == [0.5]


def test_an_image_too_small_for_its_unpadded_layers_is_named(make_meta):
    make_meta("chollet", "encoder", (3, 24, 24), SCORE)
    with pytest.raises(UserError, match="24 x 24 or more"):
        make_meta("chollet", "encoder", (3, 22, 22), SCORE)
