"""Inception Score: how sure a classifier is of each image, how varied all answers (Salimans et al. 2016, 1606.03498).

With the view `inception` it is the score of the literature; with a classifier of the data's own classes it ranges from
1 to their number. It looks at no real image, so a generator that repeats one good image of each class gets full marks.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import Metric
from frugan.registry import UserError


def compute(*, probabilities: Tensor, splits: int = 10, seed: int = 0) -> dict[str, float]:
    """``{"inception_score": mean, "inception_score_std": deviation}`` over splits of exp(mean KL(p(y|x) || p(y))).

    The deviation is the population's over the splits; it says nothing about training seeds.

    Args:
        probabilities: natural logarithms ``[count, classes]`` (log-softmax values); minus infinity stands for 0.
        splits: into how many equal parts (up to one image) the shuffled images are cut; each has a score of its own.
        seed: of the shuffle.

    Raises:
        UserError: fewer images than splits, NaN, or rows that are not the logarithms of probabilities.
    """
    if probabilities.ndim != 2 or splits < 1 or len(probabilities) < splits:
        raise UserError(
            f"inception_score: probabilities of the shape {list(probabilities.shape)} in {splits} splits; it takes "
            "[count, classes] with at least one image a split: make more images, or pass fewer splits."
        )
    logs = probabilities.detach().to("cpu", torch.float64)
    if not bool((logs.logsumexp(1).abs() < 1e-3).all()):  # NaN fails as well
        raise UserError(
            "inception_score: the rows are not logarithms of probabilities (their exponentials do not add up to 1); "
            "pass logits through torch.log_softmax(logits, 1)."
        )
    logs = logs[torch.randperm(len(logs), generator=seeds.generator(seed, "inception_score"))]
    bounds = [len(logs) * index // splits for index in range(splits + 1)]
    scores = torch.stack([_score(logs[start:stop]) for start, stop in itertools.pairwise(bounds)])
    return {"inception_score": float(scores.mean()), "inception_score_std": float(scores.std(correction=0))}


def _score(logs: Tensor) -> Tensor:
    """exp(H(mean p) - mean H(p)), which is exp(mean KL); 0 log 0 is 0."""
    return torch.exp(_entropy(logs.exp().mean(0)) - _entropy(logs.exp()).mean())


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


variant = Metric(
    "inception_score", compute, needs=("probabilities",), better="higher", headline="inception_score", least=1000
)
