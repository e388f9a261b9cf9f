"""Tuning: every arm gets the same number of short trials, and the test uses the settings of its best one.

A recipe's rates and penalties were chosen for its standard form. Without tuning, another family would be judged by
settings that suit its rival. `tuning_space` lists what is tried. Trials use other seeds than the test and are compared
with training images, so the choice uses no seed and no held-out image of the test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from frugan import evaluation, metrics
from frugan.comparison.planning.arms import Arm
from frugan.comparison.planning.tuning_space import SPACE, Trial, find_trials
from frugan.comparison.running.job import Job
from frugan.recipe import Recipe, differences, to_dict
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop

SHARE = 0.25
"""How long a trial is, as a share of the arm's budget, unless the user says otherwise."""

COUNT = 2000
"""How many images are made to evaluate a trial, unless the test makes fewer or the metric needs more."""


def check(settings: Mapping[str, Any], arms: Sequence[Arm]) -> None:
    """Check that every arm has that many trials of that length; `arms` begins with the baseline. Raises UserError."""
    count, images, baseline = settings["tune"], settings["tune_images"], arms[0].recipe
    if count is None:
        return
    for arm in arms:
        if arm.recipe.rounds is not None:
            raise UserError(
                f"--tune {count} needs budgets in images, but that of '{arm.name}' is in rounds. Give --images instead "
                "of rounds."
            )
        there = len(find_trials(arm.recipe))
        if count > there:
            raise UserError(
                f"--tune {count}: the list of settings has only {there} trials for '{arm.name}', and all arms get "
                f"equally many. Give 1 to {there}."
            )
    if images is not None and not baseline.batch_size <= images <= baseline.images:
        raise UserError(
            f"--tune-images {images}: accepted are {baseline.batch_size:,} to {baseline.images:,} images, from one "
            "batch to the whole budget of the baseline."
        )


def choose_evaluation(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `frugan.evaluate` for a trial, where they differ from those of the test."""
    primary = settings["primary"]
    count = max(metrics.find(primary).least, min(settings["count"] or COUNT, COUNT))
    if settings["allow_few"] and primary in settings["allow_few"]:
        count = min(settings["count"] or COUNT, COUNT)
    return {"metrics": [primary], "reference": "train", "count": count}


def choose_length(recipe: Recipe, baseline: Recipe, images: int | None) -> int:
    """How many images a trial of an arm is shown; `images` is that number for the baseline, None for the usual share.

    Every arm's trials have the same share of its own budget.
    """
    share = SHARE if images is None else min(1.0, images / baseline.images)
    return max(min(recipe.batch_size, recipe.images), round(share * recipe.images))


@dataclass(frozen=True)
class _TrialRuns:
    """One trial and the jobs that train it, by seed."""

    trial: Trial
    jobs: Mapping[int, Job]


def tune(
    arms: Sequence[Arm], lengths: Mapping[str, int], settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> list[Arm]:
    """Train and measure the trials, and return the arms with the settings of their best ones.

    `lengths` says how many images a trial of each arm is shown. The plan saves the trials and their values, so a
    comparison that is continued does not repeat them.

    Raises UserError if the plan's trials come from another table, or if values have unequal protocols.
    """
    known = plan.tuning or {
        "space": SPACE, "trials": settings["tune"], "seeds": settings["tune_seeds"], "arms": {},
    }  # fmt: skip
    if known["space"] != SPACE:
        raise UserError(
            f"The trials in {workshop.folder} were made by another version of frugan, with the list of settings "
            f"{known['space']}; this version has {SPACE}. Continue with that version, or begin a new comparison with "
            "another --out."
        )
    trials = {arm.name: find_trials(arm.recipe)[: settings["tune"]] for arm in arms}
    by_arm = known["arms"]
    todo = [arm for arm in arms if "chosen" not in by_arm.get(arm.name, {})]
    if todo:
        for arm in todo:
            by_arm[arm.name] = {"images": lengths[arm.name], "tried": _describe(arm, trials[arm.name])}
        plan.keep_tuning(known)
        tried = {arm.name: _jobs(arm, trials[arm.name], lengths[arm.name], settings, plan, workshop) for arm in todo}
        jobs = [job for of in tried.values() for one in of for job in one.jobs.values()]
        workshop.say(
            f"Tuning {', '.join(arm.name for arm in todo)}: {settings['tune']} trials of each, with the seeds "
            f"{settings['tune_seeds']}, {len(jobs)} runs in all."
        )
        workshop.train(jobs, values=[choose_evaluation(settings)])
        protocols = [known["protocol"]] if "protocol" in known else []
        for arm in todo:
            for one, facts in zip(tried[arm.name], by_arm[arm.name]["tried"], strict=True):
                protocols += _measure(one, facts, settings, workshop)
                apart = evaluation.unequal(protocols)
                if apart:
                    raise UserError(
                        f"The trials were measured differently, so they cannot be compared: {'; '.join(apart)}. Begin "
                        "a new comparison with another --out."
                    )
        better = metrics.find(settings["primary"]).better
        known |= {"metric": settings["primary"], "better": better}
        if protocols:
            known["protocol"] = evaluation.shared(protocols[0])
        for arm in todo:
            by_arm[arm.name] |= _choose(by_arm[arm.name]["tried"], better)
            workshop.say(f"{arm.name}: {_in_words(by_arm[arm.name])}.")
        plan.keep_tuning(known)
    return [
        replace(arm, recipe=replace(trials[arm.name][by_arm[arm.name]["chosen"]].recipe, images=arm.recipe.images))
        for arm in arms
    ]


def _describe(arm: Arm, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """What each trial changes, in order, ready for JSON."""
    return [
        {
            "words": trial.words, "settings": dict(trial.settings),
            "differences": differences(arm.recipe, trial.recipe),
        }
        for trial in trials
    ]  # fmt: skip


def _jobs(
    arm: Arm, trials: Sequence[Trial], images: int, settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> list[_TrialRuns]:
    """Make the jobs of all trials and write their recipes; nothing is trained yet."""
    tried = []
    for number, trial in enumerate(trials, start=1):
        place = f"tuning/{arm.folder}/trial-{number}"
        short = replace(arm, recipe=trial.recipe.with_images(images))
        file = workshop.folder / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.folder.write_json(file, to_dict(short.recipe))
        jobs = {
            seed: workshop.make_job(
                short, f"{place}-seed-{seed}", seed, title=f"{arm.name} trial {number}", recipe=f"{place}.json"
            )
            for seed in settings["tune_seeds"]
        }
        tried.append(_TrialRuns(trial, jobs))
    return tried


def _measure(
    one: _TrialRuns, facts: dict[str, Any], settings: Mapping[str, Any], workshop: Workshop
) -> list[Mapping[str, Any]]:
    """Evaluate the runs of a trial, add times and values to its `facts`, and return the protocols of the values.

    If a run failed or did not train, the trial has no value and ranks last.
    """
    from frugan.engine.run import RunFolder

    facts |= {"runs": len(one.jobs), "images": 0, "seconds": 0.0, "values": {}, "value": None, "why": None}
    protocols = []
    for seed, job in one.jobs.items():
        run = RunFolder(job.folder)
        timed = [line for line in run.lines(run.log) if "seconds" in line]
        shown = job.images_shown()
        facts["images"] += shown
        # A short run has a good part of its rounds after its last log point.
        took = timed[-1]["seconds"] * shown / timed[-1]["images"] if timed else None
        facts["seconds"] = _add(facts["seconds"], took)
        untrained = job.why_untrained()
        why = job.why_failed() or (untrained and f"did not train: {untrained}")
        if why is not None:
            facts["why"] = facts["why"] or why
            continue
        workshop.say(f"Evaluating {job.title}.")
        value = workshop.evaluate(run, **choose_evaluation(settings))[0]
        protocols.append(value["protocol"])
        number = float(value["values"][value["headline"]])
        facts["values"][str(seed)] = number if math.isfinite(number) else None
    numbers = list(facts["values"].values())
    if facts["why"] is None and None not in numbers:
        facts["value"] = sum(numbers) / len(numbers)
    return protocols


def _choose(tried: Sequence[Mapping[str, Any]], better: str) -> dict[str, Any]:
    """Choose the best trial, the first of equal ones, and add up what all cost. Without values: the first trial."""
    sign = 1 if better == "lower" else -1
    values = [math.inf if facts["value"] is None else sign * facts["value"] for facts in tried]
    return {
        "chosen": values.index(min(values)), "runs": sum(facts["runs"] for facts in tried),
        "images_in_all": sum(facts["images"] for facts in tried),
        "seconds": reduce(_add, [facts["seconds"] for facts in tried]),
    }


def _add(one: float | None, other: float | None) -> float | None:
    """The sum of two times; None if one is unknown, as for a run that ended before its first log point."""
    return None if one is None or other is None else one + other


def _in_words(tuned: Mapping[str, Any]) -> str:
    tried = tuned["tried"]
    best, first = tried[tuned["chosen"]], tried[0]
    if best["value"] is None:
        return "no trial has a value, so the recipe stays unchanged"
    if best is first:
        return f"best unchanged, {best['value']:.4g}"
    before = "failed" if first["value"] is None else f"gave {first['value']:.4g}"
    return f"best with {best['words']}, {best['value']:.4g} (the unchanged recipe {before})"
