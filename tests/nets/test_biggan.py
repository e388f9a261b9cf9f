"""BigGAN: the counts of its sheet, and what each of its parts does alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import costs, nets
from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.nets._attention import SelfAttention
from frugan.nets._norms import ConditionalBatchNorm
from frugan.nets._residual import UpBlock
from frugan.nets._spectral import spectral
from frugan.registry import UserError

SHARED = {"shared": 128, "skip": True}
PLAIN = {"normalisation": "none"}  # spectral norm adds no parameter, and takes a while to lay on
TINY = {"channels": 4, "shared": 6, "skip": True}


def decoder(side=32, classes=10, latents=128, rules=(), channels_of_image=3, **options):
    image = ImageShape(channels_of_image, side, side)
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    return nets.find("biggan").decoder(image, latents, layers, classes, **options)


def encoder(side=32, classes=10, rules=(), **options):
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    return nets.find("biggan").encoder(ImageShape(3, side, side), {"score": 1}, layers, classes, **options)


def trained(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# --------------------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 4_304_387),
        ({"classes": 100}, 4_580_867),
        ({"channels": 32}, 1_218_307),
        ({"channels": 16}, 375_683),
        (SHARED, 4_373_251),
        ({**SHARED, "channels": 32}, 1_253_379),
        ({"shared": 128}, 4_668_163),
        ({"classes": 0}, 4_276_739),
        ({"side": 64, "latents": 120, "attention": 32, **SHARED}, 31_842_820),
        ({"side": 64, "latents": 120, "attention": 32, "channels": 32, **SHARED}, 8_426_372),
        ({"side": 64, "latents": 120, "channels": 32, **SHARED}, 8_405_891),
        ({"side": 128, "classes": 1000, "latents": 120, "attention": 64, "channels": 96, **SHARED}, 70_433_988),
        ({"side": 128, "classes": 1000, "latents": 120, "attention": 64, **SHARED}, 31_978_628),
        ({"side": 128, "classes": 1000, "attention": 64, "channels": 96}, 85_556_164),
        ({"side": 128, "classes": 1000, "latents": 120, "attention": 64, "channels": 96, "shared": 128}, 72_595_908),
        ({"rules": [("block.*", "depthwise")]}, 1_172_483),
        # What BigBiGAN takes of it: no labels, and latents for every block.
        ({"classes": 0, "skip": True}, 3_978_755),
        ({"classes": 0, "skip": True, "side": 64, "latents": 120, "channels": 32, "attention": 32}, 7_818_884),
    ],
)
def test_biggan_sheet_2_parameters_of_the_generator(options, count):
    with torch.device("meta"):
        assert trained(decoder(**PLAIN, **options)) == count


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 4_207_361),
        ({"classes": 100}, 4_230_401),
        ({"channels": 32}, 1_055_105),
        ({"channels": 16}, 265_409),
        ({"classes": 0}, 4_204_801),
        ({"side": 64, "attention": 32}, 19_558_082),
        ({"side": 64, "attention": 32, "channels": 32}, 4_894_306),
        ({"side": 64, "channels": 32}, 4_893_025),
        ({"side": 128, "classes": 1000, "attention": 64, "channels": 96}, 87_982_370),
        ({"side": 128, "classes": 1000, "attention": 64}, 39_448_258),
        ({"rules": [("block.*", "depthwise"), ("block.0.0", "standard")]}, 553_473),
    ],
)
def test_biggan_sheet_2_parameters_of_the_discriminator(options, count):
    with torch.device("meta"):
        assert trained(encoder(**PLAIN, **options)) == count


@pytest.mark.parametrize(("channels", "count"), [(256, 81_921), (192, 46_081), (96, 11_521)])
def test_biggan_sheet_1_parameters_of_self_attention(channels, count):
    assert trained(SelfAttention(channels)) == count


def test_biggan_sheet_2_one_depthwise_layer():
    layer = Layers([("*", find("depthwise"))]).same("x", 256, 256, 3, inner_bias=False)
    assert trained(layer) == 68_096


def test_biggan_sheet_2_multiply_accumulates_but_for_the_shortcuts_that_see_the_smaller_image():
    """The sheet counts them on the larger one, where the authors' code has them."""
    with torch.device("meta"):
        image, labels = torch.empty(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64)
        made = costs.cost(decoder(**PLAIN).eval(), torch.empty(1, 128), labels)
        judged = costs.cost(encoder(**PLAIN).eval(), image, labels)
        wide = {"side": 64, "channels": 32, "attention": 32}
        larger = costs.cost(decoder(latents=120, **SHARED, **wide, **PLAIN).eval(), torch.empty(1, 120), labels)
        image = torch.empty(1, 3, 64, 64)
        judged_larger = costs.cost(encoder(**wide, **PLAIN).eval(), image, labels)
    assert made.macs == 1_681_129_472 - 3 * 256 * 256 * (4 * 4 + 8 * 8 + 16 * 16)
    assert judged.macs == 1_081_016_576 - 3 * 256 * 256 * 8 * 8
    saved = [512 * 512 * 4 * 4, 512 * 256 * 8 * 8, 256 * 128 * 16 * 16, 128 * 64 * 32 * 32]
    assert larger.macs == 1_807_350_784 - 3 * sum(saved)
    assert judged_larger.macs == 277_578_240 - 3 * (32 * 64 * 16 * 16 + 64 * 128 * 8 * 8 + 128 * 256 * 4 * 4)
    assert not any(cost.doubts for cost in (made, judged, larger, judged_larger))


# ------------------------------------------------------------------------------------------------------------ each part


@pytest.mark.parametrize("side", [32, 64])
def test_biggan_sheet_5_2_shapes(side):
    attention = {"attention": side // 2}
    latents = 120
    made = decoder(side, latents=latents, **TINY, **attention)(torch.randn(2, latents), torch.tensor([3, 9]))
    assert made.shape == (2, 3, side, side)
    assert made.abs().max() <= 1
    assert encoder(side, channels=4, **attention)(made, torch.tensor([3, 9]))["score"].shape == (2, 1)


def test_biggan_sheet_5_3_attention_begins_as_the_identity():
    for build, given in ((decoder, torch.randn(4, 12)), (encoder, torch.randn(4, 3, 32, 32))):
        own = {"latents": 12} if build is decoder else {}
        plain = build(classes=0, channels=4, **own, **PLAIN)
        attending = build(classes=0, channels=4, attention=16, **own, **PLAIN)
        numbered = {key: value for key, value in attending.state_dict().items() if not _of_attention(attending, key)}
        attending.load_state_dict(
            {**attending.state_dict(), **dict(zip(numbered, plain.state_dict().values(), strict=True))}
        )
        one, other = (network.eval()(given) for network in (plain, attending))
        one, other = (value if build is decoder else value["score"] for value in (one, other))
        assert torch.equal(one, other)
        with torch.no_grad():
            next(part for part in attending.modules() if isinstance(part, SelfAttention)).strength.fill_(1.0)
        moved = attending(given)
        assert not torch.allclose(other, moved if build is decoder else moved["score"])


def _of_attention(network: nn.Module, key: str) -> bool:
    owner = network
    for name in key.split("."):
        owner = getattr(owner, name) if not isinstance(owner, torch.Tensor) else owner
        if isinstance(owner, SelfAttention):
            return True
    return False


def test_self_attention_is_its_formula():
    attention = SelfAttention(16)
    with torch.no_grad():
        attention.strength.fill_(0.7)
    x = torch.randn(2, 16, 4, 6)
    queries, keys, values = attention.queries(x), attention.keys(x), attention.values(x)
    keys, values = (nn.functional.max_pool2d(value, 2) for value in (keys, values))
    attended = torch.zeros(2, 8, 4, 6)
    for row in range(4):
        for column in range(6):
            scores = torch.einsum("nc,nchw->nhw", queries[:, :, row, column], keys)
            weights = scores.flatten(1).softmax(1).view_as(scores)
            attended[:, :, row, column] = torch.einsum("nhw,nchw->nc", weights, values)
    torch.testing.assert_close(attention(x), x + 0.7 * attention.out(attended))


def test_attention_stands_once_after_the_first_block_of_its_size():
    """All four blocks of the 32-pixel discriminator but the first end with maps of 8."""
    network = encoder(channels=4, attention=8, **PLAIN)
    assert sum(isinstance(part, SelfAttention) for part in network.modules()) == 1
    assert isinstance(network.stages[1], nn.Sequential)
    for build in (decoder, encoder):
        with pytest.raises(UserError, match=r"attention=12: .*end at .*16.*attention=0 is none"):
            build(attention=12, channels=4)


def test_biggan_sheet_5_4_spectral_norm():
    layer = nn.Linear(20, 12)
    spectral(layer)
    before = {name: value.clone() for name, value in layer.named_buffers()}
    layer(torch.randn(1, 20))
    assert not any(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    for _ in range(200):
        layer(torch.randn(1, 20))
    before = {name: value.clone() for name, value in layer.named_buffers()}
    layer.eval()(torch.randn(1, 20))
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    assert torch.linalg.svdvals(layer.weight)[0].item() == pytest.approx(1, abs=1e-5)


def test_every_weight_of_biggan_but_the_generators_tables_is_spectrally_normed():
    for network in (decoder(latents=12, **TINY), decoder(latents=12, channels=4), encoder(channels=4, attention=8)):
        for part in network.modules():
            if isinstance(part, nn.Embedding):
                assert nn.utils.parametrize.is_parametrized(part) == hasattr(network, "stages")
            elif isinstance(part, (nn.Conv2d, nn.Linear)):
                assert nn.utils.parametrize.is_parametrized(part)


def test_biggan_sheet_2_depthwise_kernels_are_normed_channel_by_channel():
    """As one matrix, N(0, 0.02) kernels would be left with a mean length of 0.16 (the sheet's)."""
    torch.manual_seed(0)
    kernels = nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False)
    nn.init.normal_(kernels.weight, 0, 0.02)
    joint = kernels.weight.detach() / torch.linalg.matrix_norm(kernels.weight.detach().flatten(1), 2)
    assert joint.flatten(1).norm(dim=1).mean().item() == pytest.approx(0.16, abs=0.01)
    spectral(kernels)
    torch.testing.assert_close(kernels.weight.flatten(1).norm(dim=1), torch.ones(256))
    twin = decoder(latents=12, rules=[("*", "depthwise")], **TINY)
    for part in twin.modules():
        if isinstance(part, nn.Conv2d) and part.groups > 1:
            torch.testing.assert_close(part.weight.flatten(1).norm(dim=1), torch.ones(part.groups))


@pytest.mark.parametrize("layer", [nn.Conv2d(12, 8, 3, groups=4), nn.ConvTranspose2d(12, 8, 3, groups=4)])
def test_groups_are_normed_each_by_its_own_largest_singular_value(layer):
    spectral(layer)
    for _ in range(200):
        _ = layer.weight
    weight = layer.eval().weight
    matrices = weight.view(4, -1, *weight.shape[1:])
    matrices = matrices.transpose(1, 2) if isinstance(layer, nn.ConvTranspose2d) else matrices
    torch.testing.assert_close(torch.linalg.svdvals(matrices.flatten(2))[:, 0], torch.ones(4))
    layer.train()
    original = layer.parametrizations["weight"].original
    given = torch.randn(1, 12, 5, 5)
    (first, second) = (layer(given), layer(given))  # whose graphs both need their own vectors
    (first.square().sum() + second.square().sum()).backward()
    assert original.grad is not None
    with torch.no_grad():
        original.normal_()
    for moves in (False, True):
        before = [value.clone() for value in layer.buffers()]
        layer.train(moves)(given)
        assert all(torch.equal(value, old) != moves for value, old in zip(layer.buffers(), before, strict=True))


def test_biggan_sheet_5_6_conditional_batch_norm_without_gain_and_shift_is_plain():
    linears = nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False)
    norm = ConditionalBatchNorm(6, *linears)
    x, told = torch.randn(3, 6, 5, 5), torch.randn(3, 4)
    expected = (1 + linears[0](told))[:, :, None, None] * nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(norm(x, told), expected + linears[1](told)[:, :, None, None])
    for linear in linears:
        nn.init.zeros_(linear.weight)
    torch.testing.assert_close(norm(x, told), nn.BatchNorm2d(6)(x))


def test_biggan_sheet_5_7_projection():
    network = encoder(channels=4, **PLAIN).eval()
    assert network.table is not None
    for parameter in network.heads.parameters():
        nn.init.zeros_(parameter)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    sums = nn.functional.relu(network.features(images, labels)[-1]).sum((2, 3))
    rows = network.table.rows.weight
    torch.testing.assert_close(network(images, labels)["score"], (rows[labels] * sums).sum(1, keepdim=True))
    alike, swapped = images[:1].expand(4, -1, -1, -1), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(alike, swapped)["score"], network(alike, labels)["score"][swapped])


def test_projection_needs_a_score():
    with pytest.raises(UserError, match=r"only to compute a 'score', but the game asks it for real.*labels=false"):
        nets.find("biggan").encoder(ImageShape(3, 32, 32), {"real": 1}, Layers(), 10)


def test_biggan_sheet_5_11_a_part_of_the_latents_changes_its_block_and_what_follows():
    network = decoder(latents=16, **TINY).eval()
    blocks = [block for block in network.blocks if isinstance(block, UpBlock)]
    outputs: list[torch.Tensor] = []
    for block in (network.start, *blocks):
        block.register_forward_hook(lambda module, given, made: outputs.append(made))

    def run(latents: torch.Tensor) -> list[torch.Tensor]:
        outputs.clear()
        network(latents, torch.tensor([1]))
        return list(outputs)

    latents = torch.randn(1, 16)
    plain = run(latents)
    for chunk in range(4):
        changed = latents.clone()
        changed[:, 4 * chunk : 4 * chunk + 4] += 1
        same = [torch.equal(one, other) for one, other in zip(plain, run(changed), strict=True)]
        assert same == [place < chunk for place in range(4)]


@pytest.mark.parametrize("number", [0, 1])
def test_the_shortcut_on_the_smaller_image_gives_what_it_gives_on_the_larger(number):
    network = decoder(classes=0, latents=12, channels=4, **PLAIN).eval()
    block, x = network.blocks[0], torch.randn(2, 16, 4, 4)
    hidden = block(x) - nn.functional.interpolate(block.shortcut(x), scale_factor=2.0)
    torch.testing.assert_close(block(x), hidden + block.shortcut(nn.functional.interpolate(x, scale_factor=2.0)))
    judge = encoder(channels=4, **PLAIN)
    block, x = judge.stages[number], torch.randn(2, (3, 16)[number], 8, 8)
    x_before = x.clone()
    hidden = block(x) - block.shortcut(nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(block(x), hidden + nn.functional.avg_pool2d(block.shortcut(x), 2))
    assert torch.equal(x, x_before)  # its ReLU is not in place, or the shortcut would see what it left


def test_latents_that_cannot_be_split_and_labels_that_skip_cannot_join():
    with pytest.raises(UserError, match=r"in 4 equal parts.*there are 30.*latents\.size=28"):
        decoder(latents=30, **TINY)
    with pytest.raises(UserError, match=r"generator\.shared=128"):
        decoder(skip=True)


@pytest.mark.parametrize(("side", "accepted"), [(512, "128 x 128 or 256 x 256.*data.size=128"), (27, "32 x 32")])
def test_images_that_biggan_cannot_make(side, accepted):
    for build in (decoder, encoder):
        with torch.device("meta"), pytest.raises(UserError, match=accepted):
            build(side, **PLAIN)


# ------------------------------------------------------------------------------------------------------- regularisation


def test_biggan_sheet_5_9_orthogonal_regularisation():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    value = nets.orthogonality(layer)
    assert value.item() == 2
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[4, 4], [4, 0]]


def test_orthogonal_regularisation_leaves_out_depthwise_kernels_and_the_shared_table():
    torch.manual_seed(0)
    network = decoder(latents=16, rules=[("block.*", "depthwise")], **TINY)
    nets.orthogonality(network).backward()
    for name, parameter in network.named_parameters():
        left_out = name.startswith("table.") or parameter.dim() < 2 or ".depthwise." in name
        # A weight of orthonormal rows has no gradient either, and N(0, 0.02) draws none.
        assert (parameter.grad is None) == left_out, name
    own = decoder(latents=16, channels=4)
    nets.orthogonality(own).backward()
    assert all(part.weight.grad is not None for part in own.modules() if isinstance(part, nn.Embedding))
    orthonormal = nn.Conv2d(4, 8, 3)
    nets.initialise(orthonormal, "orthogonal")
    assert nets.orthogonality(orthonormal).item() == pytest.approx(0, abs=1e-9)
