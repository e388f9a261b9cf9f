"""A run's batches in float64, for benchmarks that check both sides in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from frugan.batch import Batch
from frugan.data import Batches


@dataclass
class InDefaultType:
    """The batches of a run with images in torch's default type, so that the whole run can be played in float64."""

    batches: Batches

    @property
    def taken(self) -> int:
        return self.batches.taken

    def take(self, stream: str, count: int) -> Batch:
        batch = self.batches.take(stream, count)
        return Batch(batch.images.to(torch.get_default_dtype()), batch.labels)
