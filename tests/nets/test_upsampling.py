from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.nets._dropout import Dropout

MNIST, SCORE = (1, 28, 28), {"score": 1}
SHALLOW, MEDIUM, DEEP = (128, 128, 64), (128, 256, 128), (128, 512, 256)


@pytest.mark.parametrize(
    ("channels", "upsampling", "expected"),
    [
        (SHALLOW, "nearest", (855_809, 856_193)),
        (MEDIUM, "nearest", (1_225_601, 1_226_369)),
        (DEEP, "nearest", (2_407_553, 2_409_089)),
        ((256, 256, 128), "nearest", (2_153_985, 2_154_753)),
        ((512, 512, 256), "nearest", (6_077_441, 6_078_977)),
        (SHALLOW, "transposed", (1_033_921, 1_046_849)),
        (MEDIUM, "transposed", (1_690_241, 1_703_553)),
        (DEEP, "transposed", (3_789_313, 3_803_393)),
    ],
)
def test_coursework_sheet_2_3_generator_counts(make_meta, count, channels, upsampling, expected):
    network = make_meta("upsampling", "decoder", MNIST, 100, channels=channels, upsampling=upsampling)
    assert count(network) == expected


def test_coursework_sheet_2_3_discriminator_counts(make_meta, count):
    assert count(make_meta("upsampling", "encoder", MNIST, SCORE)) == (392_833, 393_729)
    assert count(make_meta("upsampling", "encoder", MNIST, SCORE, last_norm=False)) == (392_321, 392_705)


def test_coursework_sheet_2_5_weights_that_labels_add(make_meta, count):
    for part, size, added in (("decoder", 100, 62_720), ("encoder", SCORE, 2_880)):
        plain, labelled = (count(make_meta("upsampling", part, MNIST, size, classes=classes)) for classes in (0, 10))
        assert labelled.trainable - plain.trainable == added


def test_coursework_sheet_6_1_discriminator_sizes_and_generator_range(make):
    network = make("upsampling", "encoder", MNIST, SCORE)
    features = network.features(torch.randn(2, *MNIST))
    assert [tuple(f.shape[1:]) for f in features] == [(32, 14, 14), (64, 8, 8), (128, 4, 4), (256, 4, 4)]
    assert network.heads["score"].in_features == 4_096
    images = make("upsampling", "decoder", MNIST, 100)(100 * torch.randn(4, 100))
    assert images.shape == (4, 1, 28, 28)
    assert images.min() >= -1
    assert images.max() <= 1


def test_coursework_sheet_6_7_labels_matter_and_make_a_grid(make):
    decoder = make("upsampling", "decoder", MNIST, 100, classes=10, width=0.25).eval()
    latents = torch.randn(3, 100)
    grid = decoder(latents.repeat(10, 1), torch.arange(10).repeat_interleave(3)).view(10, 3, *MNIST)
    assert all(not torch.equal(grid[0], grid[label]) for label in range(1, 10))
    torch.testing.assert_close(grid[4, 2:], decoder(latents[2:], torch.tensor([4])))
    encoder = make("upsampling", "encoder", MNIST, SCORE, classes=10, width=0.25).eval()
    images = torch.randn(2, *MNIST)
    one, other = (encoder(images, torch.full((2,), label))["score"] for label in (1, 2))
    assert not torch.equal(one, other)


def test_the_order_is_convolution_norm_activation_dropout(make_meta):
    stage = make_meta("upsampling", "encoder", MNIST, SCORE).stages[1]
    kinds = (nn.Conv2d, nn.ZeroPad2d, nn.BatchNorm2d, nn.LeakyReLU, Dropout)
    assert all(isinstance(part, kind) for part, kind in zip(stage, kinds, strict=True))


def test_even_maps_are_not_padded(make_meta):
    features = make_meta("upsampling", "encoder", (3, 32, 32), SCORE).features(torch.randn(1, 3, 32, 32, device="meta"))
    assert [f.shape[-1] for f in features] == [16, 8, 4, 4]
