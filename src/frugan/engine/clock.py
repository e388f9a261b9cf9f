"""How far a run is, in real images shown; and the random numbers that follow from that."""

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

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes, detached. A game decides by such means: all processes alike."""
        return self.processes.mean_(tensor.detach().clone())
