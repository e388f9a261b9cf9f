"""Whatever a layer is built of, it starts as the standard layer in its place would, under every rule for weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frugan import build, convs, nets, recipes
from frugan.convs import Layers
from frugan.latents import Latents
from frugan.nets._initialise import RULES
from frugan.recipe import Rule

FAMILIES = [name for name in convs.names() if name != "standard"]
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in FAMILIES), ("factorised", {"form": "small"}), ("factorised", {"form": "both"}),
    ("factorised", {"inner_norm": "batch_norm"}), ("factorised", {"middle": 0.5}),
    ("depthwise", {"order": "pointwise_first"}), ("depthwise", {"inner_norm": "batch_norm"}),
]
KINDS = {"same": (5, 1, 16), "down": (5, 2, 32), "up": (4, 2, 16)}  # kernel, stride, side of the input


def layer_of(kind: str, family: str, options: dict[str, Any], rule: str) -> nn.Module:
    kernel, stride, _ = KINDS[kind]
    kernel = 5 if options.get("form") in ("small", "both") else kernel  # which split odd kernels
    layers = Layers([("*", convs.find(family, **options))])
    layer = getattr(layers, kind)("role", 64, 48, kernel, stride=stride, bias=False)
    if rule != "torch":
        nets.initialise(layer, rule)
    return layer


def powers(kind: str, family: str, options: dict[str, Any], rule: str) -> tuple[float, float]:
    """The mean squares of a layer's output and of its input's gradient, both for white noise.

    Away from the borders; but a norm makes the whole image alike, borders included, so there the whole counts.
    """
    measure = whole if "inner_norm" in options else middle
    side = KINDS[kind][2]
    torch.manual_seed(0)
    forward, backward = 0.0, 0.0
    for _ in range(2):
        layer = layer_of(kind, family, options, rule).train()
        images = torch.randn(4, 64, side, side, requires_grad=True)
        output = layer(images)
        (gradient,) = torch.autograd.grad(output, images, torch.randn_like(output))
        forward, backward = forward + measure(output), backward + measure(gradient)
    return forward, backward


def whole(images: Tensor) -> float:
    return float(images.detach().square().mean())


def middle(images: Tensor) -> float:
    rows = slice(images.shape[2] // 4, images.shape[2] - images.shape[2] // 4)
    return float(images[..., rows, rows].detach().square().mean())


@cache
def of_standard(kind: str, kernel: int, rule: str, with_borders: bool) -> tuple[float, float]:
    return powers(kind, "standard", {"kernel": kernel, **({"inner_norm": None} if with_borders else {})}, rule)


@pytest.mark.parametrize("rule", [*RULES, "torch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("family", "options"), FORMS, ids=[f"{name}{list(given.values())}" for name, given in FORMS])
def test_a_composite_starts_as_the_standard_layer(family, options, kind, rule):
    kernel = 5 if options.get("form") in ("small", "both") else KINDS[kind][0]
    forward, backward = powers(kind, family, options, rule)
    meant, meant_back = of_standard(kind, kernel, rule, "inner_norm" in options)
    assert 0.9 < (forward / meant) ** 0.5 < 1.1
    assert 0.8 < (backward / meant_back) ** 0.5 < 1.2


def test_pieces_may_start_alone_as_published_nets_do():
    whole, alone = (
        powers("up", "depthwise", options, "dcgan")[0] for options in ({}, {"start": "layerwise"})
    )
    assert alone < whole / 100


def test_standard_layers_start_bit_for_bit_as_without_families():
    """A network's weights follow from (seed, name) alone, whatever is built of its other layers."""
    recipe = recipes.find("dcgan-32").with_changes({"generator.width": 0.2, "discriminator.width": 0.2})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    layers = Layers([("*", convs.find("depthwise"))])
    layers.same("role", 8, 8, 3)
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())
    plain, mixed = (build.networks(one)["discriminator"][0] for one in (recipe, recipe.with_family("depthwise")))
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), mixed.parameters(), strict=True))


MAKERS = {
    "mnist": {}, "dcgan-medium": {}, "cgan": {}, "dcgan-32": {"data.size": 32}, "dcgan-64": {}, "cifar10-frog": {},
}


def spread(name: str, family: str) -> float:
    """How far images differ over latents at the start, in grey levels; batch norms as in training."""
    recipe = recipes.find(name).with_changes({"architecture.width": 0.25})
    recipe = replace(recipe, averages={})
    generator = replace(recipe.networks["generator"], families=(Rule("*", family),))
    recipe = replace(recipe, networks={**recipe.networks, "generator": generator})
    blueprint = build.blueprints(recipe)["generator"]
    total = 0.0
    for seed in range(2):
        torch.manual_seed(seed)
        network, _ = blueprint.build()
        latents, condition = Latents(blueprint.latents).rows(0, 32, seed), blueprint.example(32)[1:]
        with torch.no_grad():
            total += 127.5 * float(network.train()(latents, *condition).std(0).mean()) / 2
    return total


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("family", ["factorised", "grouped", "depthwise"])
def test_first_images_differ_as_much_as_those_of_the_standard_generator(name, family):
    assert 1 / 1.5 < spread(name, family) / spread_of_standard(name) < 1.5


@cache
def spread_of_standard(name: str) -> float:
    return spread(name, "standard")
