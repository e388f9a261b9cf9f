"""Metrics of translations, on a handful of images whose numbers can be told by eye, and against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import frugan.metrics
from frugan.metrics.target_accuracy import paired_interval
from frugan.registry import UserError

OWN = torch.tensor([[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
ASKED = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]])  # the second of three hair colours


def labels(told: Any, source_told: Any = OWN, asked: Any = ASKED, own: Any = OWN) -> dict[str, Any]:
    return {"labels": asked, "source_labels": own, "told": told, "source_told": source_told}


def test_a_target_is_reached_where_all_that_was_to_change_has_changed() -> None:
    compute = frugan.metrics.target_accuracy.compute
    assert compute(**labels(ASKED))["target_accuracy"] == 1
    assert compute(**labels(ASKED))["before"] == 0
    told = ASKED.clone()
    told[0, 0] = 1  # black hair beside the blond one that was asked for
    told[1, 3] = 1  # another attribute, which is not this metric's affair
    assert compute(**labels(told))["target_accuracy"] == 0.75
    assert frugan.metrics.preservation.compute(**labels(told)) == {
        "preservation": 7 / 8, "before": 1.0,
    }  # fmt: skip


def test_classes_are_reached_where_the_class_is_told() -> None:
    given = labels(*map(torch.tensor, ([2, 2, 0, 2], [0, 1, 2, 1], [2, 2, 2, 2], [0, 1, 0, 1])))
    found = frugan.metrics.target_accuracy.compute(**given)
    assert (found["target_accuracy"], found["before"], found["rise"]) == (0.75, 0.25, 0.5)
    with pytest.raises(UserError, match="preservation: these labels have one class per image"):
        frugan.metrics.preservation.compute(**given)


def test_the_rise_and_its_interval_are_of_pairs() -> None:
    numbers = np.random.default_rng(0)
    after, before = numbers.random(400) < 0.7, numbers.random(400) < 0.2
    asked, own = torch.ones(400, dtype=torch.int64), torch.zeros(400, dtype=torch.int64)
    found = frugan.metrics.target_accuracy.compute(
        labels=asked, source_labels=own, told=torch.from_numpy(after).long(),
        source_told=torch.from_numpy(before).long(),
    )  # fmt: skip
    assert found["rise"] == pytest.approx(after.mean() - before.mean())
    # Half an image in each of the four cells, then the plain interval for a mean of differences.
    cells = np.array([[(after & before).sum(), (after & ~before).sum()], [(~after & before).sum(),
                      (~after & ~before).sum()]]) + 0.5  # fmt: skip
    shares = cells / cells.sum()
    rise = shares[0, 1] - shares[1, 0]
    half = 1.959964 * np.sqrt((shares[0, 1] + shares[1, 0] - rise**2) / cells.sum())
    assert (found["rise_low"], found["rise_high"]) == pytest.approx((rise - half, rise + half), abs=1e-6)


def test_the_interval_covers_the_true_rise() -> None:
    numbers, covered = np.random.default_rng(1), 0
    for _ in range(2000):  # 60 images, 0.1 found before and 0.25 more of the others afterwards
        before = numbers.random(60) < 0.1
        after = before | (numbers.random(60) < 0.25)
        low, high = paired_interval(int((after & ~before).sum()), 0, 60)
        covered += low <= 0.9 * 0.25 <= high
    assert 0.93 <= covered / 2000 <= 0.99
    low, high = paired_interval(0, 0, 100)
    assert low < 0 < high
    assert paired_interval(100, 0, 100)[0] > 0.9


def test_errors_are_mean_differences_in_levels() -> None:
    one = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    other = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = np.abs(one.numpy().astype(float) - other.numpy()).mean()
    found = frugan.metrics.reconstruction_error.compute(source_pixels=one, returned_pixels=other)
    assert found == {"reconstruction_error": pytest.approx(expected, rel=1e-12)}
    assert frugan.metrics.identity_error.compute(real_pixels=one, unchanged_pixels=one) == {"identity_error": 0}
    assert frugan.metrics.identity_error.compute(real_pixels=other, unchanged_pixels=one)["identity_error"] == (
        pytest.approx(expected, rel=1e-12)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (labels(ASKED[:3]), r"'told' \[3, 4\].*It needs four tables of one shape"),
        (labels(ASKED.float()), "some labels are floats"),
        (labels(*[ASKED[:1]] * 4), "1 translated images, but it needs 2 or more"),
        (labels(OWN, asked=OWN), "4 of 4 images were translated to the class that they already have"),
    ],
)
def test_what_has_no_accuracy_is_said(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        frugan.metrics.target_accuracy.compute(**given)


def test_images_that_are_no_pairs_are_refused() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(UserError, match="Each image is compared with the one in the same row"):
        frugan.metrics.reconstruction_error.compute(source_pixels=images, returned_pixels=images[:3])
    with pytest.raises(UserError, match="It needs images as bytes"):
        frugan.metrics.identity_error.compute(real_pixels=images, unchanged_pixels=images.float())
