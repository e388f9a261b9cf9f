"""Few labels: so many images of each class, chosen by a seed of their own; and labels taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frugan.batch import ImageShape
from frugan.data import Dataset, open_dataset
from frugan.registry import UserError

CLASSES = tuple("0123456789")
IMAGES = torch.arange(400).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).to(torch.uint8)
LABELS = torch.randint(0, 10, (400,), generator=torch.Generator().manual_seed(0))
WHOLE = Dataset("made", "train", ImageShape(1, 2, 2), IMAGES, LABELS, CLASSES, "hash")


def test_each_class_has_equally_many_and_the_seed_says_which():
    few = WHOLE.evenly(100)
    assert few.labels is not None
    assert few.labels.bincount().tolist() == [10] * 10
    again, other = WHOLE.evenly(100), WHOLE.evenly(100, seed=1)
    assert few.content_hash == again.content_hash != other.content_hash
    assert "100 even, seed 1" in other.title
    assert few.classes == WHOLE.classes


def test_sgan_sheet_section_4_25_labels_are_2_or_3_of_each_class():
    few = WHOLE.evenly(25)
    assert few.labels is not None
    assert sorted(few.labels.bincount().tolist()) == [2] * 5 + [3] * 5


def test_fewer_labels_are_among_more():
    def rows(count: int) -> set[bytes]:
        few = WHOLE.evenly(count)
        assert few.labels is not None
        return {bytes([int(image[0, 0, 0]), int(label)]) for image, label in zip(few.images, few.labels, strict=True)}

    assert rows(50) <= rows(100) <= rows(200)


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(UserError, match="has 10 classes, so give 10 images or more"):
        WHOLE.evenly(9)
    with pytest.raises(UserError, match=r"has only \d+ of '\d'. Give \d+ or fewer"):
        WHOLE.evenly(400)
    with pytest.raises(UserError, match="has no labels"):
        WHOLE.masked().evenly(20)


def test_masked_data_have_classes_and_no_labels():
    masked = WHOLE.masked()
    assert masked.labels is None
    assert (masked.classes, masked.conditions) == (CLASSES, 10)
    assert masked.images is WHOLE.images


def test_a_source_is_opened_with_few_labels(tmp_path):
    path = tmp_path / "noise.npz"
    images = np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(30) % 3)
    opened = open_dataset(str(path), even_limit=6, limit_seed=2)
    assert opened.labels is not None
    assert opened.labels.bincount().tolist() == [2, 2, 2]
    assert opened.content_hash == open_dataset(str(path)).evenly(6, 2).content_hash
