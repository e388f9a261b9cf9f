"""Every registered convolution family keeps the contract of `frugan.convs`."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from frugan import convs
from frugan.convs import Convolution, Transposed

KINDS = ("same", "down", "up")
FORMS = [
    *((name, {}) for name in convs.names()),
    ("factorised", {"form": "small"}), ("factorised", {"form": "both"}), ("factorised", {"middle": 0.5}),
    ("depthwise", {"order": "pointwise_first"}), ("grouped", {"groups": 2}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in FORMS]
PADDINGS = (None, (0, 0), (1, 1), (2, 1), (1, 3))


def builds(name: str, kind: str) -> bool:
    """Whether a family has such a layer at all, sizes aside."""
    return name != "bilinear_additive" or kind == "up"


def build(name: str, options: dict, kind: str, *channels: int, **contract) -> nn.Module | None:
    """The layer, or None where the family declines it."""
    family = convs.find(name, **options)
    try:
        return getattr(family, kind)(*channels, **contract, **family.options)
    except convs.Declined:
        return None


@pytest.mark.parametrize(("name", "options"), FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_families_give_the_shapes_of_the_standard_one(name: str, options: dict, kind: str) -> None:
    built = 0
    with torch.device("meta"):
        for kernel, stride, padding in itertools.product(range(1, 8), range(1, 5), PADDINGS):
            if kind == "same" and stride > 1:
                continue
            arguments = {"stride": stride, "padding": padding, "bias": False}
            layer = build(name, options, kind, 144, 8, kernel, **arguments)
            if layer is None:
                continue
            built += 1
            plain = getattr(convs.find("standard"), kind)(144, 8, kernel, **arguments)
            for height, width in ((12, 12), (13, 10)):
                images = torch.zeros(1, 144, height, width)
                wanted = plain(images).shape
                assert layer(images).shape == wanted, (kernel, stride, padding, height, width)
                if padding is None and height == 12:
                    assert wanted[2] == {"same": 12, "down": 12 // stride, "up": 12 * stride}[kind]
    assert bool(built) == builds(name, kind)


@pytest.mark.parametrize(("name", "options"), FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_families_honour_bias_seam_norm_and_tags(name: str, options: dict, kind: str) -> None:
    plain = build(name, options, kind, 16, 8, 5, stride=1 if kind == "same" else 2, bias=False)
    assert (plain is not None) == builds(name, kind)
    if plain is None:
        return
    convolutions = [module for module in plain.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    assert all(isinstance(module, (Convolution, Transposed)) for module in convolutions)
    assert {module.tag for module in convolutions} <= {"spatial", "pointwise"}
    assert all(module.bias is None for module in convolutions)

    inner = build(name, options, kind, 16, 8, 5, stride=1 if kind == "same" else 2, bias=True, inner_bias=False)
    outer = build(name, options, kind, 16, 8, 5, stride=1 if kind == "same" else 2, bias=True)
    biases = [sum(key.endswith("bias") for key, _ in layer.named_parameters()) for layer in (inner, outer)]
    assert 1 <= biases[0] <= biases[1]

    normed = build(name, options, kind, 16, 8, 5, stride=1 if kind == "same" else 2, inner_norm=nn.BatchNorm2d)
    norms = [module for module in normed.modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) == (len(convolutions) > 1 or name == "bilinear_additive")


@pytest.mark.parametrize(("name", "options"), FORMS, ids=IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_moves_every_parameter_of_a_family(name: str, options: dict, kind: str) -> None:
    torch.manual_seed(0)
    layer = build(name, options, kind, 16, 8, 5, stride=1 if kind == "same" else 2)
    assert (layer is not None) == builds(name, kind)
    if layer is None:
        return
    layer(torch.randn(2, 16, 12, 12)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


@pytest.mark.parametrize(("name", "options"), FORMS, ids=IDS)
def test_families_take_reflected_edges(name: str, options: dict) -> None:
    built = set()
    for kind, kernel in itertools.product(KINDS, (1, 3, 4, 5, 7)):
        stride = 1 if kind == "same" else 2
        layer = build(name, options, kind, 16, 8, kernel, stride=stride, padding_mode="reflect")
        if layer is not None:
            built.add(kind)
            size = {"same": 12, "down": 6, "up": 24}[kind]
            assert layer(torch.randn(1, 16, 12, 12)).shape == (1, 8, size, size)
    assert built == {kind for kind in KINDS if builds(name, kind)}


@pytest.mark.parametrize("name", convs.names())
def test_options_of_a_family_are_checked(name: str) -> None:
    with pytest.raises(convs.UserError, match="has no option 'colour'"):
        convs.find(name, colour="red")
