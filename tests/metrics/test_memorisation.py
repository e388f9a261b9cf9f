from __future__ import annotations

import math

import numpy
import pytest
import scipy.stats
import torch
from torch import Tensor

import frugan.metrics
from frugan.metrics import _neighbours, memorisation
from frugan.metrics._neighbours import nearest, nearest_other, radii
from frugan.metrics.memorisation import authenticity, k_means, nearer, neighbours
from frugan.registry import UserError


def draw(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute(real: Tensor, fake: Tensor, held_out: Tensor | None, **options: int) -> dict[str, float]:
    return frugan.metrics.memorisation.compute(real=real, fake=fake, held_out=held_out, **options)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_metrics_sheet_5_18_authenticity() -> None:
    real, fake = column(0, 1, 5), column(0.1, 7, 3.2, 100)
    assert authenticity(nearest(fake, real), radii(real, 1)) == 25
    found = compute(real, fake, column(0.4, 3.2))
    assert found["authenticity"] == 25
    assert found["authenticity_held_out"] == 0
    assert found["authenticity_shortfall"] == 0
    assert compute(real, fake, column(100, 200))["authenticity_shortfall"] == 75
    assert found["nearest_fake"] == pytest.approx((1.8 + 2) / 2)
    assert found["nearest_held_out"] == pytest.approx((0.4 + 1.8) / 2)


def test_metrics_sheet_5_20_one_cell() -> None:
    fake, held_out = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0])
    assert nearer(fake, held_out) == pytest.approx(-1.745743, abs=1e-6)
    assert nearer(held_out, fake) == pytest.approx(2.182179, abs=1e-6)


def test_metrics_sheet_2_12_u_is_scipys_with_ties() -> None:
    numbers = torch.Generator().manual_seed(0)
    fake, held_out = (torch.randint(0, 30, (count,), generator=numbers).double() for count in (70, 41))
    u = scipy.stats.mannwhitneyu(fake.numpy(), held_out.numpy()).statistic
    expected = (u - (70 * 41 / 2 - 0.5)) / math.sqrt(70 * 41 * 112 / 12)
    assert nearer(fake, held_out) == pytest.approx(expected, abs=1e-12)


def plainly(real: Tensor, fake: Tensor, held_out: Tensor, cells: int) -> dict[str, float]:
    """The whole metric again, in float64 by differences, with the k-means and components of scikit-learn."""
    cluster = pytest.importorskip("sklearn.cluster")
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, y, z = (one.numpy() for one in (real, fake, held_out))

    def distances(one: numpy.ndarray) -> numpy.ndarray:
        return numpy.stack([numpy.sqrt(((x - row) ** 2).sum(1)) for row in one])

    own = distances(x)
    numpy.fill_diagonal(own, numpy.inf)
    of = {name: distances(one) for name, one in (("fake", y), ("held_out", z))}
    numbers = {}
    for name, table in of.items():
        numbers[f"nearest_{name}"] = numpy.median(table.min(1))
        tail = "" if name == "fake" else "_held_out"
        numbers[f"authenticity{tail}"] = 100 * (own.min(1)[table.argmin(1)] < table.min(1)).mean()
    if x.shape[1] > 64:
        components = decomposition.PCA(64, svd_solver="full").fit(x)
        x, y, z = (components.transform(one) for one in (x, y, z))
    model = cluster.KMeans(cells, n_init=20, random_state=0).fit(x)
    places, weights = [], []
    for cell in range(cells):
        near = [of[name].min(1)[model.predict(one) == cell] for name, one in (("fake", y), ("held_out", z))]
        n, m = map(len, near)
        if n > 20:
            u = scipy.stats.mannwhitneyu(*near).statistic
            places.append((u - (n * m / 2 - 0.5)) / math.sqrt(n * m * (n + m + 1) / 12))
            weights.append(m)
    return {**numbers, "c_t": float(numpy.average(places, weights=weights)), "c_t_cells": len(places)}


@pytest.mark.parametrize(("width", "copied"), [(6, 0.0), (80, 0.3)])
def test_agrees_with_scikit_learn_and_scipy(width: int, copied: float) -> None:
    # Four groups of unequal size, far enough apart that every k-means finds them.
    middles = 20 * draw(4, width, 9)
    real, fake, held_out = (
        draw(count, width, seed) + middles[torch.arange(count) % 7 % 4] for seed, count in enumerate((300, 210, 160))
    )
    taken = int(copied * len(fake))
    fake[:taken] = real[:taken] + 1e-3 * fake[:taken]
    found = compute(real, fake, held_out, cells=4)
    expected = plainly(real, fake, held_out, 4)
    assert found["c_t_cells"] >= 3
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_copies_are_found_fresh_images_are_not_and_bad_ones_gain_nothing() -> None:
    real, fresh, held_out = (draw(1000, 8, seed) for seed in range(3))
    copied = torch.cat([real[:300] + 1e-3 * draw(300, 8, 5), fresh[300:]])
    fakes = {"fresh": fresh, "copied": copied, "all copied": real + 1e-3 * fresh, "bad": fresh + 9}
    found = {name: compute(real, fake, held_out) for name, fake in fakes.items()}
    assert found["copied"]["authenticity_shortfall"] > 10
    assert found["all copied"]["authenticity"] == 0
    assert found["fresh"]["authenticity_shortfall"] < 6
    assert found["bad"]["authenticity"] == 100
    assert found["bad"]["authenticity_shortfall"] == 0
    assert abs(found["fresh"]["c_t"]) < 3
    assert found["copied"]["c_t"] < -5
    assert found["all copied"]["c_t"] < found["copied"]["c_t"]
    assert found["bad"]["c_t"] > 5
    assert found["all copied"]["nearest_fake"] < 0.01 < found["fresh"]["nearest_fake"]


def test_the_nearest_are_those_of_plain_differences_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Far from the origin, so that a product of matrices has nothing left of the distances of near copies.
    real, other = draw(70, 30) + 1000, draw(40, 30, 1) + 1000
    points = torch.cat([other, real[:40] + 1e-8 * draw(40, 30, 2), real[:3]])
    table = numpy.stack([numpy.sqrt(((real.numpy() - row) ** 2).sum(1)) for row in points.numpy()])
    for block in (2**22, 150):
        monkeypatch.setattr(_neighbours, "_BLOCK", block)
        found = nearest(points, real)
        assert numpy.allclose(found.distances.numpy(), table.min(1), rtol=1e-12, atol=0)
        assert found.rows.tolist() == table.argmin(1).tolist()
    assert found.rows.tolist()[40:] == [*range(40), 0, 1, 2]
    assert not found.distances[80:].any()


def test_the_nearest_other_one_is_never_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.cat([draw(50, 6), draw(50, 6)[:5], draw(20, 6, 1)])  # five are there twice
    table = numpy.stack([numpy.sqrt(((features.numpy() - row) ** 2).sum(1)) for row in features.numpy()])
    numpy.fill_diagonal(table, numpy.inf)
    for block in (2**22, 200):
        monkeypatch.setattr(_neighbours, "_BLOCK", block)
        found = nearest_other(features)
        assert found.rows.tolist() == table.argmin(1).tolist()
        assert numpy.allclose(found.distances.numpy(), table.min(1), rtol=1e-12, atol=0)
        assert torch.equal(found.distances, radii(features, 1))
    assert found.rows[:5].tolist() == [50, 51, 52, 53, 54]


def test_without_held_out_images_each_training_image_stands_for_a_new_one() -> None:
    found = compute(column(0, 1, 3, 7), column(0.1, 3.1), None)
    assert found == pytest.approx({
        "nearest_fake": 0.1, "nearest_training": 1.5, "authenticity": 0, "authenticity_training": 50,
        "authenticity_shortfall": 50,
    })  # fmt: skip
    real, fresh = draw(300, 5), draw(300, 5, 1)
    left_out = []
    for row in range(len(real)):
        rest = torch.cat([real[:row], real[row + 1 :]])
        left_out.append(authenticity(nearest(real[row : row + 1], rest), radii(rest, 1)))
    expected = sum(left_out) / len(left_out)
    assert compute(real, fresh, None)["authenticity_training"] == pytest.approx(expected, rel=1e-12)
    assert compute(real, fresh, None)["authenticity_shortfall"] < 10
    assert compute(real, real + 1e-3 * fresh, None)["authenticity_shortfall"] == pytest.approx(expected)


def test_the_first_of_equals_is_the_nearest() -> None:
    assert nearest(column(0.5, 2), column(3, 0, 1, 1, 0)).rows.tolist() == [1, 0]


def test_pairs_for_a_picture_are_told_of_pixels_too() -> None:
    images = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = neighbours(images.flatten(1), images[[7, 3]].flatten(1))
    assert found.rows.tolist() == [7, 3]
    assert found.distances.tolist() == [0, 0]


def test_k_means_keeps_the_best_of_its_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    features = draw(60, 2)  # one heap: where a search ends depends on where it began
    spreads = []
    for searches in (1, memorisation._RESTARTS):
        monkeypatch.setattr(memorisation, "_RESTARTS", searches)
        found = [torch.cdist(features, k_means(features, 6, seed)).square().min(1).values.sum() for seed in range(8)]
        spreads.append(torch.stack(found))
    assert (spreads[1] <= spreads[0]).all()
    assert (spreads[1] < 0.999 * spreads[0]).any()


def test_k_means_has_a_seed_and_takes_no_more_cells_than_there_are_features() -> None:
    features = draw(200, 4)
    assert torch.equal(k_means(features, 3, 0), k_means(features, 3, 0))
    assert k_means(features, 1, 0) == pytest.approx(features.mean(0, keepdim=True))
    assert sorted(k_means(column(1, 1, 2, 2, 2), 4, 0).flatten().tolist()) == [1, 2]


def test_a_collapsed_generator_has_a_value() -> None:
    real, held_out = draw(200, 5), draw(100, 5, 1)
    found = compute(real, real[:1].expand(50, 5), held_out)
    assert found["authenticity_shortfall"] == found["authenticity_held_out"] > 0
    assert found["c_t"] < -5
    # Where nothing real is near it, no cell can be compared in.
    apart = torch.cat([real, real[:30] + 1000])
    far = compute(apart, (real[:1] + 1000).expand(50, 5), held_out, cells=2)
    assert far["c_t_cells"] == 0
    assert "c_t" not in far


def test_what_has_no_value_is_refused() -> None:
    real, fake, held_out = draw(30, 4), draw(30, 4, 1), draw(30, 4, 2)
    with pytest.raises(UserError, match=r"1 of 30 images of 'held_out' have features that are not finite"):
        compute(real, fake, torch.cat([held_out, torch.full((1, 4), math.nan)])[1:])
    with pytest.raises(UserError, match="1 image in 'held_out', but it needs 2 or more"):
        compute(real, fake, held_out[:1])
    with pytest.raises(UserError, match="'real' has 4 features per image, but 'held_out' has 3"):
        compute(real, fake, held_out[:, :3])
    with pytest.raises(UserError, match="'real' has 4 features per image, but 'fake' has 3"):
        compute(real, fake[:, :3], held_out)
    with pytest.raises(UserError, match="all 30 real images have equal features"):
        compute(torch.ones(30, 4), fake, held_out)
    with pytest.raises(UserError, match="'held_out' are too large for float64"):
        compute(real, fake, held_out * 1e200)
    with pytest.raises(UserError, match=r"cells=0. Give 1 or more"):
        compute(real, fake, held_out, cells=0)
