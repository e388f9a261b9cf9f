from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import frugan.views
from frugan import data
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.evaluation.opening.view import suitable_view
from frugan.registry import UserError
from frugan.views import View, contrast


def unlabelled(count: int = 200, side: int = 12, channels: int = 1) -> Dataset:
    """Each image is a bright bar somewhere, in noise: what tells two of them apart is where it is and how long."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (count, channels, side, side), dtype=torch.uint8, generator=numbers)
    for image in images:
        row, column, high, wide = (torch.randint(1, side // 2, (4,), generator=numbers)).tolist()
        image[:, row : row + high, column : column + wide] += 150
    shape = ImageShape(channels, side, side)
    return Dataset("bars", "train", shape, images, None, (), f"ba25{count:012d}")


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrast, "STEPS", 60)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contrast")


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return frugan.views.build("contrast", dataset=unlabelled(), cache=cache)


def test_learns_to_find_copies_of_images_that_it_never_saw(view: View) -> None:
    """By chance it would find one in 39: held back are 20 images, each twice."""
    assert view.description["accuracy"] > 0.2
    assert view.description["accuracy_on"] == "20 images held back from training"
    assert (view.classes, view.attributes, view.width) == (0, 0, 128)
    seen = frugan.views.extract(view, unlabelled().images)
    assert seen.features.shape == (200, 128)
    assert seen.log_probabilities is None


def test_is_kept_and_found_again_and_deterministic(
    view: View, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    other, seed = (frugan.views.build("contrast", dataset=unlabelled(), cache=tmp_path, seed=seed) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert other.version == view.version != seed.version
    monkeypatch.setattr(contrast, "_learn", lambda *_: pytest.fail("it was trained again"))
    again = frugan.views.build("contrast", dataset=unlabelled(), cache=cache)
    assert (again.version, again.description) == (view.version, view.description)
    assert frugan.views.is_kept("contrast", unlabelled(), cache)


def test_a_damaged_net_is_said(view: View, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "copy")
    weights = next((tmp_path / "copy").iterdir()) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"is damaged or was saved by another version. Delete that folder"):
        frugan.views.build("contrast", dataset=unlabelled(), cache=tmp_path / "copy")


def test_sees_blur_and_noise_and_missing_images(view: View) -> None:
    """The distance of spoilt images grows with the fault, also where blur and noise leave means as they are."""
    real = unlabelled(400).images
    whole, other = real[:200], real[200:]

    def fid(images: torch.Tensor) -> float:
        features = [frugan.views.extract(view, one).features for one in (other, images)]
        return frugan.metrics.fid.compute(real=features[0], fake=features[1])["fid"]

    noise = torch.randn(whole.shape, generator=torch.Generator().manual_seed(1))
    noisy = [(whole + level * noise).round().clamp(0, 255).to(torch.uint8) for level in (0, 20, 60)]
    pooled = (torch.nn.functional.avg_pool2d(whole.float(), size, 1, size // 2) for size in (3, 5))
    blurred = [whole, *(one.to(torch.uint8) for one in pooled)]
    repeated = [whole, whole[:20].repeat(10, 1, 1, 1), whole[:4].repeat(50, 1, 1, 1)]
    for images in (noisy, blurred, repeated):
        values = [fid(one) for one in images]
        assert values == sorted(values)
        assert values[-1] > 2 * values[0]


def test_data_that_do_not_suit_it_are_looked_at_otherwise(tmp_path: Path) -> None:
    assert suitable_view(unlabelled()) == "contrast"
    assert suitable_view(unlabelled(19)) == "pixels"
    assert suitable_view(data.open_dataset("glyphs", limit=200)) == "classifier"
    with pytest.raises(UserError, match=r"needs 20 images or more, with sides of at least 8 pixels. Use --view pixels"):
        frugan.views.build("contrast", dataset=unlabelled(19), cache=tmp_path)
    with pytest.raises(UserError, match="Pass the data set"):
        frugan.views.build("contrast", cache=tmp_path)
    shape = ImageShape(3, 100, 70)
    look = contrast._view(contrast.network(shape), shape, {"weights": "0" * 64}, "cpu").look
    assert look(torch.zeros(2, 3, 100, 70, dtype=torch.uint8)).features.shape == (2, 128)
    with pytest.raises(UserError, match=r"trained on images \[3, 100, 70\], but these are \[3, 64, 64\]"):
        look(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
