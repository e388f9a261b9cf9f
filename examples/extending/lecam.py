"""A penalty of your own that sees scores and keeps state: LeCam (Tseng et al. 2021, arXiv 2104.03310, eq. 4).

It penalises scores of real images that are far from the average score of fakes, and the other way round.
The averages are saved and resumed with the run, and are the same in all processes.

    frugan train mnist --code examples/extending/lecam.py penalties=lecam,weight=0.3 --data glyphs --images 60k
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from frugan import penalties
from frugan.penalties import Judgement


class LeCam:
    """Options: `weight`; `memory`, the share of an average that a round keeps; `start`, the images before it begins."""

    name, needs_scores = "lecam", True

    def __init__(self, *, weight: float = 0.3, memory: float = 0.99, start: int = 0, every: int = 1) -> None:
        self.weight, self.memory, self.start, self.every = weight, memory, start, every
        self.averages = {"real": torch.zeros(()), "fake": torch.zeros(())}

    def __call__(self, judgement: Judgement) -> Tensor:
        real, fake = judgement.real_scores, judgement.fake_scores
        for side, scores in (("real", real), ("fake", fake)):
            mean = judgement.mean(scores.mean())
            self.averages[side] = self.memory * self.averages[side].to(mean) + (1 - self.memory) * mean
        price = (real - self.averages["fake"]).square().mean() + (fake - self.averages["real"]).square().mean()
        return (self.weight * self.every if judgement.images >= self.start else 0.0) * price

    def state_dict(self) -> dict[str, Tensor]:
        """Both averages."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over both averages."""
        self.averages = dict(state)


penalties.add("lecam", LeCam)
