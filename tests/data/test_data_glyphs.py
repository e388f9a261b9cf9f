"""Glyphs: deterministic, labelled, balanced, in any size, every font with every glyph."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from frugan.data import check, has_split, open_dataset
from frugan.data.readers import glyphs
from frugan.registry import UserError


def drawn(kind: str, split: str, numbers: list[int], size: tuple[int, int]) -> np.ndarray:
    return np.stack(list(glyphs.draw(kind, split, numbers, size)))


def test_an_image_follows_from_its_split_and_number() -> None:
    some = drawn("digits", "train", [3, 40, 41], (28, 28))
    assert some.shape == (3, 28, 28, 1)
    assert some.dtype == np.uint8
    assert np.array_equal(some[1:2], drawn("digits", "train", [40], (28, 28)))
    assert not np.array_equal(some, drawn("digits", "test", [3, 40, 41], (28, 28)))


def test_a_glyph_can_be_drawn_a_little_differently() -> None:
    """Every factor changes it, and what moves right and down does so by the pixels that the range says."""
    random, like = glyphs.chances("digits", "test"), drawn("digits", "test", [4], (28, 28))[0, :, :, 0].astype(float)
    assert np.array_equal(next(glyphs.draw("digits", "test", [4], (28, 28), random))[:, :, 0], like)

    def centre(image: np.ndarray) -> np.ndarray:
        return np.array([(image.sum(axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)])  # column, row

    for name, column in glyphs.FACTORS.items():
        moved = random.copy()
        moved[4, column] += 0.25
        other = next(glyphs.draw("digits", "test", [4], (28, 28), moved))[:, :, 0].astype(float)
        assert np.abs(other - like).max() > 10, name
        if name in ("right", "down"):
            went = centre(other) - centre(like)
            assert went[int(name == "down")] == pytest.approx(0.25 * 4, abs=0.05)
            assert went[int(name == "right")] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("size", [(28, 28), (64, 64), (32, 48)])
def test_any_size_is_drawn_and_not_cut_off(size: tuple[int, int]) -> None:
    images = drawn("all", "train", list(range(72)), size)[..., 0]
    assert images.shape == (72, *size)
    assert (images.max(axis=(1, 2)) > 200).all()  # white, however thin the stroke
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert (border > 128).mean() < 0.002
    inked = images.mean(axis=(1, 2)) / 255
    assert inked.min() > 0.01
    assert inked.max() < 0.5


def test_strokes_vary() -> None:
    ones = drawn("digits", "train", list(range(1, 800, 10)), (28, 28))
    inked = ones.mean(axis=(1, 2, 3))
    assert inked.max() > 2 * inked.min()


def test_every_font_is_there_and_has_every_glyph() -> None:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in glyphs.FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", 40)
        missing = bytes(font.getmask("\ufffe"))
        shapes = {character: bytes(font.getmask(character)) for character in glyphs.KINDS["all"]}
        assert all(any(shape) and shape != missing for shape in shapes.values()), name
        assert len(set(shapes.values())) == 36, name


@pytest.mark.parametrize(("source", "classes"), [("glyphs", 10), ("glyphs:letters", 26), ("glyphs:all", 36)])
def test_the_kinds_have_their_classes_and_a_held_out_split(source: str, classes: int) -> None:
    assert has_split(source, "test")
    dataset = open_dataset(source, split="test", limit=360)
    assert dataset.labels is not None
    assert len(dataset.classes) == classes
    assert dataset.labels.unique().tolist() == list(range(classes))
    kind = "digits" if source == "glyphs" else source.removeprefix("glyphs:")
    assert dataset.title == f"glyphs-{kind} (test, 360 images, {dataset.content_hash[:8]})"


def test_asked_size_and_channels() -> None:
    dataset = open_dataset("glyphs", size=40, channels=3, limit=8)
    assert dataset.shape == (3, 40, 40)
    assert dataset.images.shape == (8, 3, 40, 40)
    assert not dataset.notes


def test_one_letter_alone() -> None:
    dataset = open_dataset("glyphs:letters", split="test", only=["Q"])
    assert dataset.name == "glyphs-letters[Q]"
    assert dataset.classes == ("Q",)
    assert len(dataset) in (384, 385)


def test_a_kind_that_is_not_there() -> None:
    with pytest.raises(UserError, match="Did you mean 'digits'"):
        open_dataset("glyphs:digit")


def test_all_of_them_can_be_used() -> None:
    report = check("glyphs", split="test", limit=100)
    assert report.usable == report.total == 100
    assert report.shapes == (((1, 28, 28), 100),)
