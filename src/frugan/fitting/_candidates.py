"""Candidates: the recipe's network in other families, widths and depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from frugan import build, convs, costs, nets
from frugan.comparison.planning.arms import width_of
from frugan.recipe import Recipe, parse_value
from frugan.registry import UserError, suggest

WIDTHS = (1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18)
"""Factors on the recipe's width: each about halves the weights."""


@dataclass(frozen=True)
class Candidate:
    """One network that might be trained.

    Attributes:
        name: for people, e.g. "depthwise width=0.5".
        form: its family and depth, and the layers that this family left as they were; candidates of one form differ in
            their width only.
        parameters, macs: as `frugan.cost` counts them.
    """

    name: str
    form: str
    recipe: Recipe
    parameters: int
    macs: int


def make(
    recipe: Recipe, families: Sequence[str] | None, widths: Sequence[str] | None, depths: Sequence[str] | None
) -> list[Candidate]:
    """All candidates, by form and then from the widest to the thinnest. Those that come out alike are one.

    Raises UserError for unknown families, for options that the architecture does not have, and if nothing is left.
    """
    for name in families or ():
        convs.find(name.partition(",")[0])
    factors, option, values = _factors(widths), *_depths(recipe, depths)
    own = width_of(recipe)
    candidates: list[Candidate] = []
    known: set[Any] = set()
    for family in families or convs.names():
        for value in values:
            for factor in factors if own is not None else (1.0,):
                changes: dict[str, Any] = {} if option is None else {f"architecture.{option}": value}
                if own is not None:
                    changes["architecture.width"] = float(f"{own * factor:.4g}")
                try:
                    changed = recipe.with_family(family).with_changes(changes)
                    left, shapes, cost = _built(changed)
                except UserError:
                    if families is not None and len(families) == 1:
                        raise
                    continue  # a family that does not suit this network; another may
                if shapes in known:
                    continue  # the family declined every layer, or rounding made two widths one
                known.add(shapes)
                form = " ".join([family, *([] if option is None else [f"{option}={value}"])])
                name = form if own is None else f"{form} width={own * factor:.3g}"
                form = f"{form} without {', '.join(left)}" if left else form
                candidates.append(Candidate(name, form, changed, cost.parameters, cost.macs + cost.macs_attention))
    return sorted(candidates, key=lambda one: -one.parameters)


def forms(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """The candidates of each form, from the widest to the thinnest."""
    by_form: dict[str, list[Candidate]] = {}
    for one in candidates:
        by_form.setdefault(one.form, []).append(one)
    return by_form


def _factors(widths: Sequence[str] | None) -> list[float]:
    if widths is None:
        return list(WIDTHS)
    try:
        factors = [float(width) for width in widths]
    except ValueError:
        factors = []
    if not factors or not all(0 < factor < 100 for factor in factors):
        raise UserError(f"--widths {','.join(map(str, widths))}: give factors above 0, such as 1,0.5,0.25.")
    return factors


def _depths(recipe: Recipe, depths: Sequence[str] | None) -> tuple[str | None, list[Any]]:
    """The option that says how deep, and its values; None for the depth of the recipe."""
    if not depths:
        return None, [None]
    option, equals, values = depths[0].partition("=")
    (maker, *_) = recipe.makers()
    spec = recipe.networks[maker]
    known = nets.options(spec.architecture, build.blueprints(recipe)[maker].part)
    if len(depths) > 1 or not equals or not values:
        raise UserError(f"--depths {','.join(depths)}: give one option and its values, such as blocks=2/4/6.")
    if option not in known:
        accepted = suggest(option, known)
        raise UserError(f"--depths {depths[0]}: '{spec.architecture}' has no option '{option}'. {accepted}")
    return option, [parse_value(value) for value in values.split("/")]


def _built(recipe: Recipe) -> tuple[list[str], Any, costs.Cost]:
    """Of the network that makes images: the layers that declined their family, what two alike share, and its cost."""
    blueprint = build.blueprints(recipe)[next(iter(recipe.makers()))]
    with torch.random.fork_rng(devices=[]):
        module, layers = blueprint.build()
    left = [choice.role for choice in layers.choices if choice.declined]
    shapes = tuple((key, tuple(tensor.shape)) for key, tensor in module.state_dict().items())
    families = tuple(choice.family for choice in layers.choices)
    return left, (families, shapes), costs.cost(module, *blueprint.inputs())
