"""Whatever can be refused is refused before the first run: by one list of checks, gone through from cheap to slow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from frugan import evaluation, training
from frugan.comparison.planning import Design
from frugan.comparison.planning.arms import Arm
from frugan.comparison.preparing import controls, equal_seconds, tuning
from frugan.comparison.verdicts import untuned
from frugan.engine.precision import choose_device
from frugan.evaluation import while_training
from frugan.recipe import parse_count
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.build import Assembly
    from frugan.comparison.planning.arguments import ComparisonArguments

Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What a check looks at: the arguments, the design that follows from them, whom to tell what is no mistake, and
    whether the comparison has begun."""

    asked: ComparisonArguments
    design: Design
    say: Say
    begun: bool = False


def check(asked: ComparisonArguments, design: Design, say: Say, *, begun: bool) -> None:
    """Go through `CHECKS`. Nothing is trained but a view that learns, which is kept. Raises UserError."""
    for one in CHECKS:
        one(Question(asked, design, say, begun))


def _check_numbers(of: Question) -> None:
    if of.asked.jobs < 1:
        raise UserError(f"--jobs {of.asked.jobs}: it takes one run at a time or more.")
    if of.asked.evaluate_every is not None:
        try:
            parse_count(of.asked.evaluate_every)
        except UserError as error:
            raise UserError(f"--evaluate-every {of.asked.evaluate_every}: {error}") from None


def _check_device(of: Question) -> None:
    choose_device(of.asked.device)


def _check_evaluation(of: Question) -> None:
    evaluation.check_names(**of.design.evaluation)


def _check_controls(of: Question) -> None:
    controls.check(of.design.settings["match"], of.design.arms)


def _check_seconds(of: Question) -> None:
    if of.design.settings["equal"] is not None:
        equal_seconds.parse_seconds(of.design.settings["equal"], of.design.arms)
        equal_seconds.check_trials(of.design.arms)


def _check_budgets(of: Question) -> None:
    baseline, *others = of.design.arms
    for arm in others:
        if arm.recipe.budget != baseline.recipe.budget and not arm.is_damaged and of.design.settings["equal"] is None:
            of.say(
                f"'{arm.name}' sees {arm.recipe.budget:,} images and the baseline {baseline.recipe.budget:,}: not an "
                "equal comparison, and said so in its verdict. Give --images for all."
            )


def _check_networks(of: Question) -> None:
    """The names and options of every arm's networks, before any data is opened; and that all make images alike."""
    from frugan import build

    kinds: dict[str, str] = {}
    for arm in of.design.arms:
        blueprints = build.blueprints(arm.recipe)
        for blueprint in blueprints.values():
            blueprint.check()
        kinds[arm.name] = next((blueprints[name].part for name in arm.recipe.makers()), "nothing")
    (first, kind), *_ = kinds.items()
    for name, other in kinds.items():
        if other != kind:
            raise UserError(
                f"'{first}' has a {kind} and '{name}' a {other}: images made of latents and translated ones do not "
                "compare."
            )


def _check_tuning(of: Question) -> None:
    settings, arms = of.design.settings, of.design.arms
    tuning.check(settings, arms)
    untuned.check(of.asked.untuned, of.design)
    if settings["tune"] is None:
        return
    for arm in arms:
        images = tuning.length_of(arm.recipe, arms[0].recipe, settings["tune_images"])
        slow = [one.half_life for one in arm.recipe.averages.values() if one.half_life > images and one.ramp is None]
        if slow:
            of.say(
                f"Trials of {images:,} images are shorter than an average's half-life of {max(slow):,.0f} images, so "
                "their values say little of their settings: give more --images or --tune-images, or shorten "
                "averages.NAME.half_life."
            )


def _check_arms(of: Question) -> None:
    """Build each arm as training would, and foresee what evaluating it gives: values that may share a table."""
    device = choose_device(of.asked.device)
    foreseen: dict[str, Mapping[str, Any]] = {}
    for arm in of.design.arms:
        assembly = _rehearse(arm, device, of)
        foreseen[arm.name] = _foresee(arm, assembly, of)
    for (one, ones), (other, others) in itertools.pairwise(foreseen.items()):
        for metric in ones.keys() & others.keys():
            apart = evaluation.unequal([ones[metric], others[metric]])
            if apart:
                raise UserError(
                    f"The values of {metric} of '{one}' and '{other}' would have unequal protocols and share no table: "
                    f"{'; '.join(apart)}. Give both arms the same."
                )


def _rehearse(arm: Arm, device: torch.device, of: Question) -> Assembly:
    try:
        assembly = training.rehearse(arm.recipe, device, quiet=of.asked.quiet, begun=of.begun)
    except UserError as error:
        raise UserError(f"The arm '{arm.name}': {error}") from None
    for note in assembly.notes:
        of.say(f"{arm.name}: {note}")
    return assembly


def _foresee(arm: Arm, assembly: Assembly, of: Question) -> Mapping[str, Any]:
    how = {**of.design.evaluation, "device": of.asked.device, "progress": of.say}
    if of.asked.evaluate_every is not None:
        while_training.check_assembly(assembly)
    if of.design.settings["tune"] is not None:
        of_trial: dict[str, Any] = {**how, **tuning.evaluated_as(of.design.settings)}
        evaluation.foresee(assembly, f"a trial of '{arm.name}'", **of_trial)
    # The metric that decides is needed, whether it was named or not; others that were not named may be left out.
    return evaluation.foresee(assembly, f"'{arm.name}'", needed=of.design.settings["primary"], **how)


CHECKS = (
    _check_numbers, _check_device, _check_evaluation, _check_controls, _check_seconds, _check_budgets,
    _check_networks, _check_tuning, _check_arms,
)  # fmt: skip
"""In this order. Arms, seeds and margins that cannot be were refused when the design was made of the arguments."""
