"""What is measured before the first run of the test: budgets in seconds, and the margin from pilot runs.

Pilots train the baseline with seeds outside the test, so that the margin is a number before any arm is judged. By
default it is what a tenth less training costs the baseline, and never less than the metric's own convention or than
twice the noise of evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from frugan import evaluation, metrics
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.jobs import Job, job_of
from frugan.registry import UserError

PILOT_SHARE = 0.9
TRIAL_ROUNDS = 200
Play = Callable[[Sequence[Job]], None]


def stageable(arms: Sequence[Arm]) -> bool:
    """Whether runs can stop on the way and be looked at without changing them: their schedules must not know the end,
    and their budget must count images."""
    from frugan import schedules

    chosen = [player.schedule for arm in arms for player in arm.recipe.players.values()]
    bound = any(schedules.find(one.name, **one.options).follows_the_end for one in chosen)
    return not bound and all(arm.recipe.rounds is None for arm in arms)


# -------------------------------------------------------------------------------------------------------- equal seconds


def seconds_asked(equal: str, arms: Sequence[Arm]) -> float | None:
    """The seconds that ``equal`` gives, None for those of the baseline. Raises UserError if it is none of this."""
    if equal == "seconds":
        seconds = None
    else:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s(?:econds)?", equal)
        if found is None or not float(found[1]):
            raise UserError(f"--equal {equal}: accepted are images, seconds (those of the baseline), or e.g. 600s.")
        seconds = float(found[1])
    counted = next((arm.name for arm in arms if arm.recipe.rounds is not None), None)
    if counted is not None:
        raise UserError(f"--equal {equal} sets the images of each arm, and '{counted}' counts rounds; give --images.")
    return seconds


def equal_seconds(
    folder: Path, arms: Sequence[Arm], seconds: float | None, extra: Sequence[str], play: Play
) -> tuple[list[Arm], dict[str, Any]]:
    """The arms with budgets in images that take equally long, by short trial runs of each at once or in turn.

    A budget in images keeps a run resumable and its end exact; what the runs really took is told with the results.
    """
    trials = {}
    for arm in arms:
        images = min(arm.recipe.images, TRIAL_ROUNDS * arm.recipe.batch_size)
        short = replace(arm.recipe, images=images)
        trials[arm.name] = job_of(folder, folder / "trials" / arm.folder, arm.name, short, arm.folder, 0, extra)
    play([job.until(job.images) for job in trials.values()])
    speeds = {name: _speed(job) for name, job in trials.items()}
    baseline = arms[0]
    budget = seconds or baseline.recipe.images / speeds[baseline.name]
    fitted = []
    for arm in arms:
        # An arm damaged by less training keeps its damage; all others have the same seconds, whatever was asked.
        share = arm.recipe.images / baseline.recipe.images if arm.is_damaged else 1.0
        images = max(arm.recipe.batch_size, round(budget * share * speeds[arm.name]))
        fitted.append(replace(arm, recipe=replace(arm.recipe, images=images)))
    images = {arm.name: arm.recipe.images for arm in fitted}
    return fitted, {"seconds": budget, "images_per_second": speeds, "images": images}


def _speed(job: Job) -> float:
    """Images a second of a trial, its first log point left out: the first rounds are slow."""
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    points = [(line["images"], line["seconds"]) for line in run.lines(run.log) if "seconds" in line]
    why = job.failure()
    if why is not None or len(points) < 2:
        raise UserError(
            f"The trial of '{job.title}', which measures its speed, "
            f"{f'failed: {why}. Mend that and add --retry-failed.' if why else 'was too short: give more --images.'}"
        )
    (first, begun), (last, ended) = points[0], points[-1]
    return (last - first) / max(ended - begun, 1e-9)


# --------------------------------------------------------------------------------------------------------------- margin


def margin_of_pilots(
    folder: Path, baseline: Arm, seeds: Sequence[int], extra: Sequence[str], play: Play,
    evaluating: Mapping[str, Any], say: Callable[[str], None],
) -> dict[str, Any]:
    """``{"margin", "margin_rule", "pilots"}``: what runs of the baseline outside the test say of how much matters.

    Args:
        evaluating: keyword arguments of `frugan.evaluate`, those of the test.
    """
    jobs = {
        seed: job_of(folder, folder / "pilots" / f"seed-{seed}", f"pilot {baseline.name}", baseline.recipe,
                     baseline.folder, seed, extra)
        for seed in seeds
    }  # fmt: skip
    budget, before = baseline.recipe.images, int(PILOT_SHARE * baseline.recipe.images)
    if stageable([baseline]):
        play([job.until(before) for job in jobs.values()])
        for job in jobs.values():
            look(job, before, budget, evaluating, say)
    play(list(jobs.values()))
    good = {seed: job for seed, job in jobs.items() if job.failure() is None}
    if not good:
        why = next(iter(jobs.values())).failure()
        raise UserError(f"Every pilot run of '{baseline.name}' failed: {why}. Mend that and add --retry-failed.")
    finals = {seed: evaluation.evaluate(job.folder, progress=say, **evaluating)[0] for seed, job in good.items()}
    primary = next(iter(finals.values()))
    say("Measuring the noise of evaluation on a pilot run.")
    noise = evaluation.noise(
        next(iter(good.values())).folder, **{**evaluating, "metrics": [primary["metric"]]}, progress=say
    )[primary["metric"]]
    full = {seed: float(value["values"][value["headline"]]) for seed, value in finals.items()}
    passed = {seed: known_value(jobs[seed], before, budget, value) for seed, value in finals.items()}
    short = {seed: value["number"] for seed, value in passed.items() if value is not None}
    found = margin_from(primary, short, full, noise.sd)
    return {
        **found,
        "pilots": {
            "metric": primary["metric"], "protocol": evaluation.shared(primary["protocol"]),
            "seeds": list(seeds), "values": {str(seed): value for seed, value in full.items()},
            "values_before": {str(seed): value for seed, value in short.items()}, "share_before": PILOT_SHARE,
            "evaluation_sd": noise.sd, "evaluations": list(noise.values),
        },
    }  # fmt: skip


def margin_from(
    primary: Mapping[str, Any], short: Mapping[int, float], full: Mapping[int, float], evaluation_sd: float
) -> dict[str, Any]:
    """The margin, the largest of what speaks for one, and the rule in words.

    Args:
        primary: a value of the primary metric, whose name, view and better direction count.
        short, full: pilot seed -> value after nine tenths of the training, and after all of it.
    """
    sign = 1 if primary["better"] == "lower" else -1
    both = [seed for seed in full if seed in short]
    mean = sum(full.values()) / len(full)
    candidates = []
    if both:
        lost = sum(sign * (short[seed] - full[seed]) for seed in both) / len(both)
        candidates.append((lost, "what a tenth less training costs the baseline"))
    rule = metrics.find(primary["metric"]).margin
    if rule is not None:
        least = rule(mean, primary["protocol"]["view"])
        candidates.append((least, f"the convention of {primary['metric']}"))
    candidates.append((2 * evaluation_sd, "twice the deviation of repeated evaluations"))
    largest = max(number for number, _ in candidates)
    listed = "; ".join(f"{number:.3g} {words}" for number, words in candidates)
    if largest <= 0:
        return {"margin": None, "margin_rule": f"none: {listed}"}
    return {
        "margin": float(f"{largest:.3g}"),
        "margin_rule": f"the largest of: {listed} (pilot seeds {', '.join(map(str, full))}, before the test)",
    }


# ----------------------------------------------------------------------------------------------------------- on the way


def look(
    job: Job, images: int, before: int, evaluating: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Measure a run in the primary metric if it stands between `images` and `before`; see `known_value`."""
    from frugan.engine import checkpoint
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    newest = checkpoint.newest(run.checkpoints) if run.exists() else None
    if newest is not None and images <= checkpoint.images_of(newest) < before and job.failure() is None:
        own: dict[str, Any] = {**evaluating, "metrics": evaluating["metrics"] and evaluating["metrics"][:1]}
        evaluation.evaluate(run, progress=say, **own)


def known_value(job: Job, images: int, before: int, like: Mapping[str, Any]) -> dict[str, Any] | None:
    """``{"images", "number"}``: what a run had first between `images` and `before`, measured as the value `like` was.

    None if it failed, or went further without being looked at. Other people may have measured it otherwise.
    """
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    for line in run.lines(run.metrics):
        if (
            line["metric"] == like["metric"] and images <= line["images"] < before
            and not evaluation.unequal([line["protocol"], like["protocol"]])
        ):  # fmt: skip
            return {"images": line["images"], "number": float(line["values"][line["headline"]])}
    return None
