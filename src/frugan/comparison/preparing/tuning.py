"""Tuning: every arm gets the same number of trials, and the test uses the settings of its best one.

A recipe's rates and penalties were chosen for its standard form. Without tuning, another family would be judged by
settings that suit its rival. `tuning_space` lists what is tried. All trials of an arm are trained a little, the better
half further, and the best two to the end (`halving`): the settings that learn fastest at first are not always those
that end best. Trials use other seeds than the test and are compared with training images, so the choice uses no seed
and no held-out image of the test.
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
from frugan.comparison.running.halving import SHARES, going_on, shown
from frugan.comparison.running.job import Job
from frugan.comparison.running.looks import may_be_part
from frugan.recipe import Recipe, differences, to_dict
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.planning.plan_file import PlanFile
    from frugan.comparison.running.workshop import Workshop

SHARE = 0.5
"""How long the longest trials are, as a share of the arm's budget, unless the user says otherwise. Eight trials then
cost two budgets."""

COUNT = 2000
"""How many images are made to evaluate a trial, unless the test makes fewer or the metric needs more."""

ALIKE = 0.05
"""Trials whose values all lie within this share of one another are not told apart."""


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
    """How many images the longest trials of an arm are shown; `images` is that number for the baseline, None for the
    usual share.

    Every arm's trials have the same share of its own budget.
    """
    share = SHARE if images is None else min(1.0, images / baseline.images)
    return max(min(recipe.batch_size, recipe.images), round(share * recipe.images))


def choose_stages(count: int, images: int, batch_size: int) -> list[tuple[int, int]]:
    """For each stage of so many trials: how many are left, and how many images they have been shown at its end.

    Stages that would leave nobody behind are left out: they would only be measured.
    """
    stages = []
    for share in SHARES:
        if share == SHARES[-1] or going_on(count) < count:
            stages.append((count, shown(share, images, batch_size)))
            count = going_on(count)
    return stages


@dataclass(frozen=True)
class _Race:
    """The trials of one arm and what the plan keeps of them, `facts`: ``{"images", "tried", "chosen", ...}``."""

    arm: Arm
    trials: Sequence[Trial]
    stages: Sequence[tuple[int, int]]
    facts: dict[str, Any]

    def left(self, number: int, sign: int) -> list[int]:
        """The trials that take part in a stage, by their index: all, or the best of the stage before it."""
        left = list(range(len(self.trials)))
        for count, images in self.stages[:number]:
            values = {one: value_at(self.facts["tried"][one], images) for one in left}
            known = {one: sign * value for one, value in values.items() if value is not None}
            left = sorted(sorted(known, key=known.__getitem__)[: going_on(count)])
        return left

    def is_chance(self, number: int, sign: int) -> bool:
        """Whether the trials of a stage that others follow are so much alike that chance decides which ones go on."""
        if number == len(self.stages) - 1:
            return False
        given = [value_at(self.facts["tried"][one], self.stages[number][1]) for one in self.left(number, sign)]
        values = [value for value in given if value is not None]
        return len(values) > 1 and max(values) - min(values) <= ALIKE * max(map(abs, values))

    def choose(self, sign: int) -> None:
        """Choose the best trial of the last stage that gave values, the first of equal ones, and add up what all cost.

        A trial that failed in any stage is not chosen. If all failed: the first one.
        """
        tried, best = self.facts["tried"], 0
        for number, (_, images) in enumerate(self.stages):
            sound = [one for one in self.left(number, sign) if tried[one]["why"] is None]
            values = {one: value_at(tried[one], images) for one in sound}
            known = {one: sign * value for one, value in values.items() if value is not None}
            best = min(known, key=known.__getitem__, default=best)
        for one in tried:
            values = [stage["value"] for stage in one["stages"] if stage["value"] is not None]
            one["value"] = values[-1] if values else None
        self.facts.update(
            chance=[images for number, (_, images) in enumerate(self.stages) if self.is_chance(number, sign)],
            chosen=best, runs=sum(len(one["costs"]) for one in tried),
            images_in_all=sum(cost["images"] for one in tried for cost in one["costs"].values()),
            seconds=reduce(_add, [cost["seconds"] for one in tried for cost in one["costs"].values()]),
        )


def value_at(facts: Mapping[str, Any], images: int) -> float | None:
    """The value of a trial after so many images; None if it has none."""
    return next((stage["value"] for stage in facts["stages"] if stage["images"] == images), None)


def tune(
    arms: Sequence[Arm], lengths: Mapping[str, int], settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> list[Arm]:
    """Train and measure the trials, and return the arms with the settings of their best ones.

    `lengths` says how many images the longest trials of each arm are shown. The plan saves the trials and their values
    after each stage, so a comparison that is continued does not repeat them.

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
    better = metrics.find(settings["primary"]).better
    sign = 1 if better == "lower" else -1
    known |= {"metric": settings["primary"], "better": better}
    races = [_begin(arm, lengths[arm.name], settings, known["arms"]) for arm in arms]
    todo = [race for race in races if "chosen" not in race.facts]
    if todo:
        workshop.say(f"Tuning {', '.join(race.arm.name for race in todo)}: {_plan_in_words(todo, settings)}.")
    for number in range(len(todo[0].stages) if todo else 0):
        plan.keep_tuning(known)
        _run_stage(todo, number, sign, known, settings, plan, workshop)
        alike = [race.arm.name for race in todo if race.is_chance(number, sign)]
        if alike:
            workshop.say(
                f"After {todo[0].stages[number][1]:,} images the trials of {', '.join(alike)} are within {ALIKE:.0%} "
                "of one another, so chance decides which of them go on. Longer trials may differ: give more --images "
                "or --tune-images."
            )
    for race in todo:
        race.choose(sign)
        workshop.say(f"{race.arm.name}: {_in_words(race.facts)}.")
    if todo:
        plan.keep_tuning(known)
    return [
        replace(race.arm, recipe=replace(race.trials[race.facts["chosen"]].recipe, images=race.arm.recipe.images))
        for race in races
    ]


def _begin(arm: Arm, images: int, settings: Mapping[str, Any], by_arm: dict[str, Any]) -> _Race:
    """The race of an arm's trials, with what the plan knows of them. Where a trial failed, it may be trained again."""
    trials = find_trials(arm.recipe)[: settings["tune"]]
    facts = by_arm.setdefault(arm.name, {"images": images, "tried": _describe(arm, trials)})
    stages = choose_stages(len(trials), facts["images"], arm.recipe.batch_size)
    if "chosen" not in facts:
        for one in facts["tried"]:
            one |= {"why": None, "stages": [stage for stage in one["stages"] if stage["value"] is not None]}
    return _Race(arm, trials, stages, facts)


def _describe(arm: Arm, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """What each trial changes, in order, ready for JSON, with places for what it will cost and give."""
    return [
        {
            "words": trial.words, "settings": dict(trial.settings),
            "differences": differences(arm.recipe, trial.recipe), "stages": [], "costs": {}, "why": None,
        }
        for trial in trials
    ]  # fmt: skip


def _run_stage(
    races: Sequence[_Race], number: int, sign: int, known: dict[str, Any], settings: Mapping[str, Any], plan: PlanFile,
    workshop: Workshop,
) -> None:  # fmt: skip
    """Train and measure what is left of all arms' trials up to the end of a stage, unless the plan has their values."""
    todo = [
        (race, one, _jobs(race, number, one, settings, plan, workshop))
        for race in races for one in race.left(number, sign)
        if all(stage["images"] != race.stages[number][1] for stage in race.facts["tried"][one]["stages"])
    ]  # fmt: skip
    if not todo:
        return
    workshop.train([job for *_, jobs in todo for job in jobs.values()], values=[choose_evaluation(settings)])
    protocols = [known["protocol"]] if "protocol" in known else []
    for race, one, jobs in todo:
        facts = race.facts["tried"][one]
        last = number == len(race.stages) - 1
        values = _measure(jobs, facts, last, protocols, settings, workshop)
        value = sum(values.values()) / len(values) if facts["why"] is None else None
        facts["stages"].append({"images": race.stages[number][1], "values": values, "value": value})
    if protocols:
        known["protocol"] = evaluation.shared(protocols[0])
    plan.keep_tuning(known)


def _jobs(
    race: _Race, number: int, one: int, settings: Mapping[str, Any], plan: PlanFile, workshop: Workshop
) -> dict[int, Job]:
    """The jobs that train a trial up to the end of a stage, by seed, and their recipe's file. Nothing is trained yet.

    They are parts of one run for all stages, or runs of their own.
    """
    images, recipe = race.stages[number][1], race.trials[one].recipe
    part = may_be_part(recipe.with_images(race.facts["images"]), images)
    whole = race.facts["images"] if part else images
    place = f"tuning/{race.arm.folder}/trial-{one + 1}{'' if whole == race.facts['images'] else f'-to-{images}'}"
    trial = replace(race.arm, recipe=recipe.with_images(whole))
    file = workshop.folder / f"{place}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    plan.folder.write_json(file, to_dict(trial.recipe))
    jobs = {}
    for seed in settings["tune_seeds"]:
        title = f"{race.arm.name} trial {one + 1}"
        job = workshop.make_job(trial, f"{place}-seed-{seed}", seed, title=title, recipe=f"{place}.json")
        jobs[seed] = job.until(images) if images < whole else job
    return jobs


def _measure(
    jobs: Mapping[int, Job], facts: dict[str, Any], last: bool, protocols: list[Mapping[str, Any]],
    settings: Mapping[str, Any], workshop: Workshop,
) -> dict[str, float]:  # fmt: skip
    """Evaluate the runs of a trial, and return their values by seed; add costs, and why a run has no value, to `facts`.

    A run that has not begun to train counts as failed in the `last` stage alone; before, its value shows how it is.
    `protocols` gets those of the values. Raises UserError if they differ.
    """
    from frugan.engine.run import RunFolder

    values = {}
    for seed, job in jobs.items():
        run = RunFolder(job.folder)
        timed = [line for line in run.lines(run.log) if "seconds" in line]
        images = job.images_shown()
        # A short run has a good part of its rounds after its last log point.
        took = timed[-1]["seconds"] * images / timed[-1]["images"] if timed else None
        facts["costs"][job.folder.name] = {"images": images, "seconds": took}
        untrained = job.why_untrained() if last else None
        why = job.why_failed() or (untrained and f"did not train: {untrained}")
        if why is not None:
            facts["why"] = facts["why"] or why
            continue
        workshop.say(f"Evaluating {job.title} after {images:,} images.")
        value = workshop.evaluate(run, **choose_evaluation(settings))[0]
        protocols.append(value["protocol"])
        apart = evaluation.unequal(protocols)
        if apart:
            raise UserError(
                f"The trials were measured differently, so they cannot be compared: {'; '.join(apart)}. Begin a new "
                "comparison with another --out."
            )
        number = float(value["values"][value["headline"]])
        if not math.isfinite(number):
            facts["why"] = facts["why"] or f"its {settings['primary']} is {number}"
            continue
        values[str(seed)] = number
    return values


def _add(one: float | None, other: float | None) -> float | None:
    """The sum of two times; None if one is unknown, as for a run that ended before its first log point."""
    return None if one is None or other is None else one + other


def _plan_in_words(races: Sequence[_Race], settings: Mapping[str, Any]) -> str:
    """How many trials there are and how long they are, of the first arm."""
    (count, first), *later = races[0].stages
    further = "".join(f", {left} of them to {images:,}" for left, images in later)
    trial = "1 trial" if count == 1 else f"{count} trials"
    return f"{trial} of each, {first:,} images{further} (seeds {settings['tune_seeds']})"


def _in_words(facts: Mapping[str, Any]) -> str:
    """What was chosen, and what the unchanged recipe gave after as many images."""
    tried = facts["tried"]
    best, first = tried[facts["chosen"]], tried[0]
    reached = [stage for stage in best["stages"] if stage["value"] is not None]
    if not reached or best["why"] is not None:
        return "no trial has a value at its end, so the recipe stays unchanged"
    said = f"{reached[-1]['value']:.4g} after {reached[-1]['images']:,} images"
    if best is first:
        return f"best unchanged, {said}"
    both = [stage for stage in reached if value_at(first, stage["images"]) is not None]
    if not both:
        return f"best with {best['words']}, {said} (the unchanged recipe failed)"
    at = both[-1]
    beside = f"the unchanged recipe gave {value_at(first, at['images']):.4g}"
    if at is not reached[-1]:
        beside = f"after {at['images']:,} it had {at['value']:.4g}, and {beside}"
    return f"best with {best['words']}, {said} ({beside})"
