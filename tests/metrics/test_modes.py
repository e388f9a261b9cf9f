from __future__ import annotations

import math

import numpy
import pytest
import scipy.stats
import torch

import frugan.metrics
from frugan.metrics.modes import covered
from frugan.registry import UserError


def told(*classes: int, of: int) -> torch.Tensor:
    """Log-probabilities of images of which a classifier is nearly sure."""
    odds = torch.full((len(classes), of), 0.1 / (of - 1), dtype=torch.float64)
    return odds.scatter_(1, torch.tensor(classes)[:, None], 0.9).log()


@pytest.mark.parametrize(
    ("counts", "modes", "divergence"),
    [((10, 0, 0, 0), 1, 1.386294), ((5, 5, 0, 0), 2, 0.693147), ((4, 3, 2, 1), 4, 0.106440)],
)
def test_metrics_sheet_5_19_counts(counts: tuple[int, ...], modes: int, divergence: float) -> None:
    classes = [place for place, count in enumerate(counts) for _ in range(count)]
    found = frugan.metrics.modes.compute(probabilities=told(*classes, of=4))
    assert found["modes"] == modes
    assert found["reverse_kl"] == pytest.approx(divergence, abs=1e-6)


def test_metrics_sheet_2_13_total_collapse_and_a_perfect_sampler() -> None:
    collapsed = covered(torch.tensor([26_000] + 999 * [0]))
    assert collapsed["reverse_kl"] == pytest.approx(6.9078, abs=1e-4)
    assert collapsed["modes"] == 1
    assert collapsed["reverse_kl_floor"] == pytest.approx(999 / (2 * 26_000), rel=0.01)
    assert collapsed["reverse_kl_floor"] == pytest.approx(0.0192, abs=4e-4)
    assert collapsed["modes_expected"] == pytest.approx(1000, abs=1e-6)
    perfect = covered(torch.full((1000,), 26))
    assert perfect["reverse_kl"] == pytest.approx(0, abs=1e-12)
    assert perfect["modes"] == 1000


@pytest.mark.parametrize("shares", [None, [1, 2, 3, 4, 10], [0.1, 0.2, 0.3, 0.35, 0.7]])
def test_what_chance_leaves_is_what_simulated_samplers_have(shares: list[float] | None) -> None:
    right = numpy.ones(5) if shares is None else numpy.array(shares)
    right = right / right.sum()
    draws = numpy.random.default_rng(0).multinomial(12, right, size=20_000)
    held = draws / 12
    divergences = numpy.where(draws > 0, held * numpy.log(numpy.maximum(held, 1e-300) / right), 0).sum(1)
    found = covered(torch.tensor(draws[0]), shares)
    error = divergences.std() / math.sqrt(len(draws))
    assert found["reverse_kl_floor"] == pytest.approx(divergences.mean(), abs=4 * error)
    assert found["modes_expected"] == pytest.approx((draws > 0).sum(1).mean(), abs=0.02)
    assert found["reverse_kl"] == pytest.approx(divergences[0], abs=1e-12)
    assert found["reverse_kl"] == pytest.approx(scipy.stats.entropy(held[0], right), abs=1e-12)


def test_each_image_counts_for_its_likeliest_class_however_unsure() -> None:
    rows = torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0]], dtype=torch.float64)
    found = frugan.metrics.modes.compute(probabilities=rows.log())
    assert (found["modes"], found["reverse_kl"]) == (3, 0)


def test_the_datas_own_shares_take_the_place_of_equal_ones() -> None:
    probabilities = told(0, 0, 0, 1, of=2)
    assert frugan.metrics.modes.compute(probabilities=probabilities, shares=[3000, 1000])["reverse_kl"] == 0
    assert frugan.metrics.modes.compute(probabilities=probabilities)["reverse_kl"] > 0.1


def test_what_has_no_value_is_refused() -> None:
    compute = frugan.metrics.modes.compute
    with pytest.raises(UserError, match=r"the shape \[0, 4\]. It needs \[count, classes\]"):
        compute(probabilities=torch.zeros(0, 4))
    with pytest.raises(UserError, match="two classes or more"):
        compute(probabilities=torch.zeros(3, 1))
    for row in ([0.5, 0.2], [math.nan, 0.5]):
        with pytest.raises(UserError, match="not logarithms of probabilities"):
            compute(probabilities=torch.tensor([row]).log())
    for shares in ([1.0, 2.0, 3.0], [1.0, 0.0], [1.0, math.nan]):
        with pytest.raises(UserError, match=r"there are 2 classes. Give one finite number above 0"):
            compute(probabilities=told(0, 1, of=2), shares=shares)
