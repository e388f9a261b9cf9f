from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan.metrics.kid import discrepancy, kernel
from frugan.registry import UserError


def table(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def biased(real: Tensor, fake: Tensor) -> float:
    return float(kernel(real, real).mean() + kernel(fake, fake).mean() - 2 * kernel(real, fake).mean())


def u_statistic(real: Tensor, fake: Tensor) -> float:
    """Pairs with equal places left out everywhere, across the sets as well."""
    count = len(real)
    off = [matrix.sum() - matrix.trace() for matrix in (kernel(real, real), kernel(fake, fake), kernel(real, fake))]
    return float(off[0] + off[1] - 2 * off[2]) / (count * (count - 1))


def kid(real: Tensor, fake: Tensor) -> float:
    """The whole metric, with one subset that takes everything."""
    value = frugan.metrics.kid.compute(real=real, fake=fake, subsets=1, subset_size=len(real))
    assert "kid_std" not in value
    return value["kid"]


def test_metrics_sheet_5_8_two_points_each() -> None:
    real, fake = table((1, 0), (0, 1)), table((1, 1), (0, 0))
    assert kid(real, fake) == pytest.approx(-2.375, abs=1e-12)
    assert kid(real, real) == pytest.approx(-2.375, abs=1e-12)


def test_metrics_sheet_5_9_unbiased_biased_and_u_statistic() -> None:
    real, fake = table((0,), (1,), (2,)), table((1,), (2,), (3,))
    assert kid(real, fake) == pytest.approx(65 / 3, abs=1e-12)
    assert biased(real, fake) == pytest.approx(111, abs=1e-12)
    assert u_statistic(real, fake) == pytest.approx(79, abs=1e-12)
    assert kid(real, real) == pytest.approx(-70 / 3, abs=1e-12)
    assert biased(real, real) == u_statistic(real, real) == 0


def test_metrics_sheet_5_10_population_value() -> None:
    numbers = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(20_000, 1, generator=numbers, dtype=torch.float64) for _ in range(2))
    for shift, expected in ((0.5, 3.578125), (1.0, 22.0)):
        value = frugan.metrics.kid.compute(real=real, fake=fake + shift, subsets=60, subset_size=1000)
        assert value["kid"] == pytest.approx(expected, abs=4 * value["kid_std"] / math.sqrt(20))  # 20 disjoint subsets


def test_metrics_sheet_2_2_of_a_set_with_itself() -> None:
    features = torch.randn(50, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix, count = kernel(features, features), len(features)
    off = (matrix.sum() - matrix.trace()) / (count * (count - 1))
    assert float(discrepancy(features, features)) == pytest.approx(float(-2 / count * (matrix.trace() / count - off)))


def test_agrees_with_torchmetrics_on_one_subset() -> None:
    reference = pytest.importorskip("torchmetrics.image.kid")
    numbers = torch.Generator().manual_seed(2)
    real, fake = (torch.randn(60, 64, generator=numbers, dtype=torch.float64) + shift for shift in (0, 0.3))
    theirs = reference.poly_mmd(real, fake, degree=3, gamma=None, coef=1.0)
    assert kid(real, fake) == pytest.approx(float(theirs), rel=1e-9)


def test_is_invariant_to_rotation_order_and_names() -> None:
    numbers = torch.Generator().manual_seed(3)
    real, fake = (torch.randn(40, 6, generator=numbers, dtype=torch.float64) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=numbers, dtype=torch.float64))[0]
    assert kid(fake, real) == pytest.approx(kid(real, fake), rel=1e-9)
    assert kid(real @ rotation, fake @ rotation) == pytest.approx(kid(real, fake), rel=1e-9)
    assert kid(real.flip(0), fake.flip(0)) == pytest.approx(kid(real, fake), rel=1e-9)


def test_draws_follow_the_seed_and_nothing_else() -> None:
    numbers = torch.Generator().manual_seed(4)
    real, fake = (torch.randn(200, 3, generator=numbers) for _ in range(2))

    def compute(seed: int) -> dict[str, float]:
        return frugan.metrics.kid.compute(real=real, fake=fake, subsets=5, subset_size=50, seed=seed)

    torch.manual_seed(0)
    first, state = compute(0), torch.get_rng_state()
    torch.manual_seed(1)
    assert compute(0) == first != compute(1)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_images_for_a_subset_is_said() -> None:
    features = torch.randn(30, 3)
    with pytest.raises(UserError, match=r"of 1000 images, but there are 30 real .* subset_size=30"):
        frugan.metrics.kid.compute(real=features, fake=features)
    with pytest.raises(UserError, match="at least 1 subset of at least 2"):
        frugan.metrics.kid.compute(real=features, fake=features, subset_size=1)
