"""How far a run is, in real images shown; and what follows from that: random numbers and schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from frugan import seeds
from frugan.engine.processes import Processes
from frugan.registry import UserError, suggest


@dataclass
class Clock:
    """The state of progress: real images shown over all processes, rounds played, seconds spent training."""

    images: int = 0
    rounds: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, float]:
        """Images, rounds and seconds."""
        return {"images": self.images, "rounds": self.rounds, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Set the clock to what `state_dict` gave."""
        self.images, self.rounds, self.seconds = int(state["images"]), int(state["rounds"]), float(state["seconds"])


@dataclass(frozen=True)
class Progress:
    """What a game may know of how far the run is; see `frugan.games.Progress`."""

    images: int
    rounds: int
    seed: int
    processes: Processes = field(default_factory=Processes)

    def generator(self, name: str) -> torch.Generator:
        """CPU random numbers that follow from (seed, name, images)."""
        return seeds.generator(self.seed, name, self.images)

    def share(self, whole: Tensor) -> Tensor:
        """This process's slice of something drawn for the whole batch."""
        return self.processes.share(whole)


SCHEDULES = {"constant": (), "linear": ("start", "end", "to"), "cosine": ("start", "end", "to")}


def check_schedule(name: str, options: Mapping[str, float]) -> None:
    """Raise UserError for an unknown schedule or option."""
    if name not in SCHEDULES:
        raise UserError(f"There is no schedule '{name}'. {suggest(name, SCHEDULES)}")
    for option in options:
        if option not in SCHEDULES[name]:
            raise UserError(f"The schedule '{name}' has no option '{option}'. {suggest(option, SCHEDULES[name])}")


def scheduled(name: str, options: Mapping[str, float], images: int, budget: int) -> float:
    """The factor on a rate after `images` real images: a pure function of progress.

    "linear" and "cosine" go from 1 at `start` images (0) to `to` (0.0) at `end` images (the run's budget).
    """
    if name == "constant":
        return 1.0
    start, end, to = options.get("start", 0), options.get("end", budget), options.get("to", 0.0)
    share = min(max((images - start) / max(end - start, 1), 0.0), 1.0)
    if name == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return 1 + (to - 1) * share


def follows_the_end(name: str, options: Mapping[str, float]) -> bool:
    """Whether a schedule depends on the run's budget, so that the run cannot be lengthened afterwards."""
    return name != "constant" and "end" not in options
