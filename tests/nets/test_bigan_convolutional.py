"""The sheet's facts of BiGAN's convolutional networks (section 2b)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.nets import find
from frugan.registry import UserError

IMAGE, LATENTS = (3, 64, 64), 200


def make_joint(image=IMAGE, vector=LATENTS, **options):
    part = find("bigan_convolutional").part("joint")
    return part(ImageShape(*image), vector, {"score": 1}, Layers(), **options)


def test_bigan_sheet_2b_counts(make_meta, count):
    assert count(make_meta("bigan_convolutional", "decoder", IMAGE, LATENTS)).trainable == 6_050_880
    assert count(make_meta("bigan_convolutional", "encoder", IMAGE, {"latents": LATENTS})).trainable == 5_945_792
    with torch.device("meta"):
        assert count(make_joint()).trainable == 4_494_784


def test_bigan_sheet_2b_convolutions_halve_and_double_exactly(make_meta):
    shapes = []

    def note(module, given, output):
        shapes.append(tuple(output.shape[1:]))

    with torch.device("meta"):
        networks = make_joint(), make_meta("bigan_convolutional", "decoder", IMAGE, LATENTS)
        for network in networks:
            for part in network.modules():
                if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                    assert (part.kernel_size, part.stride, part.padding, part.bias) == ((5, 5), (2, 2), (2, 2), None)
                    part.register_forward_hook(note)
        networks[0](torch.empty(2, *IMAGE), torch.empty(2, LATENTS))
        networks[1](torch.empty(2, LATENTS))
    assert shapes == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), IMAGE
    ]


def test_bigan_sheet_2b_vectors_enter_every_layer_of_the_joint_part_but_the_first():
    network = make_joint((1, 16, 16), 6, channels=4).eval()
    nn.init.normal_(network.heads["score"].weight)
    images, vectors = torch.rand(3, 1, 16, 16), torch.randn(3, 6)
    hidden = functional.leaky_relu(network.first[0](images), 0.2)
    (second,) = network.hidden
    hidden = second.layer(hidden) + second.vector(vectors)[:, :, None, None]
    hidden = functional.leaky_relu(second.rest[0](hidden), 0.2)
    torch.testing.assert_close(network(images, vectors)["score"], network.heads["score"](hidden.flatten(1)))


def test_bigan_sheet_5_fact_3_and_7_the_score_begins_at_0_and_latents_lie_in_minus_1_to_1(make):
    assert not make_joint((1, 16, 16), 6)(torch.rand(3, 1, 16, 16), torch.randn(3, 6))["score"].any()
    encoder = make("bigan_convolutional", "encoder", (1, 16, 16), {"latents": 6}, channels=4)
    with torch.no_grad():
        encoder.heads["latents"].layer.weight.mul_(15)
    latents = encoder(torch.rand(30, 1, 16, 16))["latents"]
    assert 0.5 < latents.abs().max() < 1


def test_images_too_small_for_vectors_to_enter_are_refused():
    with pytest.raises(UserError, match=r"impossible for 8 x 8. Resize the data, e.g. to 32 x 32"):
        make_joint((1, 8, 8))
    with pytest.raises(UserError, match=r"vectors have the shape \[2, 5\], but this network needs \[count, 6\]"):
        make_joint((1, 16, 16), 6, width=0.1)(torch.zeros(2, 1, 16, 16), torch.zeros(2, 5))
