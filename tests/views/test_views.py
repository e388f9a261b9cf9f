from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import frugan.views
from frugan.batch import ImageShape
from frugan.registry import UserError
from frugan.resizing import area
from frugan.views._resize import tensorflow1_bilinear
from frugan.views.pixels import MOST


def unlabelled(channels: int, height: int, width: int) -> SimpleNamespace:
    """As much of a data set as the view of pixels asks for."""
    return SimpleNamespace(shape=ImageShape(channels, height, width), name="unlabelled")


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", frugan.views.names())
def test_every_view_is_a_builder_of_its_name(name: str) -> None:
    builder = frugan.views.find(name)
    assert builder.name == name
    assert set(builder.needs) <= {"images", "labels", "weights"}
    assert (builder.convert is None) == (builder.weights_name == "")


def test_listing_views_imports_no_torch() -> None:
    code = "import sys, frugan.views as v; v.names(); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == "False"


def test_unknown_views_and_options_are_named() -> None:
    with pytest.raises(UserError, match=r"no view called 'pixel'. Did you mean 'pixels'"):
        frugan.views.build("pixel")
    with pytest.raises(UserError, match=r"View 'pixels' has no option 'sides'. Did you mean 'side'"):
        frugan.views.build("pixels", sides=3)
    with pytest.raises(UserError, match="Pass the data set"):
        frugan.views.build("pixels")


@pytest.mark.parametrize(
    ("shape", "width"),
    [((1, 28, 28), 256), ((3, 32, 32), 192), ((1, 8, 12), 96), ((2, 64, 64), 128), ((3, 64, 48), 192)],
)
def test_pixels_are_few_and_keep_their_mean(shape: tuple[int, int, int], width: int) -> None:
    view = frugan.views.build("pixels", dataset=unlabelled(*shape))
    images = noise(5, *shape)
    seen = frugan.views.extract(view, images)
    assert seen.features.shape == (5, width) == (5, view.width)
    assert width <= MOST
    assert seen.log_probabilities is None
    # Areas of one size: the mean of means is the mean of the image.
    assert torch.allclose(seen.features.mean(1), images.float().mean((1, 2, 3)) / 255, atol=1e-6)


def test_pixels_are_not_moved_by_a_callers_precision() -> None:
    view, images = frugan.views.build("pixels", dataset=unlabelled(1, 28, 28)), noise(5, 1, 28, 28)
    before = view.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(view.features(images), before)


def test_pixels_of_another_shape_are_refused() -> None:
    view = frugan.views.build("pixels", dataset=unlabelled(1, 28, 28), side=4)
    assert view.width == 16
    with pytest.raises(UserError, match=r"for images \[1, 28, 28\], but these are \[3, 28, 28\]"):
        view.features(noise(2, 3, 28, 28))


def test_area_counts_parts_of_pixels() -> None:
    row = torch.tensor([0.0, 3.0, 6.0]).view(1, 1, 1, 3)
    assert torch.allclose(area(row, 1, 2).flatten(), torch.tensor([1.0, 5.0]))
    assert torch.allclose(area(row, 1, 3), row)
    images = noise(2, 3, 12, 8).float()
    assert torch.allclose(area(images, 3, 2), torch.nn.functional.avg_pool2d(images, 4), atol=1e-4)


def test_metrics_sheet_5_22_tensorflow_1_bilinear() -> None:
    def resized(values: list[float], size: int) -> list[float]:
        across = torch.tensor(values).view(1, 1, 1, -1)
        down = tensorflow1_bilinear(across.transpose(2, 3), size, 1)
        across = tensorflow1_bilinear(across, 1, size)
        assert across.flatten().tolist() == down.flatten().tolist()
        return across.flatten().tolist()

    assert resized([0, 1], 4) == [0, 0.5, 1, 1]
    assert resized([0, 1, 2, 3, 4, 5, 6, 7], 2) == [0, 4]
    # What it must not be confused with: the other two rules of the sheet.
    for antialias, expected in ((False, [1.5, 5.5]), (True, [1.892857, 5.107143])):
        row = torch.arange(8.0).view(1, 1, 1, 8)
        other = torch.nn.functional.interpolate(row, (1, 2), mode="bilinear", antialias=antialias)
        assert other.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_tensorflow_1_bilinear_in_two_dimensions() -> None:
    images = noise(1, 2, 7, 5).float()
    made, height, width = tensorflow1_bilinear(images, 11, 13), 11, 13
    for row in range(height):
        for column in range(width):
            y, x = row * 7 / height, column * 5 / width
            (top, left), (dy, dx) = (int(y), int(x)), (y % 1, x % 1)
            bottom, right = min(top + 1, 6), min(left + 1, 4)
            upper = images[..., top, left] * (1 - dx) + images[..., top, right] * dx
            lower = images[..., bottom, left] * (1 - dx) + images[..., bottom, right] * dx
            assert torch.allclose(made[..., row, column], upper * (1 - dy) + lower * dy, atol=1e-3)


def test_extract_takes_chunks_as_they_come() -> None:
    view = frugan.views.build("pixels", dataset=unlabelled(1, 28, 28))
    images = noise(50, 1, 28, 28)
    whole = frugan.views.extract(view, images)
    assert len(whole.features) == 50
    chunked = frugan.views.extract(view, (part for part in images.split(13)), batch_size=7)
    assert torch.allclose(whole.features, chunked.features, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="given no images"):
        frugan.views.extract(view, [])
    with pytest.raises(UserError, match=r"these images are float32 \[50, 1, 28, 28\]"):
        frugan.views.extract(view, images.float())
    with pytest.raises(UserError, match=r"uint8 \[50, 28, 28\]"):
        frugan.views.extract(view, images[:, 0])


def test_the_cache_is_where_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert frugan.views.cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path))
    assert frugan.views.cache_folder() == tmp_path / "views"
    monkeypatch.delenv("FRUGAN_CACHE")
    assert frugan.views.cache_folder() == Path.home() / ".cache" / "frugan" / "views"
