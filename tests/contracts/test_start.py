"""Whatever a layer is built of, it starts as the standard layer in its place would, under every rule for weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frugan import build, convs, nets, recipes
from frugan.batch import ImageShape
from frugan.blueprint import Blueprint
from frugan.convs import LayerChoice, Layers
from frugan.recipe import Rule
from frugan.registry import UserError

FAMILIES = [name for name in convs.names() if name != "standard"]
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in FAMILIES), ("factorised", {"form": "small"}), ("factorised", {"form": "both"}),
    ("factorised", {"inner_norm": "batch_norm"}), ("factorised", {"middle": 0.5}),
    ("depthwise", {"order": "pointwise_first"}), ("depthwise", {"multiplier": 2}),
    *((name, {"inner_norm": "batch_norm"}) for name in ("depthwise", "bilinear_additive", "inception")),
]
KINDS = {"same": (5, 1, 16), "down": (5, 2, 32), "up": (4, 2, 24)}  # kernel, stride, side of the input
CHANNELS = 48
LAYERS = 2  # over which a variance is averaged
SEEDS = 5  # over which first images are averaged


def layer_of(kind: str, family: str, options: dict[str, Any], rule: str) -> nn.Module:
    kernel, stride, _ = KINDS[kind]
    kernel = 5 if options.get("form") in ("small", "both") else kernel  # which split odd kernels
    layers = Layers([("*", convs.find(family, **options))])
    # Around the image, so that its borders do not count, where they could: in norms. (A transposed layer has its few.)
    build = partial(getattr(layers, kind), "role", CHANNELS, 48, kernel, stride=stride, bias=False)
    try:
        layer = build(padding_mode="circular")
    except UserError:
        assert kind == "up"
        layer = build()
    nets.initialise(layer, rule)
    return layer


def powers(kind: str, family: str, options: dict[str, Any], rule: str) -> tuple[float, float]:
    """The mean squares of a layer's output and of its input's gradient, both for white noise."""
    side = KINDS[kind][2]
    torch.manual_seed(0)
    forward, backward = 0.0, 0.0
    for _ in range(LAYERS):
        layer = layer_of(kind, family, options, rule).train()
        images = torch.randn(2, CHANNELS, side, side, requires_grad=True)
        output = layer(images)
        (gradient,) = torch.autograd.grad(output, images, torch.randn_like(output))
        forward, backward = forward + power(output), backward + power(gradient)
    return forward / LAYERS, backward / LAYERS


def power(images: Tensor) -> float:
    """The mean square of the middle of images."""
    inner = slice(images.shape[2] // 4, -(images.shape[2] // 4))
    return float(images[..., inner, inner].detach().square().mean())


@cache
def of_standard(kind: str, kernel: int, rule: str) -> tuple[float, float]:
    return powers(kind, "standard", {"kernel": kernel}, rule)


CASES = [
    pytest.param(kind, family, options, id=f"{kind}-{family}{list(options.values())}")
    for kind, (family, options) in itertools.product(KINDS, FORMS) if kind == "up" or family != "bilinear_additive"
]


@pytest.mark.parametrize("rule", nets.rules.names())
@pytest.mark.parametrize(("kind", "family", "options"), CASES)
def test_a_composite_starts_as_the_standard_layer(kind, family, options, rule):
    kernel = 5 if options.get("form") in ("small", "both") else KINDS[kind][0]
    forward, backward = powers(kind, family, options, rule)
    meant, meant_back = of_standard(kind, kernel, rule)
    assert 0.9 < forward / meant < 1.1
    assert 0.8 < backward / meant_back < 1.2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["factorised", "depthwise"])
@pytest.mark.parametrize("between", ["tanh", "relu", "leaky_relu"])
def test_an_activation_between_the_pieces_is_counted(kind, family, between):
    """In the output. A slope is another factor than a value: the gradient is near, but no more."""
    forward, _ = powers(kind, family, {"between": between}, "dcgan")
    assert 0.9 < forward / of_standard(kind, KINDS[kind][0], "dcgan")[0] < 1.1


@pytest.mark.parametrize("options", [{}, {"inner_norm": "batch_norm"}])
def test_a_network_built_in_inference_mode_starts_as_any_other(options):
    built = []
    for mode in (torch.inference_mode, torch.enable_grad):
        torch.manual_seed(0)
        with mode():
            built.append(layer_of("up", "factorised", options, "dcgan"))
    one, other = (layer.state_dict() for layer in built)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_pieces_may_start_alone_as_published_nets_do():
    whole, alone = (
        powers("up", "depthwise", options, "dcgan")[0] for options in ({}, {"start": "layerwise"})
    )
    assert alone < whole / 100


def test_scaling_draws_no_random_numbers():
    """The standard layers of a network are the same bit for bit, however its others start."""
    spec = recipes.find("dcgan-64").with_changes({"generator.width": 0.2}).networks["generator"]
    built = []
    for start in ("composite", "layerwise"):
        rules = (Rule("up.1", "inception", {"start": start}), Rule("up.2", "depthwise", {"start": start}))
        blueprint = Blueprint("decoder", replace(spec, families=rules), ImageShape(1, 64, 64), 20)
        torch.manual_seed(0)
        network, _ = blueprint.build()
        built.append({part.role: part for part in network.modules() if hasattr(part, "role")})
    whole, alone = built
    assert torch.equal(whole["up.0"].weight, alone["up.0"].weight)
    assert torch.equal(whole["output"].weight, alone["output"].weight)
    assert not torch.equal(whole["up.2"].pointwise.weight, alone["up.2"].pointwise.weight)


def gain(layer: nn.Module, choice: LayerChoice) -> float:
    """The variance of a layer's output for white noise of variance 1, its biases apart."""
    for part in layer.modules():
        if isinstance(getattr(part, "bias", None), nn.Parameter):
            nn.init.zeros_(part.bias)
    side = 32 if choice.kind == "down" else 16
    with torch.no_grad():
        return power(layer.eval()(torch.randn(4, choice.in_channels, side, side)))


def gain_of_standard(layer: nn.Module, choice: LayerChoice) -> float:
    """The same of a standard layer with weights of this variance, by arithmetic."""
    thinned = choice.stride**2 if choice.kind == "up" else 1
    variance = float(layer.weight.detach().square().mean())
    return variance * choice.in_channels * choice.kernel**2 / thinned


def swappable(name: str, part: str, family: str) -> dict[str, tuple[nn.Module, LayerChoice]]:
    """The layers of an architecture that families build, by their roles."""
    given = {"decoder": (12,), "encoder": ({"score": 1},), "translator": (), "joint": (12, {"score": 1})}[part]
    torch.manual_seed(0)
    layers = Layers([("*", convs.find(family))])
    # Spectral norm divides every piece by its own size, whatever it starts with.
    options = {"normalisation": "none"} if nets.options(name, part).get("normalisation") == "spectral" else {}
    width = 1.0 if name == "infogan" else 0.25  # of which a family builds one layer: chance must not decide
    network = nets.find(name).part(part)(ImageShape(3, 32, 32), *given, layers, width=width, **options)
    built = {part.role: part for part in network.modules() if hasattr(part, "role")}
    return {choice.role: (built[choice.role], choice) for choice in layers.choices}


def built_by_families() -> Iterator[tuple[str, str, str]]:
    """Architectures, their parts, and the families that build layers of them."""
    for name, family in itertools.product(nets.names(), FAMILIES):
        for part in nets.PARTS:
            if getattr(nets.find(name), part) is not None:
                with torch.device("meta"):
                    choices = [choice for _, choice in swappable(name, part, family).values()]
                if any(choice.family == family for choice in choices):
                    yield name, part, family


@pytest.mark.parametrize(("name", "part", "family"), list(built_by_families()))
def test_the_layers_of_an_architecture_start_as_its_standard_ones(name, part, family):
    """By the rule that the architecture has. Of a layer with few weights chance decides some of it."""
    standard = swappable(name, part, "standard")
    ratios = [
        gain(*layer) / gain_of_standard(*standard[role])
        for role, layer in swappable(name, part, family).items() if layer[1].family == family
    ]
    assert 0.87 < math.exp(sum(map(math.log, ratios)) / len(ratios)) < 1.15
    assert 0.75 < min(ratios) <= max(ratios) < 1.33


def unlike() -> Iterator[str]:
    """Recipes whose generators differ in more than their depth, width or norms."""
    seen: set[str] = set()
    for name in recipes.names():
        recipe = recipes.find(name)
        spec = recipe.networks[recipe.makers()[0]]
        made_of = {key: value for key, value in spec.options.items() if key in ("initialise", "kernel", "projection")}
        if spec.architecture != "mlp" and repr((spec.architecture, made_of)) not in seen:
            seen.add(repr((spec.architecture, made_of)))
            yield name


def first_images(name: str, family: str) -> float:
    """How far a recipe's first images differ over what they are made from, in grey levels; batch norms as in training.

    Narrow, and translators shallow.
    """
    recipe = recipes.find(name)
    maker = recipe.makers()[0]
    translates = recipe.networks[maker].architecture in ("stargan", "cyclegan")
    width = 0.5 if recipe.data.size < 32 else 0.25
    small = {f"{maker}.width": width, **({"data.size": 32, f"{maker}.blocks": 2} if translates else {})}
    recipe = replace(recipe.with_changes(small).with_family(family), averages={})
    spec = recipe.networks[maker]
    options = [{key: value for key, value in rule.options.items() if key != "start"} for rule in spec.families]
    rules = tuple(replace(rule, options=own) for rule, own in zip(spec.families, options, strict=True))
    blueprint = replace(build.blueprints(recipe)[maker], spec=replace(spec, families=rules))
    first, *condition = blueprint.example(8)
    total = 0.0
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        network, _ = blueprint.build()
        with torch.no_grad():
            total += 127.5 * float(network.train()(torch.randn(first.shape), *condition).std(0).mean()) / SEEDS
    return total


WIDER = {"bilinear_additive": 1.8}
"""White noise, on which a layer is measured, loses more of its variance to interpolation than smooth images do."""
UNNORMED = {"egan": 3}
"""Generators without norms, and how many layers a family builds: what each gains there multiplies."""


@pytest.mark.parametrize("name", list(unlike()))
@pytest.mark.parametrize("family", FAMILIES)
def test_first_images_differ_as_much_as_those_of_the_standard_generator(name, family):
    factor = WIDER.get(family, 1.5) ** UNNORMED.get(name, 1)
    ratio = first_images(name, family) / first_images_of_standard(name)
    assert 1 / factor < ratio < factor


@cache
def first_images_of_standard(name: str) -> float:
    return first_images(name, "standard")
