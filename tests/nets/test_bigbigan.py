"""BigBiGAN's networks: the counts and shapes of its sheet, and what each score may see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan import nets
from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.nets._spectral import SpectralNorm
from frugan.nets.bigbigan import ReversibleBlock
from frugan.registry import UserError

SCORES = {"score": 1, "score_of_images": 1, "score_of_vectors": 1}
PLAIN = {"normalisation": "none"}  # spectral norm adds no parameter, and takes a while to lay on
FAST = {**PLAIN, "initialise": "dcgan"}  # orthogonal weights take a while too
DESIGNS = {
    "32": dict(side=32, latents=128, channels=64, encoder=64, hidden=512),
    "tiny": dict(side=32, latents=64, channels=32, encoder=32, hidden=256),
    "64": dict(side=64, latents=120, channels=32, encoder=64, hidden=512, attention=32),
    "64 wide": dict(side=64, latents=120, channels=64, encoder=64, hidden=512, attention=32),
}
COUNTS = {
    "32": (3_978_755, 12_611_648, 4_204_544, 2_167_296, 2_494_976, 257, 513, 513, 25_458_502),
    "tiny": (998_147, 3_156_000, 1_053_696, 542_976, 624_896, 129, 257, 257, 6_376_358),
    "64": (7_818_884, 12_603_440, 4_888_673, 2_163_200, 2_626_048, 513, 513, 513, 30_101_784),
    "64 wide": (30_629_124, 12_603_440, 19_546_817, 2_163_200, 2_888_192, 1_025, 513, 513, 67_832_824),
}


def trained(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def encoder(side=32, latents=4, colours=3, stochastic=True, rules=(), **options):
    layers = Layers([(pattern, find(family)) for pattern, family in rules])
    outputs = {"latents": latents} | ({"raw_deviations": latents} if stochastic else {})
    return nets.find("bigbigan").encoder(ImageShape(colours, side, side), outputs, layers, **options)


def joint(side=32, latents=4, outputs=SCORES, classes=0, **options):
    return nets.find("bigbigan").joint(ImageShape(3, side, side), latents, outputs, Layers(), classes, **options)


def generator(side=32, latents=128, colours=3, **options):
    given = {"skip": True, **PLAIN, **options}
    return nets.find("biggan").decoder(ImageShape(colours, side, side), latents, Layers(), **given)


# --------------------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize("design", DESIGNS)
def test_bigbigan_sheet_2_parameters_of_the_designs(design):
    sizes, counts = DESIGNS[design], COUNTS[design]
    place = {"side": sizes["side"], "latents": sizes["latents"]}
    seen = {"channels": sizes["channels"], "attention": sizes.get("attention", 0)}
    with torch.device("meta"):
        made = generator(**place, **seen)
        coding = encoder(**place, channels=sizes["encoder"], hidden=sizes["hidden"])
        judging = joint(**place, **seen, hidden=sizes["hidden"], **PLAIN)
    parts = {name: trained(judging.get_submodule(inside)) for name, inside in judging.parts.items()}
    assert list(parts) == ["F", "H", "J", "s_x", "s_z", "s_xz"]
    assert (trained(made), trained(coding), *parts.values()) == counts[:-1]
    assert trained(judging) == sum(parts.values())
    assert trained(made) + trained(coding) + trained(judging) == counts[-1]


def test_bigbigan_sheet_2_parameters_of_other_generators_and_of_a_deterministic_encoder():
    counts = {(32, 128, 32): 1_055_491, (32, 128, 16): 294_275, (32, 128, 8): 88_771,
              (64, 120, 16): 2_035_524, (64, 120, 8): 549_284}  # fmt: skip
    with torch.device("meta"):
        for (side, latents, channels), count in counts.items():
            assert trained(generator(side, latents, channels=channels, attention=32 if side == 64 else 0)) == count
        assert trained(generator(32, 64, colours=1, channels=32)) == 995_841
        assert trained(encoder(latents=128, stochastic=False)) == 12_545_984
        assert trained(encoder(latents=128, stochastic=False, bounded=["latents"])) == 12_545_984


def test_bigbigan_sheet_2_a_score_that_is_left_out_takes_its_weights_with_it():
    with torch.device("meta"):
        whole = trained(joint(latents=128, **PLAIN))
        for name, weights in (("score_of_vectors", 512 + 1), ("score_of_images", 256 + 1)):
            left = {score: 1 for score in SCORES if score != name}
            assert whole - trained(joint(latents=128, outputs=left, **PLAIN)) == weights
        alone = joint(latents=128, outputs={"score_of_images": 1, "score_of_vectors": 1}, **PLAIN)
    assert whole - trained(alone) == 2_494_976 + 513  # with the score of pairs J is gone
    assert list(alone.parts) == ["F", "H", "s_x", "s_z"]


# --------------------------------------------------------------------------------------------------------------- shapes


def test_bigbigan_sheet_5_fact_2_shapes():
    latents, images = torch.randn(2, 128), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert generator()(latents).shape == (2, 3, 32, 32)
        judging = joint(latents=128, **FAST)
        seen: dict[str, torch.Size] = {}
        for part in ("H", "J"):
            inside = judging.get_submodule(judging.parts[part])
            inside.register_forward_hook(lambda module, given, out, part=part: seen.update({part: out.shape}))
        judging.of_pairs.register_forward_pre_hook(lambda module, given: seen.update(joined=given[0].shape))
        scores = judging(images, latents)
        assert seen == {"H": (2, 512), "J": (2, 512), "joined": (2, 256 + 512)}
        assert {name: score.shape for name, score in scores.items()} == {name: (2, 1) for name in SCORES}
        for side in (32, 64):
            network = encoder(side, 128, initialise="dcgan").eval()
            found = network(torch.randn(2, 3, side, side))
            assert {name: one.shape for name, one in found.items()} == {
                "latents": (2, 128), "raw_deviations": (2, 128)
            }  # fmt: skip
            assert network.features(torch.randn(2, 3, side, side))[-1].shape == (2, 512)  # the average, to be probed


def test_bigbigan_sheet_5_fact_10_a_part_of_the_latents_changes_nothing_before_its_block():
    network = generator(latents=8, channels=4).eval()
    for norm in (module for module in network.modules() if hasattr(module, "gain")):
        nn.init.normal_(norm.gain.weight)
    one = torch.randn(1, 8)
    for part in range(4):
        other = one.clone()
        other[:, 2 * part : 2 * part + 2] += 1
        after: list[list[torch.Tensor]] = []
        for latents in (one, other):
            kept: list[torch.Tensor] = []
            hooks = [stage.register_forward_hook(lambda module, given, out, kept=kept: kept.append(out))
                     for stage in (network.start, *network.blocks)]  # fmt: skip
            with torch.no_grad():
                network(latents)
            for hook in hooks:
                hook.remove()
            after.append(kept)
        equal = [torch.equal(*pair) for pair in zip(*after, strict=True)]
        assert equal == [place < part for place in range(4)]


def test_every_weight_but_the_encoders_has_spectral_norm():
    judging = joint(channels=2, hidden=4)
    layers = [part for part in judging.modules() if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd))]
    assert len(layers) == sum(isinstance(part, SpectralNorm) for part in judging.modules())
    assert not any(isinstance(part, SpectralNorm) for part in encoder(channels=2, hidden=4).modules())


def test_a_score_of_one_half_of_a_pair_does_not_see_the_other():
    judging = joint(channels=2, hidden=4).eval()
    images, latents = torch.randn(3, 3, 32, 32), torch.randn(3, 4)
    before = judging(images, latents)
    others = {"score_of_images": (images, latents + 1), "score_of_vectors": (images + 1, latents)}
    for name, given in others.items():
        after = judging(*given)
        assert torch.equal(before[name], after[name])
        assert not torch.equal(before["score"], after["score"])


# ------------------------------------------------------------------------------------------------ the encoder's form


def test_a_reversible_block_can_be_inverted_and_has_half_the_weights():
    torch.manual_seed(0)
    block = ReversibleBlock("block.0", 8, Layers()).eval()
    x = torch.randn(2, 8, 4, 4)
    one, other = block(x).split(block.sizes, dim=1)
    other = other - block.of_first(one)[1]
    one = one - block.of_second(other)[1]
    torch.testing.assert_close(torch.cat([one, other], 1), x, atol=1e-5, rtol=0)
    with torch.device("meta"):
        plain, reversible = (
            sum(p.numel() for p in encoder(channels=8, reversible=on).stages[1].parameters() if p.dim() == 4)
            for on in (False, True)
        )
    assert reversible * 2 == plain  # its first stage is two blocks that keep the shape


@pytest.mark.parametrize("reversible", [False, True])
def test_every_layer_of_the_encoder_can_be_built_by_a_family(reversible):
    network = encoder(channels=4, hidden=4, rules=[("*", "depthwise")], reversible=reversible)
    kernels = [part.groups for part in network.modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    assert min(kernels[1:]) > 1
    assert network(torch.randn(2, 3, 32, 32))["latents"].shape == (2, 4)


def test_networks_that_judge_only_pairs_refuse_other_scores_and_name_one_that_does_not():
    for name in ("bigan", "bigan_convolutional", "ali"):
        with pytest.raises(UserError, match=r"score_of_images and score_of_vectors.*architecture=bigbigan"):
            nets.find(name).joint(ImageShape(1, 32, 32), 4, SCORES, Layers(), width=0.1)
    with pytest.raises(UserError, match="one block or more"):
        encoder(blocks=0)
