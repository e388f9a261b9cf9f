"""How fast a run trains, by its own log; and trials, which are trained for nothing else.

A trial's length is in rounds. A round may show many batches, and the log has a line for every so many rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job
from frugan.engine.observers import LOG_ROUNDS
from frugan.registry import UserError

if TYPE_CHECKING:
    from torch import nn

    from frugan.comparison.running.workshop import Workshop

LEAST_ROUNDS = 2 * LOG_ROUNDS
"""How many rounds a trial needs, since a speed is measured between two lines of its log."""


def make_trial(
    arm: Arm, rounds: int, place: str, seed: int, workshop: Workshop, *, recipe: str | None = None
) -> Job:
    """The job that trains an arm for so many rounds; `place` and `recipe` are as of `Workshop.make_job`."""
    short = replace(arm, recipe=replace(arm.recipe, rounds=rounds))
    return workshop.make_job(short, place, seed, options=("--rounds", str(rounds)), recipe=recipe)


def find_speed(job: Job) -> float | None:
    """Images per second of a run, after its first log point, because the first rounds are slow; None if not known."""
    from frugan.engine.run import RunFolder

    run = RunFolder(job.folder)
    points = [(line["images"], line["seconds"]) for line in run.lines(run.log) if "seconds" in line]
    if len(points) < 2:
        return None
    (first, begun), (last, ended) = points[0], points[-1]
    return (last - first) / max(ended - begun, 1e-9)


def check_steady(networks: Mapping[str, nn.Module], who: str, instead: str) -> None:
    """Check that the first rounds tell how long later ones take. Raises UserError if a network grows."""
    if any(hasattr(network, "grow") for network in networks.values()):
        raise UserError(
            f"{who}: its networks grow, so its first rounds are much faster than later ones and do not tell how long "
            f"it trains. {instead}"
        )
