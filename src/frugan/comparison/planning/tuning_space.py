"""The settings that trials try: one table for all arms, used from the top.

Each row of `TRIALS` is one trial; the first is the unchanged recipe. The first six rows vary rates and penalties alone,
the same for every arm. A row that changes the layers of a family (`inner_norm`, `order`) has rates and penalties of an
earlier row that leaves them as they are. So no arm has to take another layer to get a rate, and whoever has more to
choose from still gets the settings that the others get.

Some columns mean nothing for some arms (a norm between the pieces of a layer that is one piece). Such an arm ignores
the column, and skips a row that would then repeat an earlier one. So arms with the same columns have the same trials,
and every arm gets the same number of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from frugan.recipe import Choice, Recipe, Rule
from frugan.registry import UserError

SPACE = "space-3"
"""The name of the table below and of how its trials are run (`comparison.preparing.tuning`), which plans keep. If one
of them changes, it needs another name."""

KEPT, CHANGED = "as it is", "changed"


class Row(NamedTuple):
    """One row of the table of settings that trials try.

    `rate` multiplies the learning rates of all players, then `ratio` those of the discriminators only. `penalty` makes
    the recipe's own penalties heavier, or adds R1 if it has none. `inner_norm` is about layers that a family builds of
    several pieces, such as a 5 x 1 and a 1 x 5 convolution: it puts a norm between the pieces; if all these layers
    have one already, it takes it away. `order` swaps the two pieces of a depthwise layer.
    """

    rate: float = 1
    ratio: float = 1
    penalty: str = KEPT
    inner_norm: str = KEPT
    order: str = KEPT


TRIALS = (
    # rate, ratio, penalty, inner_norm, order
    Row(1, 1),
    Row(2, 0.5, CHANGED),
    Row(0.5, 2),
    Row(1, 0.5, CHANGED),
    Row(2, 1),
    Row(0.5, 1, CHANGED),
    # Layers, with the rates and penalties of rows above.
    Row(2, 0.5, CHANGED, inner_norm=CHANGED),
    Row(1, 1, order=CHANGED),
    # The last pairs of rate and ratio.
    Row(1, 2),
    Row(0.5, 0.5, CHANGED),
    Row(2, 2),
    Row(1, 1, inner_norm=CHANGED),
    Row(2, 0.5, CHANGED, order=CHANGED),
    Row(2, 1, inner_norm=CHANGED, order=CHANGED),
    # The other half of rate x ratio x penalty.
    Row(1, 1, CHANGED),
    Row(2, 0.5),
    Row(0.5, 2, CHANGED),
    Row(1, 0.5),
    Row(2, 1, CHANGED),
    Row(0.5, 1),
    Row(1, 2, CHANGED),
    Row(0.5, 0.5),
    Row(2, 2, CHANGED),
)

HEAVIER = 3
"""The factor by which `penalty` multiplies the weights of a recipe's own penalties."""

ADDED = ("r1", 0.2, 28 * 28, 4)
"""The penalty that is added to a recipe without one: name, weight, pixels, every. The weight is meant for images of
that many pixels and is scaled to others, since a slope's square adds up over pixels. The penalty is computed in one of
`every` rounds. All as in the recipe `mnist`."""

NORMS = {"InstanceNorm": "instance_norm"}
"""The norm to put between pieces, by the class of norm that the network itself has. Otherwise batch norm."""

ORDERS = ("depthwise_first", "pointwise_first")
"""The two values of a family's option `order`."""


@dataclass(frozen=True)
class Trial:
    """One trial of an arm: its recipe, its value in each column that applies to the arm, and its changes in words."""

    recipe: Recipe
    settings: Mapping[str, Any]
    words: str


class Step(NamedTuple):
    """What one value of a column changes in a recipe, and the words for it."""

    words: str
    change: Callable[[Recipe], Recipe]


def find_trials(recipe: Recipe) -> list[Trial]:
    """All trials that the table gives for a recipe, in order; no two are the same.

    Raises UserError if the recipe's networks name something unknown.
    """
    columns = {name: steps for name, find_steps in COLUMNS.items() if (steps := find_steps(recipe))}
    trials: list[Trial] = []
    for row in TRIALS:
        changed, words = recipe, []
        for name, steps in columns.items():
            step = steps.get(getattr(row, name))
            if step is not None:
                changed = step.change(changed)
                words.append(step.words)
        if changed not in (trial.recipe for trial in trials):
            settings = {name: getattr(row, name) for name in columns}
            trials.append(Trial(changed, settings, ", ".join(words) or "as it stands"))
    return trials


# ------------------------------------------------------------------------------------------------------------- columns


Steps = Mapping[Any, Step]
"""What each value of a column changes in a recipe, except the first value, which changes nothing. Empty if the column
does not apply."""


def _rates(recipe: Recipe) -> Steps:
    return {
        rate: Step(f"rates x {rate:g}", partial(_with_rates, players=tuple(recipe.players), times=rate))
        for rate in (2, 0.5)
    }


def _ratios(recipe: Recipe) -> Steps:
    from frugan.games import DISCRIMINATOR

    judges = set(recipe.with_role(DISCRIMINATOR))
    apart = tuple(name for name, player in recipe.players.items() if set(player.networks) <= judges)
    if not apart or len(apart) == len(recipe.players):
        return {}
    return {
        ratio: Step(f"the discriminator's x {ratio:g}", partial(_with_rates, players=apart, times=ratio))
        for ratio in (2, 0.5)
    }


def _with_rates(recipe: Recipe, *, players: Sequence[str], times: float) -> Recipe:
    changed = {
        name: replace(player, learning_rate=float(f"{times * player.learning_rate:.6g}")) if name in players else player
        for name, player in recipe.players.items()
    }
    return replace(recipe, players=changed)


def _penalties(recipe: Recipe) -> Steps:
    """Heavier penalties, or R1 if there are none. Not for translators: their discriminators judge patches, and the
    slopes of patches add up."""
    from frugan import build, penalties

    weights = [penalties.options(choice.name).get("weight") for choice in recipe.penalties]
    if any(weights):
        heavier = tuple(
            choice if not weight else Choice(choice.name, {
                **choice.options, "weight": HEAVIER * choice.options.get("weight", weight),
            })
            for choice, weight in zip(recipe.penalties, weights, strict=True)
        )  # fmt: skip
        return {CHANGED: Step(f"penalties x {HEAVIER}", partial(replace, penalties=heavier))}
    planned = build.blueprints(recipe)
    if any(planned[name].part != "decoder" for name in recipe.makers()):
        return {}
    name, weight, pixels, every = ADDED
    weight = float(f"{weight * math.prod(recipe.data.sides) / pixels:.2g}")
    added = (*recipe.penalties, Choice(name, {"weight": weight, "every": every}))
    try:
        build.check(replace(recipe, penalties=added))
    except UserError:  # its game has no place for it
        return {}
    return {CHANGED: Step(f"R1 added, weight {weight:g}", partial(replace, penalties=added))}


def _inner_norms(recipe: Recipe) -> Steps:
    """Put a norm at every seam (between the pieces of a layer); if all seams have one, remove it."""
    from frugan import convs

    norms, seams, bare = {}, set(), set()
    for name in recipe.makers():
        kind = next((norm for module, norm in NORMS.items() if module in _drawn(recipe, name)), "batch_norm")
        for place, rule in enumerate(recipe.networks[name].families):
            if "inner_norm" in convs.find(rule.family).ignores:
                continue
            drawn = [_drawn(_with_options(recipe, {(name, place): {"inner_norm": norm}}), name)
                     for norm in (None, kind)]  # fmt: skip
            if drawn[0] != drawn[1]:
                seams.add((name, place))
                norms[name, place] = kind
                bare |= {(name, place)} if _drawn(recipe, name) == drawn[0] else set()
    if not seams:
        return {}
    options = {place: {"inner_norm": norms[place] if bare else None} for place in (bare or seams)}
    words = f"{next(iter(norms.values())).replace('_', ' ')} between pieces" if bare else "no norm between pieces"
    return {CHANGED: Step(words, partial(_with_options, options=options))}


def _orders(recipe: Recipe) -> Steps:
    from frugan import convs

    options = {}
    for name in recipe.makers():
        for place, rule in enumerate(recipe.networks[name].families):
            accepted = convs.find(rule.family).accepted()
            if "order" not in accepted:
                continue
            own = rule.options.get("order", accepted["order"].default)
            turned = {"order": next(order for order in ORDERS if order != own)}
            try:
                differs = _drawn(_with_options(recipe, {(name, place): turned}), name) != _drawn(recipe, name)
            except UserError:  # other options of the rule go with one order alone
                continue
            if differs:
                options[name, place] = turned
    if not options:
        return {}
    words = next(iter(options.values()))["order"].replace("_", " ")
    return {CHANGED: Step(words, partial(_with_options, options=options))}


COLUMNS: dict[str, Callable[[Recipe], Steps]] = {
    "rate": _rates, "ratio": _ratios, "penalty": _penalties, "inner_norm": _inner_norms, "order": _orders,
}  # fmt: skip
"""For each column of the table, the function that finds its steps for a recipe."""


def _with_options(recipe: Recipe, options: Mapping[tuple[str, int], Mapping[str, Any]]) -> Recipe:
    """The recipe with options added to family rules, each named by its network and its place there."""

    def changed(name: str, place: int, rule: Rule) -> Rule:
        return replace(rule, options={**rule.options, **options.get((name, place), {})})

    networks = {
        name: replace(spec, families=tuple(changed(name, place, rule) for place, rule in enumerate(spec.families)))
        for name, spec in recipe.networks.items()
    }
    return replace(recipe, networks=networks)


def _drawn(recipe: Recipe, network: str) -> str:
    """What a network is made of, as torch prints it; it is built without weights."""
    import torch

    from frugan import build

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return str(build.blueprints(recipe)[network].build()[0])
