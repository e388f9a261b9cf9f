from __future__ import annotations

import numpy
import pytest
import torch
from torch import Tensor

from frugan.metrics import _neighbours
from frugan.metrics._neighbours import inside, nearest, radii


def draw(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_radii(features: Tensor, k: int) -> numpy.ndarray:
    """Every distance by differences, row by row."""
    table = features.numpy()
    rows = [numpy.sqrt(((table - row) ** 2).sum(1)) for row in table]
    return numpy.array([numpy.sort(numpy.delete(row, place))[k - 1] for place, row in enumerate(rows)])


@pytest.mark.parametrize("k", [1, 3, 5])
def test_radii_are_those_of_plain_differences_whatever_the_blocks(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = draw(70, 40)
    whole = radii(features, k)
    assert numpy.allclose(whole.numpy(), plain_radii(features, k), rtol=1e-13, atol=0)
    monkeypatch.setattr(_neighbours, "_BLOCK", 200)
    assert torch.equal(radii(features, k), whole)


def test_near_duplicates_keep_their_distances() -> None:
    # Pairs a hundred-millionth apart, far from the origin: |a|^2 + |b|^2 - 2 a'b has nothing left of their distances,
    # in float64 and less so in float32.
    originals = draw(40, 30) + 1000
    features = torch.cat([originals, originals + 1e-8 * draw(40, 30, 1)])
    found = radii(features, 1)
    assert float(found.max()) < 1e-6
    assert numpy.allclose(found.numpy(), plain_radii(features, 1), rtol=1e-12, atol=0)
    squares = features.square().sum(1)
    naive = (squares[:, None] + squares - 2 * features @ features.T).fill_diagonal_(torch.inf).min(1).values
    assert not numpy.allclose(naive.clamp_min(0).sqrt().numpy(), plain_radii(features, 1), rtol=0.1)


def test_which_of_several_near_duplicates_is_the_nearest_is_not_left_to_rounding() -> None:
    """Five of each, a hundred-millionth apart: the products' rounding is far more than all of their distances."""
    originals = (draw(12, 30) + 1000).repeat_interleave(5, 0)
    features = originals + 1e-8 * draw(60, 30, 1)
    for k in (1, 2, 3):
        assert numpy.allclose(radii(features, k).numpy(), plain_radii(features, k), rtol=1e-12, atol=0)
    points = originals[::5] + 1e-8 * draw(12, 30, 2)
    table = numpy.sqrt(((points.numpy()[:, None] - features.numpy()) ** 2).sum(2))
    found = nearest(points, features)
    assert found.rows.tolist() == table.argmin(1).tolist()
    assert numpy.allclose(found.distances.numpy(), table.min(1), rtol=1e-12, atol=0)


def test_copies_are_at_no_distance_and_an_image_is_not_its_own_neighbour() -> None:
    features = torch.cat([draw(20, 8), draw(20, 8)[:5], draw(1, 8, 3).expand(30, 8)])
    first, second = radii(features, 1), radii(features, 2)
    assert (first == 0).tolist() == [True] * 5 + [False] * 15 + [True] * 35
    assert (second == 0).tolist() == [False] * 25 + [True] * 30


def test_what_lies_at_the_radius_is_outside_also_after_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    centres = draw(60, 50, 1) + 3
    around = radii(centres, 3)
    # Each ball's third neighbour lies at its radius exactly, so it holds its centre and two others, for any blocks.
    for block in (2**22, 300, 60):
        monkeypatch.setattr(_neighbours, "_BLOCK", block)
        assert inside(centres, centres, around).of_balls.tolist() == [3] * 60
        assert int(inside(centres, centres, around).of_points.sum()) == 180
    assert inside(centres, centres, around * (1 + 1e-15)).of_balls.tolist() == [4] * 60


def test_a_collapsed_set_has_empty_neighbourhoods() -> None:
    same = draw(1, 20).expand(500, 20).contiguous()  # so many ties that all distances are taken one by one
    assert not radii(same, 3).any()
    assert not inside(same, same, radii(same, 3)).of_points.any()
