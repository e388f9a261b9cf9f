from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

import frugan.metrics
import frugan.views
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.data.readers.stacked import class_names
from frugan.registry import UserError
from frugan.views import View
from frugan.views.stacked import suits


def bars(count: int) -> tuple[Tensor, Tensor]:
    """Images 8 x 8 of three classes (a bar above, in the middle, below) in noise, and their labels."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (count, 8, 8), dtype=torch.uint8, generator=numbers)
    labels = torch.arange(count) % 3
    for label in range(3):
        images[labels == label, 3 * label : 3 * label + 2] += 150
    return images, labels


def stacked(count: int = 400, singles: int = 150) -> Dataset:
    images, labels = bars(singles)
    rows = torch.randint(singles, (count, 3), generator=torch.Generator().manual_seed(1))
    return Dataset(
        name="stacked bars", split="train", shape=ImageShape(3, 8, 8), images=images[rows],
        labels=labels[rows] @ torch.tensor([9, 3, 1]), classes=class_names(("up", "mid", "low-down")),
        content_hash="0123456789abcdef",
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return frugan.views.build("stacked", dataset=stacked(), cache=cache)


def test_joint_probabilities_are_those_of_the_three_classes(view: View, cache: Path) -> None:
    data = stacked()
    seen = frugan.views.extract(view, data.images)
    assert seen.log_probabilities is not None
    assert seen.log_probabilities.shape == (400, 27) == (400, view.classes)
    assert seen.features.shape == (400, 384) == (400, view.width)
    assert torch.equal(seen.log_probabilities.argmax(1), data.labels)
    assert seen.log_probabilities.logsumexp(1).abs().max() < 1e-5
    joint = seen.log_probabilities.exp().reshape(400, 3, 3, 3)
    blue = frugan.views.build("stacked", dataset=data, cache=cache).look(data.images[:, [2, 2, 2]]).log_probabilities
    assert blue is not None
    assert torch.allclose(joint.sum((1, 2)), blue.exp().reshape(400, 3, 3, 3).sum((1, 2)), atol=1e-5)


def test_the_classifier_learns_from_each_single_image_once(view: View) -> None:
    red = stacked().images[:, 0]
    different = len(red.flatten(1).unique(dim=0))
    assert 100 < different < 150
    assert view.description["images"] == different - different // 10
    assert view.description["classes"] == ["up", "mid", "low-down"]
    assert view.version.startswith("stacked-classifier-")


def test_is_kept_and_found_again(view: View, cache: Path) -> None:
    announced: list[str] = []
    again = frugan.views.build("stacked", dataset=stacked(), cache=cache, announce=announced.append)
    assert again.version == view.version
    assert not announced


def test_metrics_sheet_2_13_modes_of_stacked_images(view: View) -> None:
    data = stacked()
    seen = frugan.views.extract(view, data.images)
    collapsed = frugan.views.extract(view, data.images[:1].expand(50, 3, 8, 8))
    even, one = (frugan.metrics.modes.compute(probabilities=s.log_probabilities) for s in (seen, collapsed))  # pyrefly: ignore
    assert even["modes"] == 27
    assert even["reverse_kl"] < 3 * even["reverse_kl_floor"]
    assert one["modes"] == 1
    assert one["reverse_kl"] == pytest.approx(3.295837, abs=1e-6)


def test_only_stacked_data_suit(view: View, cache: Path) -> None:
    data = stacked()
    assert suits(data)
    others = {
        "unlabelled": dataclasses.replace(data, labels=None),
        "grey": dataclasses.replace(data, shape=ImageShape(1, 8, 8)),
        "fewer": dataclasses.replace(data, classes=data.classes[:-1]),
        "cube": dataclasses.replace(data, classes=tuple("abcdefgh")),
        "unclassed": dataclasses.replace(data, classes=()),
    }
    assert not any(map(suits, others.values()))
    with pytest.raises(
        UserError, match=r"three labelled images in one, but stacked bars has none. Use data such as"
    ):
        frugan.views.build("stacked", dataset=others["grey"], cache=cache)
    with pytest.raises(UserError, match="no data were given"):
        frugan.views.build("stacked", cache=cache)
    with pytest.raises(UserError, match=r"for images \[3, 8, 8\], but these are \[1, 8, 8\]"):
        view.look(data.images[:, :1])
