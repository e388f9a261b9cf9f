"""The convolutional nets of Salimans et al. 2016 (tangent_ssl.md, section 3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.nets import find as find_architecture
from frugan.registry import UserError

COLOUR = (3, 32, 32)


@pytest.mark.parametrize(("channels", "trained", "scales"), [(96, 1_406_804, 1_440), (64, 626_580, 960)])
def test_tangent_sheet_6_1_counts_of_the_classifiers_and_their_features(channels, trained, scales, make):
    network = make("salimans_convolutional", "encoder", COLOUR, {"classes": 10}, channels=channels)
    assert sum(weight.numel() for weight in network.parameters()) == trained
    assert sum(buffer.numel() for buffer in network.buffers()) == scales
    features = network.eval().features(torch.zeros(2, *COLOUR))
    maps = [(2, channels, 16, 16), (2, 2 * channels, 8, 8), (2, 2 * channels)]
    assert [tuple(one.shape) for one in features] == maps


def test_tangent_sheet_6_1_counts_of_the_generator(make):
    network = make("salimans_convolutional", "decoder", COLOUR, 100)
    assert sum(weight.numel() for weight in network.parameters()) == 4_933_382
    images = network(torch.randn(3, 100))
    assert images.shape == (3, *COLOUR)
    assert images.abs().max() <= 1


def test_scales_stay_what_the_first_weights_were_and_only_the_heads_are_trained(make):
    network = make("salimans_convolutional", "encoder", (1, 12, 12), {"classes": 3}, width=0.1)
    layer = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    before = layer.weight.detach().flatten(1).norm(dim=1)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(3).add_(0.1)
    torch.testing.assert_close(layer.weight.detach().flatten(1).norm(dim=1), before)
    assert [name for name, _ in network.named_parameters() if "original0" in name] == [
        "heads.classes.parametrizations.weight.original0"
    ]


@pytest.mark.parametrize("family", ["factorised", "depthwise", "bilinear_additive"])
def test_weight_norm_follows_any_family(family):
    """Of depthwise kernels each channel is normed by itself."""
    layers, shape = Layers([("*", find(family))]), ImageShape(1, 16, 16)
    found = find_architecture("salimans_convolutional")
    network = found.part("encoder")(shape, {"classes": 3}, layers, width=0.1)
    network(torch.randn(2, *shape))["classes"].sum().backward()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            assert len(part.parametrizations.weight[0].scale) == part.out_channels
    assert found.part("decoder")(shape, 5, layers, width=0.1)(torch.randn(2, 5)).shape == (2, *shape)


def test_the_joint_part_sees_images_and_vectors():
    part = find_architecture("salimans_convolutional").part("joint")
    network = part(ImageShape(1, 12, 12), 5, {"score": 1}, Layers(), width=0.1).eval()
    images, vectors = torch.rand(2, 1, 12, 12), torch.randn(2, 5)
    one = network(images, vectors)["score"]
    assert one.shape == (2, 1)
    assert not torch.equal(one, network(images, vectors.flip(0))["score"])
    assert not torch.equal(one, network(images.flip(0), vectors)["score"])


@pytest.mark.parametrize(("shape", "options", "said"), [
    ((1, 8, 8), {}, "9 pixels"), ((1, 12, 12), {"dropout": [0.5]}, "two shares"),
    ((1, 12, 12), {"normalisation": "spectral"}, "weight_norm"),
])  # fmt: skip
def test_what_cannot_be_built_is_refused_in_words(shape, options, said, make):
    with pytest.raises(UserError, match=said):
        make("salimans_convolutional", "encoder", shape, {"classes": 3}, **options)
