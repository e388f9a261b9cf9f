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

    They are those of the sample. Earlier runs and artefacts have none; so that they give the images that they gave, the
    classes are taken in turn then, or there is no attribute at all.
    """
    if sample is None:
        return torch.arange(STANDING_BATCH) % size if classes else torch.zeros(STANDING_BATCH, size)
    words = sample.split()
    chosen = [words[row % len(words)] for row in range(number * STANDING_BATCH, (number + 1) * STANDING_BATCH)]
    return torch.tensor([int(word) if classes else [int(bit) for bit in word] for word in chosen])
