"""The contract of `frugan.convs`: what every convolution family must do."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from frugan import build, convs, costs
from frugan.checking._contract import Contract, NotAsked, NotKept, Remark, Requirement
from frugan.checking._ground import Ground
from frugan.checking._runs import plays_a_round, resumes_bit_for_bit, ships_what_was_trained
from frugan.convs import Convolution, Transposed
from frugan.recipe import Network, Recipe, Rule
from frugan.registry import UserError

KINDS = ("same", "down", "up")
FORMS = (
    (1, None), (2, None), (3, None), (4, None), (1, (0, 0)), (2, (0, 0)), (1, (1, 1)), (2, (1, 1)), (1, (2, 1)),
    (2, (2, 1)), (1, (1, 3)), (2, (1, 3)),
)
"""Strides and paddings that are tried with every kernel."""
MANY = 144
"""So many channels that a family which saves some has enough left, and divides by most numbers of groups."""


@dataclass(frozen=True)
class Family:
    """A family that is tested against its contract, with its default options or others."""

    name: str
    ground: Ground
    options: Mapping[str, Any] = field(default_factory=dict)

    def layer(self, kind: str, *channels: int, **contract: Any) -> nn.Module | None:
        """Build one layer; None if the family declines it."""
        family = convs.find(self.name, **self.options)
        try:
            return getattr(family, kind)(*channels, **contract, **family.options)
        except convs.Declined:
            return None

    def some(self, kind: str, **contract: Any) -> nn.Module | None:
        """Build a layer from 16 to 8 channels with a 5 x 5 kernel."""
        return self.layer(kind, 16, 8, 5, stride=1 if kind == "same" else 2, **contract)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe that uses the family in every layer of generator and discriminator."""
        rules = (Rule("*", self.name, dict(self.options)),)
        return self.ground.pair(
            Network("chollet", {"channels": [16, 16]}, rules), Network("dcgan", {"channels": 16}, rules),
        )


def gives_the_standard_shapes(family: Family) -> None:
    """Outputs have the shapes of the standard family, for every kernel, stride and padding that it does not decline."""
    built = 0
    with torch.device("meta"):
        for kind, kernel, (stride, padding) in itertools.product(KINDS, range(1, 8), FORMS):
            if kind == "same" and stride > 1:
                continue
            asked = {"stride": stride, "padding": padding, "bias": False}
            layer = family.layer(kind, MANY, 8, kernel, **asked)
            if layer is None:
                continue
            plain = getattr(convs.find("standard"), kind)(MANY, 8, kernel, **asked)
            for height, width in ((13, 10),) if padding is not None else ((13, 10), (12, 12)):
                images = torch.zeros(1, MANY, height, width)
                wanted, given = plain(images).shape, layer(images).shape
                exactly = {"same": height, "down": height // stride, "up": height * stride}[kind]
                if padding is None and height == 12 and wanted[2] != exactly:
                    raise NotKept(f"{kind} with stride={stride} makes {wanted[2]} rows of 12, not {exactly}.")
                if given != wanted:
                    raise NotKept(
                        f"{kind}({MANY}, 8, {kernel}, stride={stride}, padding={padding}) makes {list(given)} of "
                        f"{list(images.shape)}; the standard layer makes {list(wanted)}. For a layer that the family "
                        "cannot build, raise Declined with the reason."
                    )
            built += 1
    if not built:
        raise NotKept("it declines every layer, for every kernel and stride, so it builds nothing.")


def honours_biases_and_norms(family: Family) -> None:
    """`bias`, `inner_bias` and `inner_norm` mean what the contract says."""
    for kind in KINDS:
        plain = family.some(kind, bias=False)
        if plain is None:
            continue
        held = [name for name, module in plain.named_modules() if getattr(module, "bias", None) is not None]
        if held:
            raise NotKept(f"{kind}(..., bias=False) has a bias in '{held[0] or 'itself'}'.")
        inner, outer = family.some(kind, bias=True, inner_bias=False), family.some(kind, bias=True)
        assert inner is not None
        assert outer is not None
        biases = [sum(key.endswith("bias") for key, _ in layer.named_parameters()) for layer in (inner, outer)]
        if not 1 <= biases[0] <= biases[1]:
            raise NotKept(
                f"{kind}(..., bias=True, inner_bias=False) has {biases[0]} biases and {kind}(..., bias=True) "
                f"{biases[1]}: `bias` is that of the whole layer, `inner_bias` that of a seam (as `bias` if left out)."
            )
        normed = family.some(kind, inner_norm=nn.BatchNorm2d)
        assert normed is not None
        seam = len(_convolutions(plain)) > 1 or any("Upsample" in type(part).__name__ for part in plain.modules())
        if seam and not any(isinstance(module, nn.BatchNorm2d) for module in normed.modules()):
            raise NotKept(
                f"{kind}(..., inner_norm=BatchNorm2d) has no norm between its convolutions: put "
                "inner_norm(channels) there unless it is None."
            )


def _convolutions(layer: nn.Module) -> list[nn.Module]:
    return [module for module in layer.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]


def tags_its_convolutions(family: Family) -> None:
    """Its convolutions carry a tag, so that architectures can treat weights by kind and kernels can be chosen."""
    for kind in KINDS:
        for module in _convolutions(family.some(kind) or nn.Identity()):
            if not isinstance(module, (Convolution, Transposed)) or module.tag not in ("spatial", "pointwise"):
                raise NotKept(
                    f"{kind} is made of {type(module).__name__}, which has no tag: use frugan.convs.Convolution and "
                    "Transposed, which kernels and weight rules know."
                )


def trains_every_weight(family: Family) -> None:
    """Every weight gets a gradient that is not zero."""
    for kind in KINDS:
        layer = family.some(kind)
        if layer is None:
            continue
        layer(torch.randn(2, 16, 12, 12)).square().sum().backward()
        for name, parameter in layer.named_parameters():
            if parameter.grad is None or not parameter.grad.abs().sum() > 0:
                raise NotKept(f"'{name}' of {kind} gets no gradient: the layer does not use it.")


def takes_reflected_edges(family: Family) -> None:
    """``padding_mode="reflect"`` is honoured or declined; `up` may refuse it, since a transposed layer pads nothing."""
    for kind, kernel in itertools.product(KINDS, (1, 3, 4, 5, 7)):
        stride = 1 if kind == "same" else 2
        try:
            layer = family.layer(kind, 16, 8, kernel, stride=stride, padding_mode="reflect")
        except UserError:
            if kind != "up":
                raise
            continue
        size = {"same": 12, "down": 6, "up": 24}[kind]
        if layer is not None and layer(torch.randn(1, 16, 12, 12)).shape != (1, 8, size, size):
            raise NotKept(f'{kind}(16, 8, {kernel}, padding_mode="reflect") does not make images of {size} x {size}.')


def checks_its_options(family: Family) -> None:
    """All its options have defaults, and an unknown option is refused by name."""
    try:
        convs.find(family.name, no_such_option=1)
    except UserError:
        return
    raise NotKept(
        "it accepts the unknown option 'no_such_option'. Make every option a keyword-only argument with a default, and "
        "take no **others."
    )


def says_what_it_ignores(family: Family) -> None:
    """An option of every layer that changes nothing in the family's layers stands in its `ignores`, and is refused."""
    given = {"inner_norm": nn.BatchNorm2d, "inner_bias": False}
    left = [name for name in given if name not in convs.find(family.name).ignores]
    alike = [
        name for name in left
        if all(str(family.some(kind)) == str(family.some(kind, **{name: given[name]})) for kind in KINDS)
    ]
    if alike:
        raise Remark(
            f"{' and '.join(alike)} change nothing in its layers. Give ConvFamily(..., ignores={tuple(alike)!r}), so "
            "that whoever sets them is told."
        )


def goes_through_a_network(family: Family) -> None:
    """It can build every layer of a generator and a discriminator of ours, and their costs can be counted."""
    assembly = build.assemble(family.recipe)
    choices = [choice for layers in assembly.layers.values() for choice in layers.choices]
    for name, network in assembly.networks.items():
        cost = costs.cost(network.eval(), *assembly.blueprints[name].inputs())
        if cost.doubts:
            raise Remark(
                f"the multiply-accumulates of its {name} may be wrong: {cost.doubts[0]} Comparisons show it with a "
                "question mark."
            )
    if all(choice.declined for choice in choices):
        raise NotAsked(f"it declines every layer here: {choices[0].declined}")


CONTRACT = Contract("convolution family", convs.names, Family, (
    Requirement(gives_the_standard_shapes, "frugan.convs"),
    Requirement(honours_biases_and_norms, "frugan.convs"),
    Requirement(tags_its_convolutions, "frugan.convs"),
    Requirement(trains_every_weight, "frugan.convs", (gives_the_standard_shapes,)),
    Requirement(takes_reflected_edges, "frugan.convs", (gives_the_standard_shapes,)),
    Requirement(checks_its_options, "frugan.convs"),
    Requirement(says_what_it_ignores, "frugan.convs", (gives_the_standard_shapes,)),
    Requirement(goes_through_a_network, "frugan.nets", (gives_the_standard_shapes,)),
    Requirement(plays_a_round, "frugan.games, Game.step", (goes_through_a_network,)),
    Requirement(resumes_bit_for_bit, "frugan.games, Game", (plays_a_round,)),
    Requirement(ships_what_was_trained, "frugan.artefact", (plays_a_round,)),
))  # fmt: skip
