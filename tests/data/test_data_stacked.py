from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from frugan.data import Dataset, check, has_split, open_dataset
from frugan.data.readers import stacked
from frugan.data.readers.stacked import class_names
from frugan.registry import UserError


@pytest.fixture
def digits(tmp_path: Path) -> str:
    """Four classes of images, each image of its own: brightness tells the number, the corner the class."""
    arrays = {}
    for split, count in (("train", 40), ("test", 12)):
        images = np.full((count, 6, 6), 0, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None]
        labels = np.arange(count) % 4
        images[:, 0, 0] = 200 + labels
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    return f"{tmp_path / 'digits.npz'}"


def opened(source: str, **options: object) -> Dataset:
    return open_dataset(source, **options)  # pyrefly: ignore


def test_each_colour_is_an_image_of_the_source_and_the_label_its_three_classes(digits: str) -> None:
    dataset, singles = opened(f"stacked:200:{digits}"), opened(digits)
    assert dataset.shape == (3, 6, 6)
    assert dataset.images.shape == (200, 3, 6, 6)
    assert dataset.labels is not None
    assert dataset.name == "stacked npz digits"
    assert len(dataset.classes) == 64
    assert dataset.classes[1 * 16 + 2 * 4 + 3] == "1-2-3"
    numbers = dataset.images[:, :, 3, 3].long()
    assert torch.equal(dataset.images, singles.images[numbers.flatten()].reshape(200, 3, 6, 6))
    corners = dataset.images[:, :, 0, 0].long() - 200
    assert torch.equal(dataset.labels, corners @ torch.tensor([16, 4, 1]))
    assert len(numbers.unique()) == 40
    assert len(numbers.unique(dim=0)) > 190
    assert "as red, green and blue" in dataset.notes[0]


def test_the_same_ones_every_time_and_others_in_each_split(digits: str, tmp_path: Path) -> None:
    source = f"stacked:100:{digits}"
    one, other = opened(source), opened(source, cache=tmp_path / "elsewhere")
    assert one.content_hash == other.content_hash
    held_out = opened(source, split="test")
    assert held_out.images[:, :, 3, 3].max() < 12
    assert has_split(source, "test")
    assert opened(f"stacked:101:{digits}").content_hash != one.content_hash
    arrays = dict(np.load(digits))
    np.savez(tmp_path / "alike.npz", **{**arrays, "x_test": arrays["x_train"], "y_test": arrays["y_train"]})
    alike = [opened(f"stacked:100:{tmp_path / 'alike.npz'}", split=split) for split in ("train", "test")]
    assert not torch.equal(alike[0].images, alike[1].images)


def test_other_single_images_make_another_data_set(digits: str) -> None:
    before = opened(f"stacked:50:{digits}").content_hash
    arrays = dict(np.load(digits))
    arrays["x_train"] = arrays["x_train"] + 1
    np.savez(digits, **arrays)
    assert opened(f"stacked:50:{digits}").content_hash != before


def test_the_count_of_the_literature_unless_another_is_asked_for(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stacked.COUNTS == {"train": 128_000, "test": 26_000}
    monkeypatch.setattr(stacked, "COUNTS", {"train": 30, "test": 20})
    assert len(opened(f"stacked:{digits}")) == 30
    assert len(opened(f"stacked:{digits}", split="test")) == 20
    assert len(opened(f"stacked:{digits}", limit=7)) == 7


def test_size_is_that_of_the_single_images(digits: str) -> None:
    assert opened(f"stacked:10:{digits}", size=9).shape == (3, 9, 9)


def test_all_of_them_can_be_used(digits: str) -> None:
    report = check(f"stacked:25:{digits}")
    assert report.usable == report.total == 25


def test_names_are_in_the_order_of_the_numbers() -> None:
    assert class_names("01") == ("0-0-0", "0-0-1", "0-1-0", "0-1-1", "1-0-0", "1-0-1", "1-1-0", "1-1-1")


def test_what_cannot_be_stacked_is_said(digits: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((5, 6, 6), np.uint8))
    np.savez(tmp_path / "many.npz", images=np.zeros((22, 6, 6), np.uint8), labels=np.arange(22) % 11)
    with pytest.raises(UserError, match=r"has no class for each image. Give a source with labels"):
        opened(f"stacked:{tmp_path / 'bare.npz'}")
    with pytest.raises(UserError, match="has 11 classes, but stacking takes 2 to 10"):
        opened(f"stacked:{tmp_path / 'many.npz'}")
    with pytest.raises(UserError, match="64 classes, but stacking takes"):
        opened(f"stacked:5:stacked:5:{digits}")
    for empty in ("stacked:", "stacked:20:"):
        with pytest.raises(UserError, match=f"{empty}: nothing stands behind the colon"):
            opened(empty)
    with pytest.raises(UserError, match="type stacked:SOURCE or stacked:COUNT:SOURCE, with a count of 1"):
        opened(f"stacked:0:{digits}")
    with pytest.raises(UserError, match="there is no file, folder or named source"):
        opened("stacked:glyfs")
