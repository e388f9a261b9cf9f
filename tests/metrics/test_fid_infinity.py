from __future__ import annotations

import numpy
import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan import seeds
from frugan.metrics.fid_infinity import extrapolate, subset_sizes
from frugan.registry import UserError


def draw(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute(real: Tensor, fake: Tensor, **options: int) -> dict[str, float]:
    return frugan.metrics.fid_infinity.compute(real=real, fake=fake, **options)


def test_metrics_sheet_2_1_infinity_sizes() -> None:
    assert subset_sizes(10_000, 15, 5000)[0] == 1000
    assert subset_sizes(80_000, 15, 5000)[0] == 5000
    assert subset_sizes(16, 15, 5000) == list(range(2, 17))
    for count in (50_000, 10_000, 3_333):
        sizes = subset_sizes(count, 15, 5000)
        assert len(sizes) == 15
        assert sizes[-1] == count
        assert numpy.abs(numpy.diff(sizes) - (count - sizes[0]) / 14).max() <= 1


def test_metrics_sheet_2_1_infinity_takes_the_bias_away() -> None:
    # Against a real set so large that what it adds itself is small: 8 / N + 72 / (4 N), 0.0001.
    real = draw(200_000, 8)
    fid, infinity = [], []
    for seed in range(30):
        fake = draw(500, 8, seed + 1)
        fid.append(frugan.metrics.fid.compute(real=real, fake=fake)["fid"])
        infinity.append(compute(real, fake)["fid_infinity"])
    assert numpy.mean(fid) == pytest.approx(0.052, rel=0.1)
    assert numpy.mean(infinity) == pytest.approx(0, abs=0.006)


def test_a_line_over_the_inverse_counts() -> None:
    counts = [10, 20, 50, 100]
    intercept, residual = extrapolate(counts, [3 + 40 / count for count in counts])
    assert intercept == pytest.approx(3, rel=1e-12)
    assert residual == pytest.approx(0, abs=1e-12)
    values = [7.0, 5.5, 3.0, 4.0]
    line = numpy.polyfit(1 / numpy.array(counts), values, 1)
    off = numpy.polyval(line, 1 / numpy.array(counts)) - values
    assert extrapolate(counts, values) == pytest.approx((line[1], numpy.sqrt((off**2).mean())), rel=1e-9)


def plain_distance(real: numpy.ndarray, fake: numpy.ndarray) -> float:
    s1, s2 = numpy.cov(real, rowvar=False), numpy.cov(fake, rowvar=False)
    overlap = numpy.sqrt(numpy.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((real.mean(0) - fake.mean(0)) ** 2).sum() + numpy.trace(s1 + s2) - 2 * overlap)


def test_agrees_with_numpy_on_the_same_subsets() -> None:
    real, fake = draw(700, 24) @ draw(24, 24, 1), draw(900, 24, 2) @ draw(24, 24, 3) + 0.5
    numbers, counts, values = seeds.generator(4, "fid_infinity"), subset_sizes(900, 15, 5000), []
    for count in counts:
        rows = torch.randperm(900, generator=numbers)[:count]
        values.append(plain_distance(real.numpy(), fake[rows].numpy()))
    expected = numpy.polyfit(1 / numpy.array(counts), values, 1)[1]
    assert compute(real, fake, seed=4)["fid_infinity"] == pytest.approx(expected, rel=1e-6)


def test_subsets_follow_the_seed_and_nothing_else() -> None:
    real, fake = draw(100, 3), draw(150, 3, 1)
    torch.manual_seed(0)
    first, state = compute(real, fake), torch.get_rng_state()
    torch.manual_seed(1)
    assert compute(real, fake) == first != compute(real, fake, seed=1)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_has_no_value_is_said() -> None:
    features = draw(30, 3)
    with pytest.raises(UserError, match=r"^fid_infinity: from 10 images .* cannot take 15 subsets of different sizes"):
        compute(features, features[:10])
    with pytest.raises(UserError, match=r"^fid_infinity: 1 image in 'fake', but it needs 2 or more"):
        compute(features, features[:1])
    with pytest.raises(UserError, match="30 of 30 images of 'real' have features that are not finite"):
        compute(features / 0, features)
    with pytest.raises(UserError, match="all 30 real images have equal features"):
        compute(features[:1].expand(30, 3), features)
    with pytest.raises(UserError, match="'real' has 3 features per image, but 'fake' has 2"):
        compute(features, features[:, :2])
    with pytest.raises(UserError, match="2 or more sizes of 2 or more images"):
        compute(features, features, sizes=1)
