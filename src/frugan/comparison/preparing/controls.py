"""Controls: the baseline made thinner (fewer channels) until it costs as much as a frugal arm.

If a frugal arm does not beat its control, fewer channels would have saved just as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from frugan.comparison.planning.arms import Arm, width_of
from frugan.countdown import Countdown
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest

MEASURES = {
    "parameters": "parameters of the generator",
    "macs": "multiply-accumulates an image",
    "latency": "measured time of an image in batches of 64, large enough that the time for starting a call is small",
}
"""The measures in which a control can cost the same as its arm."""

THINNEST = 1 / 64
STEPS = 14
CLOSE = 0.01
BATCH = 64


def check(match: str | None, arms: Sequence[Arm]) -> None:
    """Check that controls can be made; the first of `arms` is the baseline.

    Raises UserError if the measure is unknown, if the baseline cannot be made thinner, or if multiply-accumulates are
    to be matched and an arm's cannot be counted reliably.
    """
    if match is None:
        return
    if match not in MEASURES:
        raise UserError(f"There is no --match {match}. {suggest(match, MEASURES)}")
    baseline = arms[0]
    if width_of(baseline.recipe) is None:
        raise UserError(
            f"--match {match} must make the baseline '{baseline.name}' thinner, but its architecture has no option "
            "width. Choose an architecture that has one, or leave --match out."
        )
    if match == "macs":
        for arm in arms:
            if not arm.is_damaged:
                count_macs(build_generator(arm.recipe), arm.name)


def count_macs(call: tuple[Any, ...], name: str) -> int:
    """Count the multiply-accumulates of a call: a network and its inputs. Raises UserError if the count is in doubt."""
    from frugan import costs

    counted = costs.cost(*call)
    if counted.doubts:
        raise UserError(
            f"--match macs: the multiply-accumulates of '{name}' cannot be counted reliably. "
            f"{' '.join(counted.doubts)} Type --match latency, which is measured, or --match parameters."
        )
    return counted.all_macs


def find_controls(
    arms: Sequence[Arm], match: str, say: Callable[[str], None]
) -> tuple[list[Arm], list[dict[str, Any]]]:
    """Make a control for each frugal arm; the first of `arms` is the baseline.

    Returns:
        The controls, and for each frugal arm what it costs (wanted) and what its control costs (reached):
        ``{"arm", "control", "match", "width", "wanted", "reached"}``. If an arm costs as much as the baseline or more,
        its control is the baseline itself. Arms whose controls would be the same recipe share the first one's.
    """
    baseline, *others = arms
    width = width_of(baseline.recipe)
    assert width is not None  # checked before
    made, facts = [], []
    for arm in others:
        if arm.is_damaged:
            continue
        say(f"Looking for the width at which {baseline.name} has the {match} of {arm.name}.")
        countdown = Countdown(say, f"Width with the {match} of {arm.name}", STEPS + 1, "widths")
        share, wanted, reached = find_width(baseline.recipe, arm.recipe, match, width, countdown)
        fact = {"arm": arm.name, "match": match, "width": share * width, "wanted": wanted, "reached": reached}
        if share >= 1:
            facts.append({**fact, "control": baseline.name})
            continue
        control = Arm(f"{arm.name} control ({match})", set_width(baseline.recipe, share * width), arm.name)
        if control.recipe.networks == arm.recipe.networks:
            continue
        # Two arms may have the same generator, as DepthwiseG and DepthwiseDG do. One control is then enough for both.
        shared = next((one for one in made if one.recipe == control.recipe), control)
        if shared is control:
            made.append(control)
        facts.append({**fact, "control": shared.name})
    return made, facts


def set_width(recipe: Recipe, width: float) -> Recipe:
    """The recipe with another width of its generator: a factor that multiplies the architecture's channels."""
    return recipe.with_changes({"architecture.width": float(f"{width:.4g}")})


def find_width(
    standard: Recipe, frugal: Recipe, match: str, width: float, countdown: Countdown
) -> tuple[float, float, float]:
    """Search by bisection for the share of `width` at which `standard` costs as much as `frugal`.

    `countdown` counts the widths that were measured; the search may end before the last one.

    Returns that share, what `frugal` costs, and what `standard` then costs. If the frugal network costs as much as the
    whole standard one or more, the share is 1.
    """

    def measured(share: float) -> tuple[float, float]:
        return measure_both(frugal, set_width(standard, share * width), match)

    wanted, reached = measured(1.0)
    if reached <= wanted:
        return 1.0, wanted, reached
    low, high = THINNEST, 1.0
    best = (float("inf"), 1.0, wanted, reached)
    for step in range(STEPS):
        countdown.at(step + 1)
        middle = (low * high) ** 0.5
        wanted, reached = measured(middle)
        best = min(best, (abs(reached / wanted - 1), middle, wanted, reached))
        if best[0] < CLOSE and match == "latency":  # closer than the clock can tell
            break
        low, high = (low, middle) if reached > wanted else (middle, high)
    return best[1:]


def measure_both(one: Recipe, other: Recipe, match: str) -> tuple[float, float]:
    """What the generators of two recipes cost, in one measure. Times are taken alternately (A B A B ...)."""
    from frugan import costs

    calls = {"one": build_generator(one), "other": build_generator(other)}
    if match == "parameters":
        return tuple(float(costs.parameters(call[0])) for call in calls.values())  # type: ignore[return-value]
    if match == "macs":
        return float(count_macs(calls["one"], one.name)), float(count_macs(calls["other"], other.name))
    times = costs.latencies(calls, batches=(BATCH,), repeats=30, seconds=6.0)
    return times["one"][0].median_ms / BATCH, times["other"][0].median_ms / BATCH


def build_generator(recipe: Recipe) -> tuple[Any, ...]:
    """Build the network that makes images, untrained, with example inputs, as `frugan.costs.cost` takes them."""
    import torch

    from frugan import build

    name = recipe.makers()[0]
    blueprint = build.blueprints(recipe)[name]
    with torch.random.fork_rng(devices=[]):
        module, _ = blueprint.build()
    return (module, *blueprint.inputs())
