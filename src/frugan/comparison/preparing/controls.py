"""Controls: the standard network made thinner until it costs what a frugal arm costs.

A frugal family that does not beat such a control has saved nothing that fewer channels would not have saved as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from frugan.comparison.planning.arms import Arm, width_of
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest

MEASURES = {
    "parameters": "parameters of the generator",
    "macs": "multiply-accumulates an image",
    "latency": "measured time of an image in batches of 64, where a network's own work outweighs the calling of it",
}
"""What a control can be matched in."""

THINNEST = 1 / 64
STEPS = 14
CLOSE = 0.01
BATCH = 64


def check(match: str | None, arms: Sequence[Arm]) -> None:
    """Refuse what no control can be made for; the first of `arms` is the baseline.

    Raises UserError if there is no such measure, if the baseline cannot be made thinner, or if the multiply-accumulates
    of an arm are not to be believed and should be matched.
    """
    if match is None:
        return
    if match not in MEASURES:
        raise UserError(f"There is no --match {match}. {suggest(match, MEASURES)}")
    baseline = arms[0]
    if width_of(baseline.recipe) is None:
        raise UserError(
            f"--match {match} makes the baseline '{baseline.name}' thinner, and its architecture takes no width. Name "
            "an architecture that does, or leave --match out."
        )
    if match == "macs":
        for arm in arms:
            if not arm.is_damaged:
                believed_macs(generator(arm.recipe), arm.name)


def believed_macs(call: tuple[Any, ...], name: str) -> int:
    """The multiply-accumulates of a network called so. Raises UserError if they are not to be believed."""
    from frugan import costs

    counted = costs.cost(*call)
    if counted.doubts:
        raise UserError(
            f"--match macs cannot match '{name}', whose multiply-accumulates are not to be believed: "
            f"{' '.join(counted.doubts)} Type --match latency, which is measured, or --match parameters."
        )
    return counted.all_macs


def find_controls(
    arms: Sequence[Arm], match: str, say: Callable[[str], None]
) -> tuple[list[Arm], list[dict[str, Any]]]:
    """A control for each frugal arm; the first of `arms` is the baseline, which is made thinner.

    Returns:
        The controls, and for each frugal arm what was reached: ``{"arm", "control", "match", "width", "wanted",
        "reached"}``. An arm that costs no less than the baseline has the baseline itself as its control.
    """
    baseline, *others = arms
    width = width_of(baseline.recipe)
    assert width is not None  # checked before
    made, facts = [], []
    for arm in others:
        if arm.is_damaged:
            continue
        say(f"Looking for the width at which {baseline.name} has the {match} of {arm.name}.")
        share, wanted, reached = thinner(baseline.recipe, arm.recipe, match, width)
        fact = {"arm": arm.name, "match": match, "width": share * width, "wanted": wanted, "reached": reached}
        if share >= 1:
            facts.append({**fact, "control": baseline.name})
            continue
        control = Arm(f"{arm.name} control ({match})", at(baseline.recipe, share * width), arm.name)
        if control.recipe.networks != arm.recipe.networks:
            made.append(control)
            facts.append({**fact, "control": control.name})
    return made, facts


def at(recipe: Recipe, width: float) -> Recipe:
    """The recipe with its generator at another width, as a factor of the architecture's channels."""
    return recipe.with_changes({"architecture.width": float(f"{width:.4g}")})


def thinner(standard: Recipe, frugal: Recipe, match: str, width: float) -> tuple[float, float, float]:
    """The share of `width` at which `standard` costs what `frugal` costs, and what both cost, found by bisection.

    The share is 1 if the frugal network costs no less than the whole standard one.
    """

    def measured(share: float) -> tuple[float, float]:
        return price(frugal, at(standard, share * width), match)

    wanted, reached = measured(1.0)
    if reached <= wanted:
        return 1.0, wanted, reached
    low, high = THINNEST, 1.0
    best = (float("inf"), 1.0, wanted, reached)
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        wanted, reached = measured(middle)
        best = min(best, (abs(reached / wanted - 1), middle, wanted, reached))
        if best[0] < CLOSE and match == "latency":  # closer than the clock can tell
            break
        low, high = (low, middle) if reached > wanted else (middle, high)
    return best[1:]


def price(one: Recipe, other: Recipe, match: str) -> tuple[float, float]:
    """What the generators of two recipes cost, in one measure; times are taken in turn (A B A B ...)."""
    from frugan import costs

    calls = {"one": generator(one), "other": generator(other)}
    if match == "parameters":
        return tuple(float(costs.parameters(call[0])) for call in calls.values())  # type: ignore[return-value]
    if match == "macs":
        return float(believed_macs(calls["one"], one.name)), float(believed_macs(calls["other"], other.name))
    times = costs.latencies(calls, batches=(BATCH,), repeats=30, seconds=6.0)
    return times["one"][0].median_ms / BATCH, times["other"][0].median_ms / BATCH


def generator(recipe: Recipe) -> tuple[Any, ...]:
    """The untrained network that makes images, and what it is called with, as `frugan.costs.cost` takes them."""
    import torch

    from frugan import build

    name = recipe.makers()[0]
    blueprint = build.blueprints(recipe)[name]
    with torch.random.fork_rng(devices=[]):
        module, _ = blueprint.build()
    return (module, *blueprint.inputs())
