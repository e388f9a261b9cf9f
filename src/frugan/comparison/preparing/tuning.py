"""Tuning: every arm gets the same number of short trials, and is tested with the settings of its best one.

A recipe's rates and penalties were chosen for its standard form, so another family may be judged by settings that were
made for its rival. What is tried stands in `tuning_space`. Trials have seeds outside the test, and their values compare
with training images, so that neither a seed nor a held-out image of the test has helped to choose.
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
from frugan.comparison.running.jobs import Job
from frugan.recipe import Recipe, differences, to_dict
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop

SHARE = 0.25
"""Of an arm's budget, the length of its trials unless another is given."""

COUNT = 2000
"""Images made for the value of a trial, unless the test makes fewer or the metric takes more."""


def check(settings: Mapping[str, Any], arms: Sequence[Arm]) -> None:
    """Refuse trials that there are not or that cannot be; the first of `arms` is the baseline. Raises UserError."""
    count, images, baseline = settings["tune"], settings["tune_images"], arms[0].recipe
    if count is None:
        return
    for arm in arms:
        if arm.recipe.rounds is not None:
            raise UserError(
                f"--tune {count} trains for a share of the images of each arm, and '{arm.name}' counts rounds; give "
                "--images."
            )
        there = len(find_trials(arm.recipe))
        if count > there:
            raise UserError(
                f"--tune {count}: every arm gets as many trials, and there are {there} for '{arm.name}'. Accepted: 1 "
                f"to {there}."
            )
    if images is not None and not baseline.batch_size <= images <= baseline.images:
        raise UserError(
            f"--tune-images {images}: a trial of the baseline takes from one batch to its whole budget, "
            f"{baseline.batch_size:,} to {baseline.images:,} images."
        )


def evaluated_as(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How a trial is evaluated, as arguments of `frugan.evaluate`: where it differs from the test."""
    primary = settings["primary"]
    count = max(metrics.find(primary).least, min(settings["count"] or COUNT, COUNT))
    if settings["allow_few"] and primary in settings["allow_few"]:
        count = min(settings["count"] or COUNT, COUNT)
    return {"metrics": [primary], "reference": "train", "count": count}


def length_of(recipe: Recipe, baseline: Recipe, images: int | None) -> int:
    """How many images a trial of an arm is shown: the same share of its budget as `images` are of the baseline's."""
    share = SHARE if images is None else min(1.0, images / baseline.images)
    return max(min(recipe.batch_size, recipe.images), round(share * recipe.images))


@dataclass(frozen=True)
class _Tried:
    """One trial and the jobs that train it, by seed."""

    trial: Trial
    jobs: Mapping[int, Job]


def tune(
    arms: Sequence[Arm], lengths: Mapping[str, int], settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> list[Arm]:
    """The arms with the settings of their best trials; `lengths` are the images that a trial of each is shown.

    What was tried and found is written into the plan, where it is found again the next time. Raises UserError for
    trials that another table had made, and for values of unequal protocols.
    """
    known = plan.tuning or {
        "space": SPACE, "trials": settings["tune"], "seeds": settings["tune_seeds"], "arms": {},
    }  # fmt: skip
    if known["space"] != SPACE:
        raise UserError(
            f"The trials in {workshop.folder} were made by another frugan, whose table is called {known['space']} and "
            f"this one's {SPACE}. Continue with that frugan, or begin a new comparison with another --out."
        )
    trials = {arm.name: find_trials(arm.recipe)[: settings["tune"]] for arm in arms}
    found = known["arms"]
    todo = [arm for arm in arms if "chosen" not in found.get(arm.name, {})]
    if todo:
        for arm in todo:
            found[arm.name] = {"images": lengths[arm.name], "tried": _describe(arm, trials[arm.name])}
        plan.keep_tuning(known)
        tried = {arm.name: _jobs(arm, trials[arm.name], lengths[arm.name], settings, plan, workshop) for arm in todo}
        jobs = [job for of in tried.values() for one in of for job in one.jobs.values()]
        workshop.say(
            f"Tuning {', '.join(arm.name for arm in todo)}: {settings['tune']} trials of each, {len(jobs)} runs, with "
            f"the seeds {settings['tune_seeds']}, outside the test."
        )
        workshop.train(jobs)
        protocols = [known["protocol"]] if "protocol" in known else []
        for arm in todo:
            for one, facts in zip(tried[arm.name], found[arm.name]["tried"], strict=True):
                protocols += _measure(one, facts, settings, workshop)
                apart = evaluation.unequal(protocols)
                if apart:
                    raise UserError(f"The values of trials have unequal protocols: {'; '.join(apart)}.")
        better = metrics.find(settings["primary"]).better
        known |= {"metric": settings["primary"], "better": better}
        if protocols:
            known["protocol"] = evaluation.shared(protocols[0])
        for arm in todo:
            found[arm.name] |= _choose(found[arm.name]["tried"], better)
            workshop.say(f"{arm.name}: {_in_words(found[arm.name])}.")
        plan.keep_tuning(known)
    return [
        replace(arm, recipe=replace(trials[arm.name][found[arm.name]["chosen"]].recipe, images=arm.recipe.images))
        for arm in arms
    ]


def _describe(arm: Arm, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """What is tried, in the order of the trials."""
    return [
        {
            "words": trial.words, "settings": dict(trial.settings),
            "differences": differences(arm.recipe, trial.recipe),
        }
        for trial in trials
    ]  # fmt: skip


def _jobs(
    arm: Arm, trials: Sequence[Trial], images: int, settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> list[_Tried]:
    """The trials with the jobs that train them, their recipes written beside; none is begun."""
    tried = []
    for number, trial in enumerate(trials, start=1):
        place = f"tuning/{arm.folder}/trial-{number}"
        short = replace(arm, recipe=replace(trial.recipe, images=images))
        file = workshop.folder / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.folder.write_json(file, to_dict(short.recipe))
        jobs = {
            seed: workshop.job(
                short, f"{place}-seed-{seed}", seed, title=f"{arm.name} trial {number}", recipe=f"{place}.json"
            )
            for seed in settings["tune_seeds"]
        }
        tried.append(_Tried(trial, jobs))
    return tried


def _measure(
    one: _Tried, facts: dict[str, Any], settings: Mapping[str, Any], workshop: Workshop
) -> list[Mapping[str, Any]]:
    """Add to the facts of a trial what its runs took and reached; the protocols of their values.

    A trial of which a run failed or did not train has no value, and nothing is worse.
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
        untrained = job.untrained()
        why = job.failure() or (untrained and f"did not train: {untrained}")
        if why is not None:
            facts["why"] = facts["why"] or why
            continue
        workshop.say(f"Evaluating {job.title}.")
        value = workshop.evaluate(run, **evaluated_as(settings))[0]
        protocols.append(value["protocol"])
        number = float(value["values"][value["headline"]])
        facts["values"][str(seed)] = number if math.isfinite(number) else None
    numbers = list(facts["values"].values())
    if facts["why"] is None and None not in numbers:
        facts["value"] = sum(numbers) / len(numbers)
    return protocols


def _choose(tried: Sequence[Mapping[str, Any]], better: str) -> dict[str, Any]:
    """Which trial was best, the first of equal ones, and what all cost; the first one if none has a value."""
    sign = 1 if better == "lower" else -1
    values = [math.inf if facts["value"] is None else sign * facts["value"] for facts in tried]
    return {
        "chosen": values.index(min(values)), "runs": sum(facts["runs"] for facts in tried),
        "images_in_all": sum(facts["images"] for facts in tried),
        "seconds": reduce(_add, [facts["seconds"] for facts in tried]),
    }


def _add(one: float | None, other: float | None) -> float | None:
    """The sum of two times; None if one is unknown, as of a run that ended before its first log point."""
    return None if one is None or other is None else one + other


def _in_words(found: Mapping[str, Any]) -> str:
    tried = found["tried"]
    best, first = tried[found["chosen"]], tried[0]
    if best["value"] is None:
        return "no trial has a value, so it stays as it stands"
    if best is first:
        return f"best as it stands, {best['value']:.4g}"
    before = "which failed" if first["value"] is None else f"{first['value']:.4g}"
    return f"best with {best['words']}, {best['value']:.4g} (as it stands {before})"
