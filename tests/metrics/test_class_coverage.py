from __future__ import annotations

import math

import pytest
import torch

from frugan.metrics import class_coverage
from frugan.registry import UserError


def logs(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_shares_of_four_images_written_out() -> None:
    rows = [[0.95, 0.05, 0.0], [0.9, 0.05, 0.05], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]]
    found = class_coverage.compute(probabilities=logs(rows))
    assert found["confident_share"] == 0.5
    assert found["smallest_share"] == 0.0
    assert found["classes_covered"] == pytest.approx(2 / 3)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["class_entropy"] == pytest.approx(entropy / math.log(3))


def test_even_and_sure_is_one_everywhere() -> None:
    found = class_coverage.compute(probabilities=torch.eye(10, dtype=torch.float64).log())
    assert found == {
        "confident_share": 1.0, "smallest_share": 0.1, "classes_covered": 1.0, "class_entropy": pytest.approx(1.0),
    }  # fmt: skip


@pytest.mark.parametrize("rows", [[[0.5, 0.2]], [[math.nan, 0.5]]])
def test_what_is_no_probability_is_refused(rows: list[list[float]]) -> None:
    with pytest.raises(UserError, match="not logarithms of probabilities"):
        class_coverage.compute(probabilities=logs(rows))


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="two classes or more"):
        class_coverage.compute(probabilities=torch.zeros(3, 1))
