"""The sheet's facts of ALI's networks (section 2c)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.batch import ImageShape
from frugan.convs import Layers
from frugan.costs import cost
from frugan.nets import find
from frugan.registry import UserError

DESIGNS = {
    "cifar10": (32, 64, 3_118_496, 981_152, 2_611_009, [32, 28, 13, 10, 4, 1]),
    "svhn": (32, 256, 3_315_488, 1_767_584, 5_283_073, [32, 28, 13, 10, 4, 1]),
    "celeba": (64, 256, 6_794_880, 11_811_392, 15_189_057, [64, 63, 29, 13, 4, 1]),
}


def outputs(latents):
    return {"latents": latents, "log_deviations": latents}


def make_joint(image, latents, **options):
    return find("ali").part("joint")(ImageShape(*image), latents, {"score": 1}, Layers(), **options)


@pytest.mark.parametrize("design", DESIGNS)
def test_bigan_sheet_2c_counts(design, make_meta, count):
    side, latents, encoder, decoder, joint, _ = DESIGNS[design]
    image = (3, side, side)
    assert count(make_meta("ali", "encoder", image, outputs(latents), design=design)).trainable == encoder
    made = make_meta("ali", "decoder", image, latents, design=design)
    assert count(made).trainable == decoder
    tied = decoder - 3 * side * side + 3
    assert tied == {"cifar10": 978_083, "svhn": 1_764_515, "celeba": 11_799_107}[design]
    with torch.device("meta"):
        assert count(make_joint(image, latents, design=design)).trainable == joint


@pytest.mark.parametrize("design", DESIGNS)
def test_bigan_sheet_2c_sizes(design, make_meta):
    side, latents, *_, sizes = DESIGNS[design]
    image, seen = (3, side, side), []

    def note(module, given, output):
        seen.append(output.shape[-1])

    with torch.device("meta"):
        encoder = make_meta("ali", "encoder", image, outputs(latents), design=design)
        decoder = make_meta("ali", "decoder", image, latents, design=design)
        for network in (encoder, decoder):
            for part in network.modules():
                if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                    part.register_forward_hook(note)
        encoder(torch.empty(2, *image))
        made = len(seen)
        decoder(torch.empty(2, latents))
    assert [side, *seen[: len(sizes) - 1]] == sizes
    assert set(seen[len(sizes) - 1 : made]) == {1}
    assert [1, *seen[made : made + len(sizes) - 1]] == sizes[::-1]


def test_bigan_sheet_5_fact_2_shapes(make):
    latents, images = torch.randn(4, 64), torch.rand(4, 3, 32, 32)
    found = make("ali", "encoder", (3, 32, 32), outputs(64))(images)
    assert torch.cat(list(found.values()), 1).shape == (4, 128)
    assert make("ali", "decoder", (3, 32, 32), 64)(latents).shape == (4, 3, 32, 32)
    assert make_joint((3, 32, 32), 64)(images, latents)["score"].shape == (4, 1)


def test_bigan_sheet_2c_weights_begin_small_and_biases_at_0(make):
    for network in (make("ali", "encoder", (3, 32, 32), outputs(64)), make_joint((3, 32, 32), 64)):
        for name, parameter in network.named_parameters():
            if parameter.dim() == 4 and parameter.numel() > 5000:
                assert parameter.std().item() == pytest.approx(0.01, rel=0.05), name
            if name.endswith("bias"):
                assert not parameter.any()


def test_bigan_sheet_2c_the_decoder_has_a_bias_for_every_number_and_the_joint_part_maxout_and_dropout(make):
    decoder = make("ali", "decoder", (3, 32, 32), 8, width=0.1)
    assert not cost(decoder.eval(), (1, 8)).notes
    with torch.no_grad():
        decoder.body[-1].bias[2, 5, 7] = 20.0
    made = decoder(torch.randn(2, 8))
    assert (made[:, 2, 5, 7] > 0.99).all()
    assert (made > 0.99).sum() == 2
    joint = make_joint((3, 32, 32), 8, width=0.1)
    assert [part.p for part in joint.modules() if hasattr(part, "p")] == [
        0.2, 0.5, 0.5, 0.5, 0.5, 0.2, 0.5, 0.5, 0.5, 0.5
    ]  # of images, of vectors, of both joined, and before the score
    maxout = joint.of_images[0][2]
    torch.testing.assert_close(maxout(torch.tensor([1.0, 3, 2, -4]).view(1, 4, 1, 1)).flatten(), torch.tensor([3.0, 2]))


def test_other_sizes_are_built_where_they_fit_and_else_refused_with_those_that_do(make):
    assert make("ali", "decoder", (1, 28, 28), 8, width=0.1)(torch.randn(2, 8)).shape == (2, 1, 28, 28)
    with pytest.raises(UserError, match=r"encoder of 'ali' \(design=cifar10\) cannot be built for 30 x 30.*32 x 32"):
        make("ali", "encoder", (3, 30, 30), outputs(8))
    with pytest.raises(UserError, match=r"design='cifar' is not known. Did you mean 'cifar10'"):
        make("ali", "encoder", (3, 32, 32), outputs(8), design="cifar")
