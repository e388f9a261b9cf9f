"""The sample of training labels that a run keeps, by which a conditional generator's batch norms are measured."""

from __future__ import annotations

import torch
from torch import Tensor

from frugan import seeds
from frugan.engine.average import STANDING_BATCH, STANDING_BATCHES

COUNT = STANDING_BATCH * STANDING_BATCHES


def sample_labels(labels: Tensor, seed: int) -> str:
    """Up to 512 of the labels ``[n]`` or ``[n, bits]``, drawn by seed, as words: a class number, or an image's bits."""
    drawn = labels[torch.randperm(len(labels), generator=seeds.generator(seed, "label sample"))[:COUNT]]
    return " ".join("".join(map(str, row)) for row in drawn.reshape(len(drawn), -1).tolist())


def standing_labels(sample: str | None, number: int, size: int, *, classes: bool) -> Tensor:
    """The labels of one of the batches that norms are measured on, by `number`; `size` is that of the condition.

    They are those of the sample. Earlier runs and artefacts have none; then they are the numbers of all classes, or no
    attribute at all.
    """
    rows = torch.arange(number * STANDING_BATCH, (number + 1) * STANDING_BATCH)
    if sample is None and classes:
        # A batch that can hold every class is always the same, so that earlier runs give the images that they gave.
        rows = rows % STANDING_BATCH if size <= STANDING_BATCH else rows
        return rows * max(size, COUNT) // COUNT % size
    if sample is None:
        return torch.zeros(STANDING_BATCH, size)
    words = sample.split()
    chosen = [words[row % len(words)] for row in rows.tolist()]
    return torch.tensor([int(word) if classes else [int(bit) for bit in word] for word in chosen])
