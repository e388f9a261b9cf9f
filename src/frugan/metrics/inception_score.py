"""Inception Score: is a classifier sure of each image, and are its answers varied? (Salimans et al. 2016, 1606.03498)

With the view `inception` it is the score of the literature. With a classifier of the data's own classes it is from 1 to
the number of classes. It looks at no real image, so a generator that repeats one good image of each class gets the best
score.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.metrics._features import CHUNK
from frugan.metrics._probabilities import accept_probabilities
from frugan.registry import UserError


def compute(*, probabilities: Tensor, splits: int = 10, seed: int = 0) -> dict[str, float]:
    """``{"inception_score": mean, "inception_score_std": deviation}`` over splits of exp(mean KL(p(y|x) || p(y))).

    The deviation is the population deviation over the splits; of one split there is none. It says nothing about
    training seeds.

    Args:
        probabilities: natural logarithms ``[count, classes]`` (log-softmax values); minus infinity stands for 0.
        splits: how many parts the shuffled images are cut into, of equal size up to one image; each part gets a score.
        seed: for the shuffle.

    Raises:
        UserError: fewer images than splits, NaN, or rows that are not the logarithms of probabilities.
    """
    logs = accept_probabilities("inception_score", probabilities)
    if splits < 1 or len(logs) < splits:
        raise UserError(
            f"inception_score: the probabilities have the shape {list(probabilities.shape)}, for {splits} splits. It "
            "needs [count, classes] with at least one image for each split. Make more images, or pass fewer splits."
        )
    order = torch.randperm(len(logs), generator=seeds.generator(seed, "inception_score"))
    bounds = [len(logs) * index // splits for index in range(splits + 1)]
    scores = torch.stack([_score(logs, order[start:stop]) for start, stop in itertools.pairwise(bounds)])
    deviation = {"inception_score_std": float(scores.std(correction=0))} if splits > 1 else {}
    return {"inception_score": float(scores.mean()), **deviation}


def _score(logs: Tensor, rows: Tensor) -> Tensor:
    """exp(H(mean p) - mean H(p)) of these rows, which is exp(mean KL); 0 log 0 is 0."""
    total, entropies = torch.zeros(logs.shape[1], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in rows.split(CHUNK):
        probabilities = logs[part].double().exp()
        total += probabilities.sum(0)
        entropies += _entropy(probabilities).sum()
    return torch.exp(_entropy(total / len(rows)) - entropies / len(rows))


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


variant = Metric(
    "inception_score", compute, needs=("probabilities",), better="higher", headline="inception_score", least=1000
)
