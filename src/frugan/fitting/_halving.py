"""The race of candidates: all are trained a little, the better half further, and the last two to the end.

How many go on, and how far, is in `frugan.comparison.running.halving`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frugan import metrics
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.halving import SHARES, going_on, shown
from frugan.comparison.running.job import Job
from frugan.comparison.running.looks import may_be_part
from frugan.comparison.running.speed import find_speed, make_trial
from frugan.comparison.running.workshop import Workshop
from frugan.engine.run import RunFolder
from frugan.fitting._candidates import Candidate
from frugan.recipe import Recipe, to_dict
from frugan.registry import UserError

COUNT = 2000
"""How many images are made for a value before the last stage."""
PACE_ROUNDS = 60
"""How many rounds are trained first where minutes are the budget, to see how fast each candidate trains."""
SPARE = 0.9
"""The share of the minutes that is planned; the rest is for values and for what takes longer than it seemed."""


@dataclass
class Race:
    """The candidates and what is known of them.

    Attributes:
        images: how many real images the last stage has been shown at its end; None until it is known.
        values: for each stage that is done, by its share, the values by the candidate's name; None if it failed.
        over: the moment, as of `time.monotonic`, at which no further run is begun; None for never.
    """

    candidates: Sequence[Candidate]
    workshop: Workshop
    metric: str
    seed: int
    known: dict[str, Any]
    keep: Callable[[], None]
    over: float | None = None
    jobs: dict[tuple[str, int], Job] = field(default_factory=dict)

    def run(self, images: int, from_pace: bool) -> list[tuple[Candidate, dict[str, Any]]]:
        """Train and measure, and return the candidates of the last stage that was finished, the best first.

        `images` is the most that the last stage may be shown. With `from_pace`, it is as many as the time allows.

        Raises UserError if all candidates failed, or if the time is too short for one stage.
        """
        if "images" not in self.known:
            self.known["images"] = self._affordable(images) if from_pace else images
            self.keep()
        budget, left = self.known["images"], list(self.candidates)
        ranked: list[tuple[Candidate, dict[str, Any]]] = []
        for number, share in enumerate(SHARES):
            if number:
                left = [one for one, _ in ranked[: going_on(len(ranked))]]
            images = shown(share, budget, left[0].recipe.batch_size)
            values = self._stage(left, share, images, last=share == SHARES[-1])
            if values is None:
                self.workshop.say(f"The time is over; what was trained up to {ranked_at(ranked)} decides.")
                break
            sign = 1 if metrics.find(self.metric).better == "lower" else -1
            ranked = sorted(
                ((one, values[one.name]) for one in left if values[one.name] is not None),
                key=lambda pair: sign * number_of(pair[1]),
            )
            if not ranked:
                raise UserError(
                    f"None of {len(left)} candidates trained. {self._why(left)} Fix that, or give another recipe."
                )
        if not ranked:
            raise UserError("The minutes are too few to train even one candidate. Give more --minutes.")
        return ranked

    def _stage(self, left: Sequence[Candidate], share: float, images: int, last: bool) -> dict[str, Any] | None:
        """The values of a stage, by the candidate's name; None if the time does not suffice for it."""
        stages = self.known.setdefault("stages", {})
        stage = stages.setdefault(str(share), {"images": images, "values": {}})
        todo = [one for one in left if one.name not in stage["values"]]
        if todo and share != SHARES[0] and self._left() < self._needed(todo, images):
            return None
        jobs = {one.name: self._job(one, images) for one in todo}
        self.workshop.train(list(jobs.values()))
        for one in todo:
            stage["values"][one.name] = self._value(one, jobs[one.name], last)
            self.keep()
        return stage["values"]

    def _value(self, candidate: Candidate, job: Job, last: bool) -> dict[str, Any] | None:
        """The value of a candidate, a line of ``metrics.jsonl``; None if it failed."""
        why = job.why_failed() or job.why_untrained()
        if why is not None:
            self.known.setdefault("failed", {})[candidate.name] = why
            return None
        self.workshop.say(f"Evaluating {job.title}.")
        changed = {} if last else {"count": max(COUNT, metrics.find(self.metric).least)}
        value, *_ = self.workshop.evaluate(job.folder, metrics=[self.metric], **changed)
        if not math.isfinite(number_of(value)):
            self.known.setdefault("failed", {})[candidate.name] = f"{self.metric} is not finite"
            return None
        return {**value, "folder": str(job.folder.relative_to(self.workshop.folder))}

    def _job(self, candidate: Candidate, images: int) -> Job:
        """The job that trains a candidate up to so many images: a part of its run, or a run of its own."""
        recipe = candidate.recipe.with_images(self.known["images"])
        part = may_be_part(recipe, images)
        recipe = recipe if part else candidate.recipe.with_images(images)
        arm, place, file = self._begin(candidate, recipe, "run" if part else f"to-{images}")
        job = self.workshop.make_job(arm, place, self.seed, recipe=file)
        return job.until(images) if images < recipe.images else job

    def _trial(self, candidate: Candidate) -> Job:
        """The job that trains a candidate for a few rounds, to see how fast it trains."""
        arm, place, file = self._begin(candidate, candidate.recipe, "pace")
        return make_trial(arm, PACE_ROUNDS, place, self.seed, self.workshop, recipe=file)

    def _begin(self, candidate: Candidate, recipe: Recipe, name: str) -> tuple[Arm, str, str]:
        """The arm of a candidate's run of this name, its place, and the file with its recipe, which is written."""
        arm = Arm(candidate.name, replace(recipe, minutes=None))
        place = f"runs/{arm.folder}/{name}"
        file = f"{place}.json"
        folder = RunFolder(self.workshop.folder)
        (folder.path / file).parent.mkdir(parents=True, exist_ok=True)
        folder.write_json(folder.path / file, to_dict(arm.recipe))
        return arm, place, file

    def _affordable(self, most: int) -> int:
        """As many images as the time allows, by how fast each candidate trains in its first rounds."""
        paced = {one.name: self._trial(one) for one in self.candidates}
        self.workshop.say(f"Seeing how fast each of {len(paced)} candidates trains.")
        self.workshop.train(list(paced.values()))
        self.known["pace"] = {name: pace for name, job in paced.items() if (pace := find_speed(job)) is not None}
        if not self.known["pace"]:
            raise UserError(f"None of {len(paced)} candidates trained. {self._why(self.candidates)}")
        slowest = sorted((1 / pace for pace in self.known["pace"].values()), reverse=True)
        seconds, count = 0.0, len(slowest)  # for each image of the whole budget
        for number, share in enumerate(SHARES):
            before = SHARES[number - 1] if number else 0.0
            seconds += (share - before) * sum(slowest[:count]) / self.workshop.at_once
            count = going_on(count)
        affordable = int(SPARE * self._left() / seconds)
        least = 4 * max(one.recipe.batch_size for one in self.candidates)
        if affordable < least:
            raise UserError(
                f"The minutes are too few: {len(paced)} candidates could be shown {max(0, affordable)} images. Give "
                "more --minutes, or fewer --candidates."
            )
        self.workshop.say(f"The finalists can be shown {min(most, affordable):,} images in this time.")
        return min(most, affordable)

    def _needed(self, todo: Sequence[Candidate], images: int) -> float:
        """About how many seconds it takes to train these up to so many images; 0 if that is not known."""
        seconds = 0.0
        for one in todo:
            job = self._job(one, images)
            pace = find_speed(job)
            seconds += 0.0 if pace is None else (images - job.images_shown()) / pace
        return seconds / self.workshop.at_once

    def _left(self) -> float:
        return math.inf if self.over is None else self.over - time.monotonic()

    def _why(self, left: Sequence[Candidate]) -> str:
        known: Mapping[str, str] = self.known.get("failed", {})
        return next((f"{one.name}: {known[one.name]}." for one in left if one.name in known), "")


def number_of(value: Mapping[str, Any]) -> float:
    """The number of a value that decides."""
    return float(value["values"][value["headline"]])


def ranked_at(ranked: Sequence[tuple[Candidate, Mapping[str, Any]]]) -> str:
    """Where a ranking was measured, in words."""
    return f"{ranked[0][1]['images']:,} images" if ranked else "now"
