"""A fused network computes the same images, whatever was folded, merged or chosen in it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from frugan import build, fusing, kernels, nets, recipes
from frugan.artefact import Generator
from frugan.batch import ImageShape
from frugan.convs import Convolution, Layers, depthwise, factorised, standard
from frugan.fusing import fuse
from frugan.kernels import _compiler
from frugan.registry import UserError


@pytest.fixture(autouse=True)
def _nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """That kernels agree is tested with them."""
    monkeypatch.setattr(_compiler, "load", lambda source, **defines: None)


def trained(network: nn.Module) -> nn.Module:
    """As if it had been trained: norms with statistics and gains of their own."""
    draws = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            for value, low in ((module.running_mean, -1.0), (module.running_var, 0.5), (module.weight, 0.5),
                               (module.bias, -1.0)):  # fmt: skip
                assert value is not None
                value.data.uniform_(low, low + 2, generator=draws)
    return network.eval()


@pytest.mark.parametrize("family", [standard, factorised, depthwise])
@pytest.mark.parametrize("kind", ["same", "down", "up"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_norm_is_folded_into_what_a_family_made(family: object, kind: str, bias: bool) -> None:
    layer = getattr(family.variant, kind)(6, 8, 5, bias=bias)  # type: ignore[attr-defined]
    network = trained(nn.Sequential(layer, nn.BatchNorm2d(8), nn.ReLU()))
    given = torch.randn(2, 6, 8, 8)
    fused = fuse(network, given, pairs=False)
    assert fused.report.folded == ("1",)
    assert isinstance(fused.network[1], nn.Identity)
    assert torch.allclose(fused(given), network(given), atol=1e-5)
    assert isinstance(network[1], nn.BatchNorm2d)  # what was given stays


@pytest.mark.parametrize("kind", ["same", "down", "up"])
def test_a_pair_without_an_inner_bias_is_one_layer(kind: str) -> None:
    layer = getattr(factorised.variant, kind)(6, 8, 5, bias=True, inner_bias=False)
    network, given = nn.Sequential(layer), torch.randn(2, 6, 8, 8)
    fused = fuse(network, given, pairs=True)
    assert list(fused.report.merged) == ["0"]
    assert fused.network[0].kernel_size == (5, 5)
    assert torch.allclose(fused(given), network(given), atol=1e-5)
    assert fuse(network, given, pairs=False).report.merged == {}


def test_a_pair_with_an_inner_bias_is_left() -> None:
    network, given = nn.Sequential(factorised.variant.same(6, 8, 5, bias=True)), torch.randn(2, 6, 8, 8)
    assert fuse(network, given, pairs=True).report.merged == {}


def test_a_dense_layer_takes_its_norm() -> None:
    network, given = trained(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))), torch.randn(3, 5)
    fused = fuse(network, given)
    assert fused.report.folded == ("1",)
    assert torch.allclose(fused(given), network(given), atol=1e-5)


def test_a_weight_that_is_computed_is_computed_once_and_what_was_given_stays() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
    network, given = trained(nn.Sequential(layer, nn.BatchNorm2d(4))), torch.randn(2, 3, 6, 6)
    fused = fuse(network, given)
    assert fused.report.folded == ("1",)
    assert type(fused.network[0]) is nn.Conv2d
    assert nn.utils.parametrize.is_parametrized(layer)
    assert torch.allclose(fused(given), network(given), atol=1e-5)


def test_biggans_blocks_join_their_upsamplings() -> None:
    options = {"channels": 4, "shared": 4, "skip": True, "attention": 16}
    torch.manual_seed(0)
    network = nets.find("biggan").decoder(ImageShape(3, 32, 32), 8, Layers(), 3, **options)
    network(torch.randn(16, 8), torch.arange(16) % 3)
    network.eval()
    given = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    fused = fuse(network, *given, upsamplings=True)
    assert len(fused.report.joined) == 3
    assert fused.norms_follow_truncation
    assert torch.allclose(fused(*given), network(*given), atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "rows", "columns", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), 1), ((1, 1), (0, 0), (0, 0), 1), ((4, 4), (1, 2), (2, 1), 1),
        ((5, 1), (2, 2), (0, 0), 1), ((1, 3), (0, 0), (2, 0), 1), ((3, 3), (1, 1), (1, 1), 6),
        ((5, 5), (2, 2), (2, 2), 2),
    ],
)  # fmt: skip
def test_nearest_upsampling_joins_its_layer(
    kernel: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], groups: int
) -> None:
    layer = Convolution(6, 12, kernel, rows=rows, columns=columns, groups=groups)
    network = nn.Sequential(nn.Upsample(scale_factor=2), nn.Sequential(layer, nn.ReLU()))
    given = torch.randn(2, 6, 5, 7)
    fused = fuse(network, given, upsamplings=True)
    assert list(fused.report.joined) == ["1.0"]
    layers = fused.network[1][0].layers
    assert len(layers) == 2 ** sum(size > 1 for size in kernel)
    # Of each axis both phases together have one tap more than the kernel: (K + 1)^2 products for 4 K^2.
    assert sum(math.prod(one.kernel_size) for one in layers) == math.prod(size + (size > 1) for size in kernel)
    assert torch.allclose(fused(given), network(given), atol=1e-5)
    assert fuse(network, given, upsamplings=False).report.joined == {}


@pytest.mark.parametrize(
    ("upsampling", "layer"),
    [
        (nn.Upsample(scale_factor=2, mode="bilinear"), Convolution(3, 4, (3, 3), rows=(1, 1), columns=(1, 1))),
        (nn.Upsample(scale_factor=3), Convolution(3, 4, (3, 3), rows=(1, 1), columns=(1, 1))),
        (nn.Upsample(size=(8, 8)), Convolution(3, 4, (3, 3), rows=(1, 1), columns=(1, 1))),
        (nn.Upsample(scale_factor=2), Convolution(3, 4, (3, 3))),
        (nn.Upsample(scale_factor=2), Convolution(3, 4, (3, 3), rows=(1, 1), columns=(1, 1), padding_mode="reflect")),
        (nn.Upsample(scale_factor=2), Convolution(3, 4, (3, 3), stride=(2, 2), rows=(1, 1), columns=(1, 1))),
    ],
    ids=["bilinear", "by three", "to a size", "smaller", "reflected", "strided"],
)
def test_what_is_no_nearest_upsampling_by_two_stays(upsampling: nn.Module, layer: Convolution) -> None:
    network, given = nn.Sequential(upsampling, layer), torch.randn(2, 3, 4, 4)
    fused = fuse(network, given, upsamplings=True)
    assert fused.report.joined == {}
    assert torch.allclose(fused(given), network(given), atol=1e-5)


@pytest.mark.parametrize("recipe", ["mnist", "dcgan-64", "dcgan-shallow", "depthwise-g"])
@pytest.mark.parametrize("family", ["standard", "factorised", "depthwise"])
def test_shipped_networks_make_the_same_images(recipe: str, family: str) -> None:
    found = recipes.find(recipe).with_family(family)
    if recipe == "depthwise-g":
        found = found.with_changes({"data.size": 16, "generator.width": 0.125, "kernels": "plain"})
    network = trained(build.networks(found)["generator"][0])
    draws = torch.Generator().manual_seed(0)
    if recipe == "depthwise-g":
        inputs = [torch.rand(2, 3, 16, 16, generator=draws), torch.ones(2, 5)]
    else:
        labels = [torch.arange(2)] if found.networks["generator"].labels else []
        inputs = [torch.randn(2, found.latents.size, generator=draws), *labels]
    with torch.no_grad():
        fused = fuse(network, *inputs, pairs=True, upsamplings=True)
        assert torch.allclose(fused(*inputs), network(*inputs), atol=2e-4)
        assert len(fused.report.joined) == (2 if recipe == "dcgan-shallow" else 0)
        assert fused.image_range == network.image_range


def test_forms_are_compared_as_they_will_be_computed_once_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    seen: list[kernels.Choices | None] = []

    class Told(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            events.append(self.name)
            return given

    monkeypatch.setattr(fusing, "wait", lambda device: events.append("wait"))
    monkeypatch.setattr(fusing, "REPEATS", 1)
    pair, one = Told("pair"), Told("one")
    assert all(0 <= taken < 1000 for taken in fusing._in_turn(pair, one, torch.zeros(1)))
    assert events == 2 * ["pair", "wait", "one", "wait"]

    in_turn = fusing._in_turn
    monkeypatch.setattr(fusing, "_in_turn", lambda *given: seen.append(kernels._active.get()) or in_turn(*given))
    layer = factorised.variant.same(6, 8, 5, bias=True, inner_bias=False)
    fused = fuse(nn.Sequential(layer), torch.randn(2, 6, 8, 8))
    assert seen == [fused.choices]
    assert fused.choices.mode == "measured"


def test_a_loaded_generator_fuses_for_sampling_and_is_not_shipped(tmp_path: Path) -> None:
    found = recipes.find("dcgan-64").with_changes({"data.size": 16, "generator.channels": 8})
    config = {
        "latents": {"size": found.latents.size, "distribution": "normal"}, "image": [3, 16, 16], "classes": [],
        "part": "decoder", "network": {"architecture": "dcgan", "options": {}, "families": [], "labels": False},
    }  # fmt: skip
    generator = Generator(trained(build.networks(found)["generator"][0]), config)
    assert any(one.dim() == 4 and not one.is_contiguous() for one in generator.module.parameters())  # channels-last
    before = generator.sample(3, seed=1)
    fused = generator.fused()
    assert fused.module.report.folded  # type: ignore[union-attr]
    assert abs(fused.sample(3, seed=1).astype(int) - before).max() <= 1
    assert (generator.sample(3, seed=1) == before).all()
    with pytest.raises(UserError, match="A fused network works on one machine"):
        fused.save(tmp_path / "shipped")
