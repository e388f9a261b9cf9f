from __future__ import annotations

import math

import prdc
import pytest
import torch
from torch import Tensor

import frugan.metrics

REALS, FAKES = (torch.tensor(points)[:, None] for points in ([0.0, 1.0, 2.0, 10.0], [0.5, 1.5, 3.0, 20.0]))


def draw(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute(real: Tensor, fake: Tensor, **options: int) -> dict[str, float]:
    return frugan.metrics.density_coverage.compute(real=real, fake=fake, **options)


def expected_coverage(reals: int, fakes: int, k: int) -> float:
    """Of sets of one distribution (arXiv 2002.09797, lemma 2)."""
    return 1 - math.prod((reals - i) / (reals + fakes - i) for i in range(1, k + 1))


def test_metrics_sheet_5_12_k1() -> None:
    assert compute(REALS, FAKES, k=1) == {"density": 1.25, "coverage": 1}


def test_metrics_sheet_5_13_k3() -> None:
    assert compute(REALS, FAKES, k=3) == {"density": 1.0, "coverage": 1}


def test_metrics_sheet_5_14_identical_sets() -> None:
    for features in (REALS, draw(100, 20), draw(100, 20).float() + 50):
        assert compute(features, features, k=1) == {"density": 1, "coverage": 1}


def test_metrics_sheet_5_15_a_collapsed_generator_covers_little() -> None:
    collapsed = compute(3 * draw(200, 16), 0.01 * draw(200, 16, 1) + 3)
    assert collapsed["coverage"] < 0.1
    assert compute(3 * draw(200, 16), 3 * draw(200, 16, 1))["coverage"] > 0.9


def test_metrics_sheet_2_4_expected_coverage_and_density() -> None:
    assert expected_coverage(10_000, 10_000, 5) == pytest.approx(0.96877, abs=5e-6)
    assert expected_coverage(50_000, 10_000, 5) == pytest.approx(0.59814, abs=5e-6)
    assert expected_coverage(10_000, 50_000, 5) == pytest.approx(0.99987, abs=5e-6)
    assert expected_coverage(100, 100, 5) == pytest.approx(0.97107, abs=5e-6)
    for counts in ((100, 100), (200, 50)):
        values = [
            compute(draw(counts[0], 2, 2 * i), draw(counts[1], 2, 2 * i + 1), equal_counts=False) for i in range(200)
        ]
        for key, expected in (("coverage", expected_coverage(*counts, 5)), ("density", 1.0)):
            found = torch.tensor([value[key] for value in values])
            assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 200**0.5)


@pytest.mark.parametrize(("counts", "width", "k"), [((300, 200), 16, 5), ((150, 400), 64, 3), ((250, 250), 8, 1)])
def test_agrees_with_prdc(counts: tuple[int, int], width: int, k: int) -> None:
    real, fake = draw(counts[0], width, 2), 0.8 * draw(counts[1], width, 3) + 0.3
    theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), k)
    ours = compute(real, fake, k=k, equal_counts=False)
    assert ours["density"] == pytest.approx(theirs["density"], abs=1e-9)
    assert ours["coverage"] == pytest.approx(theirs["coverage"], abs=1e-9)


def test_equal_counts_are_the_default() -> None:
    real, fake = draw(100, 2), draw(400, 2, 1)
    assert compute(real, fake)["coverage"] < compute(real, fake, equal_counts=False)["coverage"]
