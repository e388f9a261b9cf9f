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


_FALLING = ("start", "end", "to", "hold", "steps")
SCHEDULES: dict[str, tuple[str, ...]] = {"constant": (), "linear": _FALLING, "cosine": _FALLING}


def check_schedule(name: str, options: Mapping[str, float]) -> None:
    """Raise UserError for an unknown schedule or option."""
    if name not in SCHEDULES:
        raise UserError(f"There is no schedule '{name}'. {suggest(name, SCHEDULES)}")
    for option in options:
        if option not in SCHEDULES[name]:
            raise UserError(f"The schedule '{name}' has no option '{option}'. {suggest(option, SCHEDULES[name])}")
    if not 0 <= options.get("hold", 0.0) < 1:
        raise UserError(f"The schedule '{name}' has hold={options['hold']}; it takes a share from 0 to below 1.")


def scheduled(name: str, options: Mapping[str, float], images: int, budget: int) -> float:
    """The factor on a rate after `images` real images: a pure function of progress.

    "linear" and "cosine" go from 1 at `start` images (0) to `to` (0.0) at `end` images (the run's budget). Of this way
    they stay at 1 for the share `hold` (0.0; 0.5 is the first half). With `steps`, the whole way is divided into so
    many parts of one value each, the part after the last being the first at `to`: so CycleGAN counts epochs.
    """
    if name == "constant":
        return 1.0
    start, end, to = options.get("start", 0), options.get("end", budget), options.get("to", 0.0)
    share = min(max((images - start) / max(end - start, 1), 0.0), 1.0)
    hold, steps = options.get("hold", 0.0), options.get("steps", 0)
    if steps:
        kept = hold * steps
        share = max(0.0, min(int(share * steps), steps - 1) + 1 - kept) / (steps + 1 - kept)
    elif hold:
        share = max(0.0, share - hold) / (1 - hold)
    if name == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return 1 + (to - 1) * share


def follows_the_end(name: str, options: Mapping[str, float]) -> bool:
    """Whether a schedule depends on the run's budget, so that the run cannot be lengthened afterwards."""
    return name != "constant" and "end" not in options
