"""What an arm's trials try: one table of settings, gone through from the top by every arm.

Each row of `TRIALS` is a trial, and the first is the recipe as it stands. The other rows take the values of every
column in turn: the first nine have each pair of `rate` and `ratio` once, `penalty` changes from row to row, and each
four rows have each pair of `inner_norm` and `order`. So few trials already try something of every column.

An arm that a column has no meaning for (a norm between the halves of a layer that has no halves) leaves it as it is,
and passes over a row that would repeat an earlier one. So arms of the same columns have the same trials, all arms have
the same values in the columns that they share, and every arm has as many trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from frugan.recipe import Choice, Recipe, Rule
from frugan.registry import UserError

SPACE = "space-1"
"""The name of the table below; another table has another name, since plans are kept to."""

KEPT, CHANGED = "as it is", "changed"


class Row(NamedTuple):
    """One row of the table.

    `rate` multiplies the rates of all players; `ratio` then that of the discriminators alone. `penalty` makes the
    recipe's own penalties heavier, or adds R1 where it has none. `inner_norm` puts a norm between the pieces of every
    layer that a family splits, or takes it out where all have one. `order` turns a depthwise layer round.
    """

    rate: float = 1
    ratio: float = 1
    penalty: str = KEPT
    inner_norm: str = KEPT
    order: str = KEPT


TRIALS = (
    # rate, ratio, penalty, inner_norm, order
    Row(1, 1, KEPT, KEPT, KEPT),
    Row(2, 0.5, CHANGED, KEPT, CHANGED),
    Row(0.5, 2, KEPT, CHANGED, CHANGED),
    Row(1, 0.5, CHANGED, CHANGED, KEPT),
    Row(2, 1, KEPT, KEPT, KEPT),
    Row(0.5, 1, CHANGED, KEPT, CHANGED),
    Row(1, 2, KEPT, CHANGED, CHANGED),
    Row(0.5, 0.5, CHANGED, CHANGED, KEPT),
    Row(2, 2, KEPT, KEPT, KEPT),
    # The other half of rate x ratio x penalty.
    Row(1, 1, CHANGED, KEPT, CHANGED),
    Row(2, 0.5, KEPT, CHANGED, CHANGED),
    Row(0.5, 2, CHANGED, CHANGED, KEPT),
    Row(1, 0.5, KEPT, KEPT, KEPT),
    Row(2, 1, CHANGED, KEPT, CHANGED),
    Row(0.5, 1, KEPT, CHANGED, CHANGED),
    Row(1, 2, CHANGED, CHANGED, KEPT),
    Row(0.5, 0.5, KEPT, KEPT, KEPT),
    Row(2, 2, CHANGED, KEPT, CHANGED),
)

HEAVIER = 3
"""What `penalty` multiplies the weights of a recipe's own penalties by."""

ADDED = ("r1", 0.2, 28 * 28, 4)
"""The penalty that is added where there is none: its weight for so many pixels, and in one of how many rounds. It is
that of the recipe `mnist`. A slope's square adds up over pixels, so the weight grows with their number."""

NORMS = {"InstanceNorm": "instance_norm"}
"""The norm between pieces where the network itself has such norms, as torch prints them; batch norm elsewhere."""

ORDERS = ("depthwise_first", "pointwise_first")
"""The two values of the option `order`, where a family has it."""


@dataclass(frozen=True)
class Trial:
    """One trial of an arm: its recipe, its value in each column that means something for the arm, and what it changes
    in words."""

    recipe: Recipe
    settings: Mapping[str, Any]
    words: str


class Step(NamedTuple):
    """What one value of a column does to a recipe, and how that is said."""

    words: str
    change: Callable[[Recipe], Recipe]


def find_trials(recipe: Recipe) -> list[Trial]:
    """All trials that the table has for a recipe, in their order; no two are alike.

    Raises UserError for names that the recipe's networks are made of and that there are not.
    """
    columns = {name: found for name, look in COLUMNS.items() if (found := look(recipe))}
    trials: list[Trial] = []
    for row in TRIALS:
        changed, said = recipe, []
        for name, steps in columns.items():
            step = steps.get(getattr(row, name))
            if step is not None:
                changed = step.change(changed)
                said.append(step.words)
        if changed not in (trial.recipe for trial in trials):
            settings = {name: getattr(row, name) for name in columns}
            trials.append(Trial(changed, settings, ", ".join(said) or "as it stands"))
    return trials


# ------------------------------------------------------------------------------------------------------------- columns


Steps = Mapping[Any, Step]
"""What each value of a column does to a certain recipe, but for the first, which keeps it; empty if none does."""


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
    """Heavier ones; or R1, but for translators: their discriminators judge patches, whose slopes add up."""
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
    weight = float(f"{weight * recipe.data.size**2 / pixels:.2g}")
    added = (*recipe.penalties, Choice(name, {"weight": weight, "every": every}))
    try:
        build.check(replace(recipe, penalties=added))
    except UserError:  # its game has no place for it
        return {}
    return {CHANGED: Step(f"R1 added, weight {weight:g}", partial(replace, penalties=added))}


def _inner_norms(recipe: Recipe) -> Steps:
    """A norm at every seam; none if each has one."""
    norms, seams, bare = {}, set(), set()
    for name in recipe.makers():
        kind = next((norm for module, norm in NORMS.items() if module in _drawn(recipe, name)), "batch_norm")
        for place in range(len(recipe.networks[name].families)):
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
            own = rule.options.get("order", accepted["order"])
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
"""What finds the steps of each column of the table in a recipe."""


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
