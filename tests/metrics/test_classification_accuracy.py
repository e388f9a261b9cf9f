from __future__ import annotations

import itertools
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

import frugan.metrics
from frugan import classifying
from frugan.metrics.classification_accuracy import by_class, mixture
from frugan.registry import UserError

SETS = ("", "real_", "held_out_")


def bars(count: int, seed: int, contrast: int = 60) -> tuple[Tensor, Tensor]:
    """Images 8 x 8 of three classes (a bar above, in the middle, below) in noise, and their labels."""
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (count, 1, 8, 8), dtype=torch.uint8, generator=numbers)
    labels = torch.randint(3, (count,), generator=numbers)
    for label in range(3):
        images[labels == label, :, 3 * label : 3 * label + 2] += contrast
    return images, labels


def sets(count: int = 60, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for seed, name in enumerate(SETS):
        given[f"{name}pixels"], given[f"{name}labels"] = bars(count, seed)
    return {**given, **changes}


def compute(**given: Any) -> dict[str, float]:
    return frugan.metrics.classification_accuracy.compute(**given)


@pytest.fixture(scope="module")
def good() -> dict[str, float]:
    """What fakes have that are real images of other seeds."""
    return compute(**sets(120), shares=(0, 0.5, 1))


def test_metrics_sheet_2_11_fakes_as_good_as_real_images_leave_no_gap(good: dict[str, float]) -> None:
    assert list(good)[:6] == [
        "accuracy_at_0", "accuracy_at_0_std", "accuracy_at_0.5", "accuracy_at_0.5_std", "accuracy_at_1",
        "accuracy_at_1_std",
    ]  # fmt: skip
    assert min(good["accuracy_at_0"], good["accuracy_at_0.5"], good["accuracy_at_1"]) > 0.9
    assert abs(good["gap"]) < 0.05
    assert good["gap"] == pytest.approx(good["accuracy_at_0"] - good["accuracy_at_1"])
    assert good["accuracy_of_fakes"] > 0.9


def test_fakes_of_no_use_are_found_out(good: dict[str, float]) -> None:
    images, labels = bars(120, 0)
    swapped = torch.tensor([1, 0, 2])[labels]
    found = compute(**sets(120, pixels=images, labels=swapped), shares=(0, 1))
    assert found["accuracy_at_0"] == good["accuracy_at_0"]  # the fakes of other mixtures do not move it
    assert found["accuracy_at_1"] < 0.5
    assert found["gap"] > 0.4
    assert found["accuracy_of_class_0"] < 0.1
    assert found["accuracy_of_class_1"] < 0.1
    assert found["accuracy_of_class_2"] > 0.9
    assert found["accuracy_of_fakes"] == pytest.approx(float((labels == 2).float().mean()), abs=0.1)


def test_repeated_images_teach_less_than_different_ones() -> None:
    given = {}
    for seed, name in enumerate(SETS):
        given[f"{name}pixels"], given[f"{name}labels"] = bars(120, seed, contrast=30)
    different = compute(**given, shares=(0, 1))
    rows = torch.stack([(given["labels"] == label).nonzero()[0, 0] for label in range(3)]).repeat(40)
    repeated = {name: given[name][rows] for name in ("pixels", "labels")}
    found = compute(**{**given, **repeated}, shares=(0, 1))
    assert found["accuracy_of_fakes"] > 0.8
    assert found["gap"] > abs(different["gap"]) + 0.1


class Centroids:
    """In the place of a net: each image is told for the class with the nearest mean of those learnt from."""

    def __init__(self) -> None:
        self.learnt: list[Tensor] = []

    def train(self, images: Tensor, labels: Tensor, rows: Tensor, classes: int, *, seed: int, device: str) -> Tensor:
        self.learnt.append(rows)
        shown, answers = images[rows].double().flatten(1), labels[rows]
        return torch.stack([shown[answers == number].mean(0) for number in range(classes)])

    def classify(self, centres: Tensor, images: Tensor) -> Tensor:
        return torch.cdist(images.double().flatten(1), centres).argmin(1)


def test_agrees_with_scikit_learn_where_both_learn_class_means(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = pytest.importorskip("sklearn.neighbors")
    judge = Centroids()
    monkeypatch.setattr(classifying, "train", judge.train)
    monkeypatch.setattr(classifying, "classify", judge.classify)
    given = sets(60)
    given["pixels"] = given["pixels"] // 2 + bars(60, 9)[0] // 2
    found = compute(**given)
    flat = {name: given[f"{name}pixels"].double().flatten(1).numpy() for name in SETS}
    classes = {name: given[f"{name}labels"].numpy() for name in SETS}
    images, labels = (numpy.concatenate([part["real_"], part[""]]) for part in (flat, classes))
    right = numpy.array(
        [
            neighbours.NearestCentroid().fit(images[rows], labels[rows]).score(flat["held_out_"], classes["held_out_"])
            for rows in map(Tensor.numpy, judge.learnt)
        ]
    ).reshape(3, 5)
    for column, share in enumerate(("0", "0.25", "0.5", "0.75", "1")):
        assert found[f"accuracy_at_{share}"] == pytest.approx(right[:, column].mean(), abs=1e-12)
        assert found[f"accuracy_at_{share}_std"] == pytest.approx(right[:, column].std(), abs=1e-12)
    assert found["gap"] == pytest.approx((right[:, 0] - right[:, 4]).mean(), abs=1e-12)
    assert found["gap_std"] == pytest.approx((right[:, 0] - right[:, 4]).std(), abs=1e-12)
    on_real = neighbours.NearestCentroid().fit(flat["real_"], classes["real_"])
    assert found["accuracy_of_fakes"] == pytest.approx(on_real.score(flat[""], classes[""]), abs=1e-12)
    for number in range(3):
        of = classes[""] == number
        expected = on_real.score(flat[""][of], classes[""][of])
        assert found[f"accuracy_of_class_{number}"] == pytest.approx(expected, abs=1e-12)


def test_coursework_sheet_5_mixtures_have_equal_counts_and_keep_their_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Centroids()
    monkeypatch.setattr(classifying, "train", judge.train)
    monkeypatch.setattr(classifying, "classify", judge.classify)
    given = sets(60)
    compute(**{**given, "real_pixels": given["real_pixels"][:50], "real_labels": given["real_labels"][:50]})
    nets = [judge.learnt[start : start + 5] for start in (0, 5, 10)]
    for net in nets:
        assert [len(rows) for rows in net] == [50] * 5
        assert [int((rows >= 50).sum()) for rows in net] == [0, 12, 25, 38, 50]  # 12.5 and 37.5 to the even number
        assert all(len(rows.unique()) == 50 for rows in net)
        fakes = [set(rows[rows >= 50].tolist()) for rows in net]
        assert all(small <= large for small, large in itertools.pairwise(fakes))
    assert len({tuple(net[2].tolist()) for net in nets}) == 3


def test_mixture_takes_the_first_of_both() -> None:
    assert mixture(torch.arange(4), 10 + torch.arange(8), 0.5).tolist() == [0, 1, 10, 11]


def test_by_class_written_out() -> None:
    assert by_class(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 4])) == {0: 0.5, 1: 1, 4: 0}


def test_follows_the_seed_and_leaves_the_random_numbers_alone() -> None:
    given = sets(30)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, again = (compute(**given, shares=(0, 1)) for _ in range(2))
    other = compute(**given, shares=(0, 1), seed=1)
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "'labels' are missing. It needs labelled data and fakes that were made for labels"),
        ({"labels": torch.zeros(60, 4)}, r"'labels' are torch.float32 \[60, 4\] for 60 images. It needs one whole"),
        ({"labels": torch.full((60,), torch.nan)}, "'labels' are torch.float32"),
        ({"labels": torch.zeros(59, dtype=torch.int64)}, r"\[59\] for 60 images"),
        ({"labels": torch.full((60,), 3)}, "'labels' hold the class 3; the real images have classes 0 to 2"),
        ({"held_out_labels": torch.full((60,), 7)}, "'held_out_labels' hold the class 7"),
        ({"real_labels": torch.full((60,), -1)}, "'real_labels' hold the class -1; classes are numbered from 0"),
        ({"real_labels": torch.ones(60, dtype=torch.int64)}, "all real images have the same class"),
        ({"real_pixels": torch.zeros(60, 1, 8, 8, dtype=torch.uint8)}, "all 60 real images are equal"),
        ({"pixels": torch.zeros(60, 1, 8, 8)}, r"'pixels' is torch.float32 \[60, 1, 8, 8\]. It needs images as bytes"),
        ({"pixels": bars(60, 0)[0][:1]}, "1 image in 'pixels', but it needs 2 or more"),
        ({"pixels": torch.zeros(60, 1, 9, 8, dtype=torch.uint8)}, "real images are 1 x 8 x 8 and the fakes 1 x 9 x 8"),
        ({"held_out_pixels": torch.zeros(60, 3, 8, 8, dtype=torch.uint8)}, "the held-out ones are 3 x 8 x 8"),
        ({"shares": (0, 0.5)}, "shares of generated images from 0 to 1, with 0 and 1 among them"),
        ({"shares": (0, 1, 1.5)}, "shares of generated images from 0 to 1"),
        ({"nets": 2}, "nets=2, .* Give nets=3 or more"),
    ],
)
def test_what_has_no_value_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compute(**sets(60, **changes))


def test_long_images_leave_nothing_to_see() -> None:
    thin = {f"{name}pixels": bars(60, 0)[0].repeat(1, 1, 1, 20) for name in SETS}
    with pytest.raises(UserError, match="images of 8 x 160 are too narrow"):
        compute(**{**sets(60), **thin})
