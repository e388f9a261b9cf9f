from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from frugan.registry import UserError

SCORE = {"score": 1}
TORCH = {"kernel": 4, "channels": 64}
TORCH_DECODER = {**TORCH, "projection": "convolution", "projection_norm": "channel"}
TORCH_ENCODER = {**TORCH, "head": "convolution"}
IMAGENET = {"kernel": 3, "layers_per_stage": 2}
SVHN = {"channels": 64}

DECODERS = [
    ((3, 64, 64), 100, {}, 18_885_760, 18_920_320),
    ((3, 64, 64), 100, {"projection_norm": "channel"}, 18_855_040, 18_858_880),
    ((3, 64, 64), 100, TORCH_DECODER, 3_576_704, 3_578_624),
    ((1, 64, 64), 100, TORCH_DECODER, 3_574_656, 3_576_576),
    ((3, 64, 64), 100, {**TORCH_DECODER, "channels": 128}, 12_658_432, 12_662_272),
    ((3, 32, 32), 256, IMAGENET, 6_690_688, 6_709_632),
    ((3, 32, 32), 100, SVHN, 1_446_976, 1_455_552),
]
ENCODERS = [
    ((3, 64, 64), {}, 17_232_768, 17_236_352),
    ((3, 64, 64), TORCH_ENCODER, 2_765_568, 2_767_360),
    ((1, 64, 64), TORCH_ENCODER, 2_763_520, 2_765_312),
    ((3, 64, 64), {**TORCH_ENCODER, "channels": 128}, 11_036_160, 11_039_744),
    ((3, 32, 32), IMAGENET, 4_586_112, 4_589_440),
    ((3, 32, 32), SVHN, 1_033_664, 1_034_432),
]


@pytest.mark.parametrize(("image", "latents", "options", "trainable", "total"), DECODERS)
def test_dcgan_sheet_2_6_generator_counts(make_meta, count, image, latents, options, trainable, total):
    network = make_meta("dcgan", "decoder", image, latents, **options)
    assert count(network) == (trainable, total)
    assert network(torch.randn(2, latents, device="meta")).shape == (2, *image)


@pytest.mark.parametrize(("image", "options", "trainable", "total"), ENCODERS)
def test_dcgan_sheet_2_6_discriminator_counts(make_meta, count, image, options, trainable, total):
    network = make_meta("dcgan", "encoder", image, SCORE, **options)
    assert count(network) == (trainable, total)
    assert network(torch.randn(2, *image, device="meta"))["score"].shape == (2, 1)


def test_dcgan_sheet_2_6_macs(make_meta, macs):
    latents, images = torch.randn(1, 100, device="meta"), torch.randn(1, 3, 64, 64, device="meta")
    assert macs(make_meta("dcgan", "decoder", (3, 64, 64), 100, **TORCH_DECODER), latents) == 104_628_224
    assert macs(make_meta("dcgan", "encoder", (3, 64, 64), SCORE, **TORCH_ENCODER), images) == 103_817_216
    assert macs(make_meta("dcgan", "decoder", (3, 64, 64), 100), latents) == 640_614_400


@pytest.mark.parametrize("options", [{}, TORCH_ENCODER])
def test_dcgan_sheet_7_1_discriminator_accepts_exactly_64(make_meta, options):
    network = make_meta("dcgan", "encoder", (3, 64, 64), SCORE, **options)
    with pytest.raises(UserError, match=r"needs \[count, 3, 64, 64\]"):
        network(torch.randn(2, 3, 32, 32, device="meta"))


@pytest.mark.parametrize(
    ("image", "options", "length"),
    [
        ((3, 32, 32), IMAGENET, 28_672),
        ((3, 64, 64), {}, 30_720),
        ((3, 64, 64), TORCH_ENCODER, 15_360),
        ((3, 32, 32), SVHN, 7_168),
    ],
)
def test_dcgan_sheet_7_2_feature_lengths(make_meta, image, options, length):
    features = make_meta("dcgan", "encoder", image, SCORE, **options).features(torch.randn(2, *image, device="meta"))
    assert sum(max_pool2d(f, f.shape[-1] // 4).flatten(1).shape[1] for f in features) == length


def test_dcgan_sheet_7_2_layer_shapes_of_the_imagenet_net(make_meta):
    network = make_meta("dcgan", "encoder", (3, 32, 32), SCORE, **IMAGENET)
    features = network.features(torch.randn(1, 3, 32, 32, device="meta"))
    assert [tuple(f.shape[1:]) for f in features] == [
        (128, 32, 32), (128, 16, 16), (256, 16, 16), (256, 8, 8), (512, 8, 8), (512, 4, 4),
    ]


def test_dcgan_sheet_2_3_generator_layers(make_meta):
    body = make_meta("dcgan", "decoder", (3, 32, 32), 256, **IMAGENET).body
    x, shapes = torch.randn(2, 256, device="meta"), []
    for part in body:
        x = part(x)
        if isinstance(part, nn.ConvTranspose2d):
            shapes.append((*tuple(x.shape[1:]), part.stride[0]))
    assert shapes == [
        (512, 8, 8, 2), (256, 8, 8, 1), (256, 16, 16, 2), (128, 16, 16, 1), (128, 32, 32, 2), (3, 32, 32, 1),
    ]


@pytest.mark.parametrize("options", [{}, IMAGENET])
def test_dcgan_sheet_7_3_no_norm_at_the_images_and_no_bias(make_meta, options):
    encoder = make_meta("dcgan", "encoder", (3, 32, 32), SCORE, **options)
    assert [type(part) for part in encoder.stages[0]][1:] == [nn.LeakyReLU]
    assert all(isinstance(stage[1], nn.BatchNorm2d) for stage in list(encoder.stages)[1:])
    decoder = make_meta("dcgan", "decoder", (3, 32, 32), 100, **options)
    assert [type(part) for part in list(decoder.body)[-1:]] == [nn.Tanh]
    assert isinstance(list(decoder.body)[-2], nn.ConvTranspose2d)
    for network in (encoder, decoder):
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
        assert all(layer.bias is None for layer in layers)


def test_dcgan_sheet_7_4_initial_weights(make):
    torch.manual_seed(0)
    for network in (
        make("dcgan", "decoder", (3, 64, 64), 100, **TORCH_DECODER),
        make("dcgan", "encoder", (3, 64, 64), SCORE, **TORCH_ENCODER),
    ):
        layers = [part.weight for part in network.modules() if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))]
        large = [weight for weight in layers if weight.numel() > 10_000]
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        assert len(large) >= 3
        assert len(norms) >= 3
        for weight in large:
            assert abs(weight.mean().item()) < 0.002
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        for norm in norms:
            assert norm.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert not norm.bias.any()


def test_dcgan_sheet_7_7_one_image_or_64(make):
    network = make("dcgan", "decoder", (3, 64, 64), 100, **{**TORCH_DECODER, "channels": 16})
    latents = torch.randn(64, 100)
    network(latents)
    network.eval()
    torch.testing.assert_close(network(latents)[5:6], network(latents[5:6]), rtol=0, atol=1e-5)


def test_dcgan_sheet_2_1_padding_is_two_and_output_padding_one(make):
    """Transposed layers double exactly; torch's own layer with padding 2 and output_padding 1 gives the same."""
    layer = make("dcgan", "decoder", (3, 32, 32), 10, channels=4).body[-2]
    theirs = nn.ConvTranspose2d(4, 3, 5, stride=2, padding=2, output_padding=1, bias=False)
    theirs.weight = layer.weight
    x = torch.randn(2, 4, 16, 16)
    torch.testing.assert_close(layer(x), theirs(x))


def test_roles(make_meta):
    from frugan.batch import ImageShape
    from frugan.convs import Layers
    from frugan.nets import dcgan

    def roles(part, *given, **options):
        layers = Layers()
        with torch.device("meta"):
            part(ImageShape(3, 32, 32), *given, layers, **options)
        return [choice.role for choice in layers.choices]

    assert roles(dcgan.decoder, 100) == ["up.0", "up.1", "output"]
    assert roles(dcgan.encoder, SCORE) == ["stem", "down.0", "down.1"]
    assert roles(dcgan.decoder, 100, **IMAGENET) == ["up.0", "block.0", "up.1", "block.1", "up.2", "output"]
    assert roles(dcgan.encoder, SCORE, **IMAGENET) == ["stem", "down.0", "block.0", "down.1", "block.1", "down.2"]


@pytest.mark.parametrize(("image", "start"), [((1, 28, 28), (7, 7)), ((3, 96, 96), (6, 6)), ((3, 64, 32), (8, 4))])
def test_stages_follow_from_the_image(make_meta, image, start):
    network = make_meta("dcgan", "decoder", image, 20)
    assert network.body[1].unflattened_size[1:] == start
    assert network(torch.randn(2, 20, device="meta")).shape == (2, *image)
    encoder = make_meta("dcgan", "encoder", image, SCORE, head="convolution")
    assert encoder(torch.randn(2, *image, device="meta"))["score"].shape == (2, 1)


@pytest.mark.parametrize("options", [{"kernel": 4, "layers_per_stage": 2}, {"kernel": 6}, {"kernel": 7}])
def test_other_kernels_keep_the_sizes(make_meta, options):
    decoder = make_meta("dcgan", "decoder", (3, 32, 32), 20, **options)
    images = decoder(torch.randn(2, 20, device="meta"))
    assert images.shape[2:] == (32, 32)
    features = make_meta("dcgan", "encoder", (3, 32, 32), SCORE, **options).features(images)
    assert features[-1].shape[2:] == (4, 4)


def test_what_it_cannot_build_is_said_in_one_line(make_meta):
    with pytest.raises(UserError, match="33 x 33"):
        make_meta("dcgan", "decoder", (3, 33, 33), 20)
    with pytest.raises(UserError, match="takes 1 or 2"):
        make_meta("dcgan", "decoder", (3, 32, 32), 20, layers_per_stage=3)
    with pytest.raises(UserError, match="Did you mean 'convolution'"):
        make_meta("dcgan", "encoder", (3, 32, 32), SCORE, head="convolutional")
