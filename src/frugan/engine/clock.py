"""The progress of a run, in real images shown, and the random numbers that depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from frugan import seeds
from frugan.engine.processes import Processes


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
    """The progress of a run, as a game sees it; see `frugan.games.Progress`."""

    images: int
    rounds: int
    seed: int
    processes: Processes = field(default_factory=Processes)

    def generator(self, name: str) -> torch.Generator:
        """A generator of CPU random numbers, which depend on (seed, name, images) only."""
        return seeds.generator(self.seed, name, self.images)

    def share(self, whole: Tensor) -> Tensor:
        """This process's slice of something drawn for the whole batch."""
        return self.processes.share(whole)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes, detached. With it, a game decides the same in every process."""
        return self.processes.mean_(tensor.detach().clone())
