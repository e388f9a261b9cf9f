"""Checks before the first run: everything that can be refused is refused here. Cheap checks come first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from frugan import evaluation, exporting, training
from frugan.comparison import launchers
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
    """What a check is given.

    Attributes:
        asked: the arguments of the comparison.
        design: the arms and settings that follow from them.
        say: called with remarks about things that are allowed but that the user should know.
        begun: whether the comparison was begun before.
    """

    asked: ComparisonArguments
    design: Design
    say: Say
    begun: bool = False


def check(asked: ComparisonArguments, design: Design, say: Say, *, begun: bool) -> None:
    """Run all `CHECKS`. Only a view that learns is trained, and it is kept. Raises UserError."""
    for one in CHECKS:
        one(Question(asked, design, say, begun))


def _check_numbers(of: Question) -> None:
    if of.asked.runtime is not None:
        exporting.check_runtime(of.asked.runtime)
    if of.asked.evaluate_every is not None:
        try:
            parse_count(of.asked.evaluate_every)
        except UserError as error:
            raise UserError(f"--evaluate-every {of.asked.evaluate_every}: {error}") from None


def _check_launcher(of: Question) -> None:
    options = launchers.read_options(of.asked.launcher, of.asked.launcher_options)
    launchers.find(of.asked.launcher).check(**options)


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
                f"'{arm.name}' is trained on {arm.recipe.budget:,} images, the baseline on "
                f"{baseline.recipe.budget:,}. This comparison is not equal, and the verdict will say so. To make it "
                "equal, give --images."
            )


def _check_networks(of: Question) -> None:
    """Check names and options of every arm's networks, before any data is opened; and that all make images alike."""
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
                f"'{first}' has a {kind} and '{name}' a {other}. Images made from latents and translated images cannot "
                "be compared. Give arms of one kind."
            )


def _check_tuning(of: Question) -> None:
    settings, arms = of.design.settings, of.design.arms
    tuning.check(settings, arms)
    untuned.check(of.asked.untuned, of.design)
    if settings["tune"] is None:
        return
    for arm in arms:
        length = tuning.choose_length(arm.recipe, arms[0].recipe, settings["tune_images"])
        (_, images), *_ = tuning.choose_stages(settings["tune"], length, arm.recipe.batch_size)
        slow = [one.half_life for one in arm.recipe.averages.values() if one.half_life > images and one.ramp is None]
        if slow:
            of.say(
                f"Trials of {images:,} images are too short: the averaged weights need {max(slow):,.0f} images to move "
                "half the way (half_life), so a trial's value hardly depends on its settings. Give more --images or "
                "--tune-images, or a smaller averages.NAME.half_life."
            )


def _check_arms(of: Question) -> None:
    """Build each arm as training would, and check that the arms' values will have equal protocols."""
    device = choose_device(of.asked.device)
    foreseen: dict[str, Mapping[str, Any]] = {}
    for arm in of.design.arms:
        assembly = _rehearse(arm, device, of)
        if of.design.settings["equal"] is not None:
            equal_seconds.check_networks(arm.name, assembly.networks)
        foreseen[arm.name] = _foresee(arm, assembly, of)
    for (one, ones), (other, others) in itertools.pairwise(foreseen.items()):
        for metric in ones.keys() & others.keys():
            apart = evaluation.unequal([ones[metric], others[metric]])
            if apart:
                raise UserError(
                    f"The {metric} of '{one}' and that of '{other}' would be measured differently, so they could not "
                    f"be compared: {'; '.join(apart)}. Give both arms the same."
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
        of_trial: dict[str, Any] = {**how, **tuning.choose_evaluation(of.design.settings)}
        evaluation.foresee(assembly, f"a trial of '{arm.name}'", **of_trial)
    # The metric that decides is always needed. Others may be left out unless the user named them.
    return evaluation.foresee(assembly, f"'{arm.name}'", needed=of.design.settings["primary"], **how)


CHECKS = (
    _check_numbers, _check_launcher, _check_device, _check_evaluation, _check_controls, _check_seconds, _check_budgets,
    _check_networks, _check_tuning, _check_arms,
)  # fmt: skip
"""All checks, in this order. Impossible arms, seeds and margins were refused before, by `make_design`."""
