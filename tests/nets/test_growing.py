"""The growing networks: the sheet's counts, scales and blocks, and what both do between two sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from frugan.nets._equalised import fan_in
from frugan.nets._minibatch import MinibatchDeviation, MinibatchDiscrimination
from frugan.nets._norms import PixelNorm
from frugan.registry import UserError

CIFAR = {"channels": 4096, "most_channels": 128}
ABLATION = {"channels": 2048}
SCORE = {"score": 1}

TOTALS = [
    (32, 512, {}, 20_719_628, 20_726_785), (64, 512, {}, 22_490_383, 22_498_049),
    (128, 512, {}, 22_933_394, 22_941_313), (256, 512, {}, 23_044_309, 23_052_353),
    (512, 512, {}, 23_072_120, 23_080_225), (1024, 512, {}, 23_079_115, 23_087_249),
    (128, 512, ABLATION, 13_629_810, 13_636_897), (32, 128, CIFAR, 1_296_908, 1_298_689),
    (32, 128, {"channels": 1024, "most_channels": 128}, 1_112_268, 1_114_049),
    (32, 128, {"channels": 2048, "most_channels": 128}, 1_296_908, 1_298_689),
    (64, 256, {"channels": 2048, "most_channels": 256}, 4_555_471, 4_559_169),
    (64, 256, {"channels": 4096, "most_channels": 256}, 5_625_487, 5_629_313),
    (128, 256, {"channels": 4096, "most_channels": 256}, 5_736_402, 5_740_353),
]  # fmt: skip
DEPTHWISE = [
    (32, 512, {}, 6_071_820, 6_074_890), (64, 512, {}, 6_276_623, 6_277_898), (128, 512, {}, 6_329_874, 6_330_250),
    (32, 128, CIFAR, 387_468, 388_234),
]  # fmt: skip
SHIPPED = {32: 20_715_011, 64: 22_484_227, 128: 22_926_467, 1024: 23_071_507}
MACS = [(32, 512, {}, 6.385), (64, 512, {}, 13.635), (128, 512, ABLATION, 2.157)]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("side", "latents", "options", "generator", "discriminator"), TOTALS)
def test_pggan_sheet_2_4_totals(side, latents, options, generator, discriminator, make_meta):
    assert parameters(make_meta("growing", "decoder", (3, side, side), latents, **options)) == generator
    assert parameters(make_meta("growing", "encoder", (3, side, side), SCORE, **options)) == discriminator


@pytest.mark.parametrize(("side", "latents", "options", "generator", "discriminator"), DEPTHWISE)
def test_pggan_sheet_2_4_totals_of_depthwise_networks(side, latents, options, generator, discriminator, make_meta):
    rules = [("*", "depthwise", {})]
    assert parameters(make_meta("growing", "decoder", (3, side, side), latents, rules, **options)) == generator
    assert parameters(make_meta("growing", "encoder", (3, side, side), SCORE, rules, **options)) == discriminator


@pytest.mark.parametrize(("side", "expected"), SHIPPED.items())
def test_pggan_sheet_2_4_with_the_last_layer_to_the_image_alone(side, expected, make_meta):
    network = make_meta("growing", "decoder", (3, side, side), 512)
    assert parameters(network) - sum(map(parameters, network.to_image[:-1])) == expected


@pytest.mark.parametrize(("side", "latents", "options", "expected"), MACS)
def test_pggan_sheet_2_4_multiply_accumulates(side, latents, options, expected, make_meta):
    """In training mode a network on the meta device runs at its last size; only shapes are needed."""
    network = make_meta("growing", "decoder", (3, side, side), latents, **options).train()
    total = 0

    def note(module, given, output):
        nonlocal total
        places = given[0] if isinstance(module, nn.ConvTranspose2d) else output
        total += module.weight.numel() * places.shape[2:].numel()

    for part in network.modules():
        if isinstance(part, _ConvNd):
            part.register_forward_hook(note)
    network(torch.zeros(1, latents, device="meta"))
    assert total / 1e9 == pytest.approx(expected, abs=5e-4)


def test_pggan_sheet_2_2_and_2_3_counts_of_each_layer(make_meta):
    generator = make_meta("growing", "decoder", (3, 1024, 1024), 512)
    first, *rest = generator.blocks
    assert [parameters(layer) for layer in first] == [4_194_816, 2_359_808]
    pairs = [tuple(parameters(layer) for layer in block if parameters(layer)) for block in rest]
    assert pairs == [
        *[(2_359_808, 2_359_808)] * 3, (1_179_904, 590_080), (295_040, 147_584), (73_792, 36_928), (18_464, 9_248),
        (4_624, 2_320),
    ]  # fmt: skip
    assert [parameters(layer) for layer in generator.to_image] == [*[1_539] * 4, 771, 387, 195, 99, 51]
    discriminator = make_meta("growing", "encoder", (3, 1024, 1024), SCORE)
    last, *rest = discriminator.blocks
    assert [parameters(layer) for layer in last if parameters(layer)] == [2_364_416, 4_194_816]
    assert parameters(discriminator.heads) == 513
    pairs = [tuple(parameters(layer) for layer in block if parameters(layer)) for block in rest]
    assert pairs[::-1] == [
        (2_320, 4_640), (9_248, 18_496), (36_928, 73_856), (147_584, 295_168), (590_080, 1_180_160),
        *[(2_359_808, 2_359_808)] * 3,
    ]  # fmt: skip
    assert [parameters(layer) for layer in discriminator.from_image] == [*[2_048] * 4, 1_024, 512, 256, 128, 64]


@pytest.fixture
def pair(make):
    """A generator and a discriminator of 16 pixels, three sizes, in training."""

    def build(rules=(), **options):
        torch.manual_seed(0)
        small = {"channels": 64, "most_channels": 16, **options}
        return (
            make("growing", "decoder", (3, 16, 16), 8, rules, **small),
            make("growing", "encoder", (3, 16, 16), SCORE, rules, **small),
        )

    return build


def test_pggan_sheet_5_2_and_5_3_sizes_at_every_level_and_images_beyond_the_range(pair):
    generator, discriminator = pair()
    latents = torch.randn(4, 8)
    for level, side in ((0, 4), (0.5, 8), (1, 8), (1.25, 16), (2, 16)):
        for network in (generator, discriminator):
            network.grow(level)
        images = generator.train()(latents)
        assert images.shape == (4, 3, side, side)
        assert discriminator(images)["score"].shape == (4, 1)
        assert images.abs().max() > 1
        whole = generator.eval()(latents)
        assert whole.shape == (4, 3, 16, 16)
        torch.testing.assert_close(whole, functional.interpolate(images, size=16), rtol=0, atol=1e-6)
        one, other = (discriminator(seen)["score"] for seen in (whole, functional.avg_pool2d(whole, 16 // side)))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_pggan_sheet_5_4_pixel_norm():
    values = PixelNorm()(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist()
    assert values == pytest.approx([0.848528, 1.131371], abs=1e-6)
    half = PixelNorm()(torch.full((1, 4, 1, 1), 3e-4, dtype=torch.float16))  # whose squares are 0 in half precision
    assert half.dtype == torch.float16
    assert half.flatten()[0].item() == pytest.approx(0.9487, abs=1e-3)


def scales(network: nn.Module) -> dict[str, float]:
    """By what each layer multiplies its weights at run time."""
    return {
        name: part.parametrizations.weight[0].scale for name, part in network.named_modules()
        if parametrize.is_parametrized(part)
    }


def test_pggan_sheet_5_5_scales_at_run_time(make_meta):
    made, judged = (
        scales(make_meta("growing", part, (3, 8, 8), size)) for part, size in (("decoder", 512), ("encoder", SCORE))
    )
    assert made["blocks.0.0.0"] == pytest.approx(0.015625)
    assert made["blocks.0.1.0"] == made["blocks.1.1.0"] == pytest.approx(0.0208333, abs=1e-7)
    assert made["to_image.0"] == made["to_image.1"] == pytest.approx(0.0441942, abs=1e-7)
    assert judged["from_image.0.0"] == pytest.approx(0.8164966, abs=1e-7)
    assert judged["blocks.0.1.0"] == pytest.approx(0.0208130, abs=1e-7)
    assert judged["blocks.0.2.0"] == pytest.approx(0.015625)
    assert judged["heads.score"] == pytest.approx(512**-0.5)


def test_pggan_sheet_2_5_scales_of_a_separable_layer(pair):
    generator, _ = pair(rules=[("*", "depthwise", {})])
    found = scales(generator)
    assert found["blocks.1.1.0.depthwise"] == pytest.approx(1 / 3)
    assert found["blocks.1.1.0.pointwise"] == pytest.approx(math.sqrt(2 / 16))
    alone = scales(pair(rules=[("*", "depthwise", {"start": "layerwise"})])[0])
    assert alone["blocks.1.1.0.depthwise"] == pytest.approx(math.sqrt(2) / 3)
    assert alone["blocks.1.1.0.pointwise"] == pytest.approx(math.sqrt(2 / 16))


@pytest.mark.parametrize("family", ["standard", "factorised", "depthwise", "grouped"])
def test_pggan_sheet_2_5_stored_weights_are_normal_and_biases_zero_and_unscaled(family, pair):
    for network in pair(rules=[("*", family, {})]):
        stored = [
            part.parametrizations.weight.original for part in network.modules() if parametrize.is_parametrized(part)
        ]
        everything = torch.cat([weight.flatten() for weight in stored])
        assert everything.mean().item() == pytest.approx(0, abs=0.05)
        assert everything.std().item() == pytest.approx(1, abs=0.05)
        layers = [part for part in network.modules() if isinstance(part, (_ConvNd, nn.Linear))]
        assert len(layers) == len(stored)
        assert all(not part.bias.any() and type(part.bias) is nn.Parameter for part in layers if part.bias is not None)


def test_without_the_equalised_rate_weights_start_alike_and_are_trained_as_they_are(pair):
    (equalised, _), (plain, _) = pair(), pair(equalised=False)
    assert not scales(plain)
    assert len(plain.state_dict()) == len(equalised.state_dict())
    latents = torch.randn(4, 8)
    torch.testing.assert_close(plain(latents), equalised(latents))  # of the same seed
    layer = plain.blocks[1][1][0]
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in(layer)), rel=0.05)


def test_pggan_sheet_5_6_minibatch_deviation():
    two = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    assert MinibatchDeviation(4)(two)[:, 1].flatten().tolist() == pytest.approx([1.0, 1.0])
    eight = torch.arange(8.0).view(8, 1, 1, 1)
    assert MinibatchDeviation(4)(eight)[:, 1].flatten().tolist() == pytest.approx([2.236068] * 8)
    assert MinibatchDeviation(None)(eight)[:, 1].flatten().tolist() == pytest.approx([2.291288] * 8)
    # Groups are {0, 2} and {1, 3}; each has a number of its own.
    four = torch.tensor([0.0, 5.0, 2.0, 5.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    made = MinibatchDeviation(2)(four)
    assert made.shape == (4, 4, 2, 2)
    assert made[:, 3, 0, 0].tolist() == pytest.approx([1.0, 1e-4, 1.0, 1e-4])
    assert MinibatchDeviation(4).eval()(eight)[:, 1].flatten().tolist() == pytest.approx([1e-4] * 8)


def test_pggan_sheet_6_8_batches_that_do_not_divide():
    assert [MinibatchDeviation(4).size_of(count) for count in (1, 2, 3, 6, 14, 16)] == [1, 2, 3, 3, 2, 4]
    with pytest.raises(UserError, match=r"groups of up to 4, and 7 images .* Give a batch that is a multiple of 4"):
        MinibatchDeviation(4)(torch.zeros(7, 1, 4, 4))
    with pytest.raises(UserError, match="group=1: give how many images are compared, 2 or more"):
        MinibatchDeviation(1)


def test_minibatch_discrimination_by_its_formula():
    torch.manual_seed(0)
    layer, given = MinibatchDiscrimination(6, kernels=3, size=2), torch.randn(4, 6)
    found, projected = layer(given), layer.projection(given).detach().view(4, 3, 2)
    for i in range(4):
        for kernel in range(3):
            near = sum(
                math.exp(-float((projected[i, kernel] - projected[j, kernel]).abs().sum())) for j in range(4) if j != i
            )
            assert found[i, 6 + kernel].item() == pytest.approx(near, abs=1e-5)
    assert torch.equal(found[:, :6], given)
    assert not layer.eval()(given)[:, 6:].any()


def test_losses_sheet_4_minibatch_discrimination():
    layer = MinibatchDiscrimination(2, kernels=1, size=2)
    nn.init.eye_(layer.projection.weight)
    made = layer(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]))
    assert made[:, 2].tolist() == pytest.approx([0.417666, 0.386195, 0.068103], abs=1e-6)


def test_losses_sheet_4_minibatch_standard_deviation():
    maps = torch.tensor([[1.0, 3.0], [3.0, 7.0]]).view(2, 1, 1, 2)
    assert MinibatchDeviation(None)(maps)[:, 1].flatten().tolist() == pytest.approx([1.5] * 4)


@pytest.mark.parametrize("family", ["standard", "depthwise", "factorised"])
def test_pggan_sheet_5_7_a_new_stage_begins_as_the_old_one_enlarged(family, pair):
    generator, discriminator = pair(rules=[("*", family, {})])
    latents, images = torch.randn(4, 8), torch.randn(4, 3, 16, 16)
    for stage in (0, 1):
        made, scores = [], []
        for level in (float(stage), stage + 1e-9):
            generator.grow(level)
            discriminator.grow(level)
            made.append(generator(latents))
            scores.append(discriminator(functional.avg_pool2d(images, 16 // made[-1].shape[-1]))["score"])
        old, new = made
        torch.testing.assert_close(new, functional.interpolate(old, scale_factor=2.0), rtol=0, atol=1e-6)
        torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-6)


def test_pggan_sheet_5_7_a_stage_that_is_faded_in_owes_nothing_to_the_old_one(pair):
    generator, discriminator = pair()
    latents, images = torch.randn(4, 8), torch.randn(4, 3, 16, 16)
    before = generator(latents), discriminator(images)["score"]
    with torch.no_grad():
        for layer in (*generator.to_image[:-1], *discriminator.from_image[:-1]):
            for parameter in layer.parameters():
                parameter.fill_(7.0)
    assert torch.equal(generator(latents), before[0])
    assert torch.equal(discriminator(images)["score"], before[1])
    for network in (generator, discriminator):
        network.grow(1.5)
    assert not torch.equal(generator(latents), before[0])
    assert not torch.equal(discriminator(images)["score"], before[1])


def test_pggan_sheet_6_10_latents_are_normalised_before_labels_join_them(make):
    torch.manual_seed(0)
    network = make("growing", "decoder", (3, 8, 8), 8, classes=3, channels=64, most_channels=16)
    latents, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(network(5 * latents, labels), network(latents, labels), rtol=0, atol=1e-5)
    other = network(latents, (labels + 1) % 3)
    assert not torch.allclose(network(latents, labels), other)


@pytest.mark.parametrize(("height", "width", "advice"), [(28, 28, 32), (32, 64, 64), (48, 48, 64), (2048, 2048, 1024)])
@pytest.mark.parametrize(("part", "size"), [("decoder", 8), ("encoder", SCORE)])
def test_a_resolution_that_it_cannot_make_is_refused_with_those_that_it_can(height, width, advice, part, size, make):
    told = (
        rf"The {part} of 'growing' makes square images of 4, 8, 16, 32, 64, 128, 256, 512 or 1024 pixels a side, and "
        rf"these are {height} x {width}\. Give e\.g\. data\.size={advice}\."
    )
    with pytest.raises(UserError, match=told):
        make("growing", part, (3, height, width), size)


@pytest.mark.parametrize(
    ("part", "size", "option"), [
        ("decoder", 8, {"activation": "reul"}), ("decoder", 8, {"normalisation": "pixels"}),
        ("decoder", 8, {"output": "tan"}), ("encoder", SCORE, {"normalisation": "batch_norm"}),
        ("encoder", SCORE, {"minibatch": "deviations"}),
    ],
)  # fmt: skip
def test_an_unknown_choice_is_refused(part, size, option, make):
    with pytest.raises(UserError, match=f"{next(iter(option))}='.*' is not known"):
        make("growing", part, (3, 8, 8), size, **option)
