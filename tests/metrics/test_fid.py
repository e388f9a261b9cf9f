from __future__ import annotations

import math

import numpy
import pytest
import scipy.linalg
import torch
from torch import Tensor

import frugan.metrics
from frugan.metrics import _features
from frugan.metrics.fid import frechet
from frugan.registry import UserError


def draw(count: int, width: int, seed: int = 0, rank: int | None = None) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width if rank is None else rank, generator=numbers, dtype=torch.float64)
    mixing = torch.randn(features.shape[1], width, generator=numbers, dtype=torch.float64)
    return features @ mixing / width**0.5 + torch.randn(width, generator=numbers, dtype=torch.float64)


def fid(real: Tensor, fake: Tensor) -> float:
    return frugan.metrics.fid.compute(real=real, fake=fake)["fid"]


def with_moments(mean: list[float], covariance: list[list[float]]) -> Tensor:
    """Four points whose sample mean and unbiased covariance are exactly those given (in two dimensions)."""
    values, vectors = numpy.linalg.eigh(numpy.array(covariance))
    root = vectors * numpy.sqrt(values) @ vectors.T
    corners = numpy.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * (3 / 4) ** 0.5
    return torch.tensor(corners @ root + numpy.array(mean), dtype=torch.float64)


def by_statistics(m1: list[float], s1: list[list[float]], m2: list[float], s2: list[list[float]]) -> float:
    return frechet(*(_features.Statistics(100, torch.tensor(m), torch.tensor(s)) for m, s in ((m1, s1), (m2, s2))))


def by_points(m1: list[float], s1: list[list[float]], m2: list[float], s2: list[list[float]]) -> float:
    """Four points by four in two dimensions are few against 2 x 2, so `compute` goes by covariances; see `by_few`."""
    return fid(with_moments(m1, s1), with_moments(m2, s2))


def by_few(m1: list[float], s1: list[list[float]], m2: list[float], s2: list[list[float]]) -> float:
    """Ten empty dimensions more turn `compute` to the form without a covariance matrix; the value stays."""
    real, fake = (torch.nn.functional.pad(with_moments(m, s), (0, 10)) for m, s in ((m1, s1), (m2, s2)))
    return fid(real, fake)


EYE, NOUGHT = [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]
every_form = pytest.mark.parametrize("distance", [by_statistics, by_points, by_few])


@every_form
def test_metrics_sheet_5_1_a_mean_shift_and_a_wider_covariance(distance) -> None:
    assert distance(NOUGHT, EYE, NOUGHT, EYE) == pytest.approx(0, abs=1e-9)
    assert distance(NOUGHT, EYE, [3.0, 4.0], EYE) == pytest.approx(25, abs=1e-9)
    assert distance(NOUGHT, EYE, NOUGHT, [[4.0, 0.0], [0.0, 4.0]]) == pytest.approx(2, abs=1e-9)


def test_metrics_sheet_5_1_in_three_dimensions() -> None:
    zero, eye = torch.zeros(3), torch.eye(3)
    distance = frechet(_features.Statistics(10, zero, eye), _features.Statistics(10, zero, 4 * eye))
    assert distance == pytest.approx(3, abs=1e-9)


@every_form
def test_metrics_sheet_5_2_diagonal_covariances(distance) -> None:
    value = distance([1.0, 2.0], [[1.0, 0.0], [0.0, 4.0]], NOUGHT, [[9.0, 0.0], [0.0, 16.0]])
    assert value == pytest.approx(13, abs=1e-9)


@every_form
def test_metrics_sheet_5_3_opposite_correlations(distance) -> None:
    value = distance(NOUGHT, [[2.0, 1.0], [1.0, 2.0]], NOUGHT, [[2.0, -1.0], [-1.0, 2.0]])
    assert value == pytest.approx(8 - 4 * math.sqrt(3), abs=1e-9) == pytest.approx(1.0717967697, abs=1e-9)


@every_form
def test_metrics_sheet_5_4_general_covariances(distance) -> None:
    value = distance([1.0, -1.0], [[4.0, 2.0], [2.0, 3.0]], NOUGHT, [[1.0, 0.5], [0.5, 2.0]])
    assert value == pytest.approx(3.1720184020, abs=1e-9)


@every_form
@pytest.mark.filterwarnings("error")
def test_metrics_sheet_5_5_rank_deficient(distance) -> None:
    assert distance(NOUGHT, [[1.0, 0.0], [0.0, 0.0]], NOUGHT, [[0.0, 0.0], [0.0, 1.0]]) == pytest.approx(2, abs=1e-9)


@pytest.mark.parametrize("empty", [0, 10])
def test_metrics_sheet_5_6_a_square_of_points(empty: int) -> None:
    square = torch.nn.functional.pad(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]), (0, empty))
    shift = torch.zeros(2 + empty)
    shift[0] = 1
    assert fid(square, square + shift) == pytest.approx(1, abs=1e-9)
    assert fid(square, 2 * square) == pytest.approx(14 / 3, abs=1e-9)


@pytest.mark.parametrize(("count", "width"), [(300, 16), (40, 64)])
def test_metrics_sheet_5_7_symmetry_rotation_and_scaling(count: int, width: int) -> None:
    real, fake = draw(count, width, 1), draw(count + 7, width, 2)
    rotation = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0]
    value = fid(real, fake)
    assert fid(fake, real) == pytest.approx(value, rel=1e-9)
    assert fid(real @ rotation, fake @ rotation) == pytest.approx(value, rel=1e-9)
    assert fid(3 * real, 3 * fake) == pytest.approx(9 * value, rel=1e-9)
    assert fid(real, real) == pytest.approx(0, abs=1e-6)


def reference(real: Tensor, fake: Tensor) -> float:
    """The formula with numpy's means and covariances and scipy's matrix root."""
    a, b = real.numpy(), fake.numpy()
    s1, s2 = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
    # The product's eigenvalues are those of a non-negative matrix: what is imaginary in their roots is rounding.
    overlap = numpy.sqrt(numpy.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + numpy.trace(s1) + numpy.trace(s2) - 2 * overlap)


@pytest.mark.parametrize(
    ("counts", "width", "rank"),
    [((500, 400), 64, None), ((500, 400), 64, 20), ((50, 60), 64, None), ((30, 40), 64, None)],
)
def test_agrees_with_numpy_and_torchmetrics(counts: tuple[int, int], width: int, rank: int | None) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.image.fid")
    real, fake = draw(counts[0], width, 3, rank), draw(counts[1], width, 4, rank)
    value = fid(real, fake)
    assert value == pytest.approx(reference(real, fake), rel=1e-6)
    theirs = torchmetrics._compute_fid(real.mean(0), real.T.cov(), fake.mean(0), fake.T.cov())
    assert value == pytest.approx(float(theirs), rel=1e-6)
    both = frechet(_features.collect([real]), _features.collect([fake]))
    assert value == pytest.approx(both, rel=1e-6)


def test_agrees_with_scipys_matrix_root_where_that_is_sound() -> None:
    real, fake = draw(500, 64, 3), draw(400, 64, 4)
    s1, s2 = real.T.cov().numpy(), fake.T.cov().numpy()
    root = scipy.linalg.sqrtm(s1 @ s2)
    expected = float((real.mean(0) - fake.mean(0)).square().sum()) + numpy.trace(s1 + s2 - 2 * root.real)
    assert fid(real, fake) == pytest.approx(float(expected), rel=1e-6)


def test_metrics_sheet_2_1_bias_in_the_number_of_images() -> None:
    width, count = 8, 500
    known = _features.Statistics(10**9, torch.zeros(width), torch.eye(width))
    numbers = torch.Generator().manual_seed(0)
    values = [frechet(known, _features.collect([torch.randn(count, width, generator=numbers)])) for _ in range(200)]
    assert sum(values) / len(values) == pytest.approx(width / count + width * (width + 1) / (4 * count), rel=0.05)


def test_metrics_sheet_5_24_streaming_statistics_equal_one_shot() -> None:
    features = draw(1003, 20, 5) + 1000  # far from zero, where the one-pass textbook formula cancels
    once = _features.collect([features])
    for size in (1, 7, 100):
        streamed = _features.collect(features.split(size))
        assert streamed.count == once.count == 1003
        assert torch.allclose(streamed.mean, once.mean, rtol=1e-10, atol=0)
        assert torch.allclose(streamed.covariance, once.covariance, rtol=1e-10, atol=1e-10)
    assert torch.allclose(once.covariance, features.T.cov(), rtol=1e-10, atol=1e-10)


def test_float32_features_lose_nothing_to_their_mean() -> None:
    real, fake = draw(400, 16, 6).float() + 100, draw(400, 16, 7).float() + 100
    assert fid(real, fake) == pytest.approx(reference(real.double(), fake.double()), rel=1e-9)


def test_a_collapsed_generator_has_a_value() -> None:
    real = draw(100, 4)
    assert fid(real, real.mean(0).expand(100, 4)) == pytest.approx(float(real.T.cov().trace()), rel=1e-9)


def test_features_without_a_value_are_named() -> None:
    good = draw(10, 4)
    broken = good.clone()
    broken[3, 2] = math.nan
    for metric in ("fid", "kid"):
        compute = frugan.metrics.find(metric).compute
        options = {} if metric == "fid" else {"subset_size": 2}
        with pytest.raises(UserError, match=f"^{metric}: 1 of 10 images of 'fake' have features .* finite .*number 3"):
            compute(real=good, fake=broken, **options)
        with pytest.raises(UserError, match="not finite"):
            compute(real=good / 0, fake=good, **options)
        with pytest.raises(UserError, match=f"^{metric}: 1 image in 'fake', but it needs 2 or more"):
            compute(real=good, fake=good[:1], **options)
        with pytest.raises(UserError, match="'real' has 4 features per image, but 'fake' has 3"):
            compute(real=good, fake=good[:, :3], **options)
        with pytest.raises(UserError, match="all 10 real images have equal features"):
            compute(real=good[:1].expand(10, 4), fake=good, **options)
        with pytest.raises(UserError, match=r"shape \[10\]\. Features must have the shape \[count, width\]"):
            compute(real=good[:, 0], fake=good, **options)
    with pytest.raises(UserError, match="too large for float64"):
        frugan.metrics.fid.compute(real=good * 1e200, fake=good)


def test_covariances_of_no_features_are_refused() -> None:
    impossible = torch.tensor([[1.0, 2.0], [2.0, 1.0]])  # an eigenvalue of -1
    with pytest.raises(UserError, match="fid: the distance is -2, which is impossible"):
        frechet(*2 * (_features.Statistics(10, torch.zeros(2), impossible),))
