from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan.registry import UserError


def score(probabilities: Tensor, splits: int = 1, seed: int = 0) -> dict[str, float]:
    return frugan.metrics.inception_score.compute(probabilities=probabilities.log(), splits=splits, seed=seed)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 3),
        ([[1 / 3, 1 / 3, 1 / 3]] * 3, 1),
        ([[0.9, 0.1], [0.1, 0.9]], 1.4449348),
        ([[0.8, 0.2], [0.6, 0.4]], 1.0244514),
        ([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], 1.3455377),
    ],
)
def test_metrics_sheet_5_11_closed_forms(rows: list[list[float]], expected: float) -> None:
    value = score(torch.tensor(rows, dtype=torch.float64))
    assert value["inception_score"] == pytest.approx(expected, abs=1e-7)
    assert "inception_score_std" not in value


def test_factorised_sheet_9_11_inception_score() -> None:
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    for probabilities, expected in ((torch.eye(10), 10), (torch.full((10, 10), 0.1), 1), (rows, 1.317052)):
        assert score(probabilities)["inception_score"] == pytest.approx(expected, abs=1e-6)


def test_coursework_sheet_6_8_classifier_score_of_perfect_uniform_and_collapsed_predictions() -> None:
    sure = torch.eye(10)
    collapsed = sure[:1].expand(10, -1)
    for probabilities, expected in ((sure, 10), (torch.full((10, 10), 0.1), 1), (collapsed, 1)):
        assert score(probabilities)["inception_score"] == pytest.approx(expected, abs=1e-6)


def test_is_the_mean_over_splits_of_the_formula() -> None:
    logits = torch.randn(103, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    probabilities = logits.softmax(1)
    whole = score(probabilities)["inception_score"]
    divergence = (probabilities * (probabilities / probabilities.mean(0)).log()).sum(1).mean()
    assert whole == pytest.approx(math.exp(divergence), rel=1e-12)
    ten = score(probabilities, splits=10)
    assert 1 <= ten["inception_score"] <= 7
    assert ten["inception_score_std"] > 0
    assert ten == score(probabilities, splits=10) != score(probabilities, splits=10, seed=1)


def test_sorted_classes_do_not_matter_after_the_shuffle() -> None:
    sure = torch.eye(10, dtype=torch.float64).repeat_interleave(100, 0)
    assert score(sure, splits=10)["inception_score"] == pytest.approx(10, rel=0.1)


def test_the_spread_is_the_populations() -> None:
    three_and_one = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]], dtype=torch.float64)
    for seed in range(3):  # however they fall, one half is of one class (1) and the other of both (2)
        value = score(three_and_one, splits=2, seed=seed)
        assert value == pytest.approx({"inception_score": 1.5, "inception_score_std": 0.5})


def test_what_is_no_probability_is_refused() -> None:
    logits = torch.randn(20, 5)
    with pytest.raises(UserError, match=r"not logarithms of probabilities.*log_softmax"):
        frugan.metrics.inception_score.compute(probabilities=logits)
    with pytest.raises(UserError, match="not logarithms"):
        frugan.metrics.inception_score.compute(probabilities=torch.full((20, 5), math.nan))
    with pytest.raises(UserError, match=r"\[5, 5\], for 10 splits.*fewer splits"):
        frugan.metrics.inception_score.compute(probabilities=logits[:5].log_softmax(1))
