"""Odd images: each converted by its stated rule, or set aside with its reason."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frugan.data._convert import Unusable, convert


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def grey(value: int, size: tuple[int, int] = (4, 4)) -> Image.Image:
    return Image.new("L", size, value)


def test_grey_stays_grey_and_colour_is_three_channels() -> None:
    assert convert(encoded(grey(7)), None, None).pixels.shape == (1, 4, 4)
    red = convert(encoded(Image.new("RGB", (5, 4), (255, 0, 0))), None, None).pixels
    assert red.shape == (3, 4, 5)
    assert red[:, 0, 0].tolist() == [255, 0, 0]
    assert convert(encoded(Image.new("1", (4, 4), 1)), None, None).pixels.tolist() == np.full((1, 4, 4), 255).tolist()


def test_channels_asked_for_are_made() -> None:
    assert convert(encoded(grey(7)), None, 3).pixels[:, 0, 0].tolist() == [7, 7, 7]
    green = convert(encoded(Image.new("RGB", (4, 4), (0, 255, 0))), None, 1).pixels
    assert green.shape == (1, 4, 4)
    assert green[0, 0, 0] == 150


def test_sixteen_bits_are_scaled_by_their_range_and_not_clipped() -> None:
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert convert(encoded(Image.fromarray(values)), None, None).pixels[0, 0].tolist() == [0, 1, 128, 255]
    assert convert(encoded(Image.fromarray(values), "TIFF"), None, None).pixels[0, 0].tolist() == [0, 1, 128, 255]


def test_palette_and_cmyk_become_rgb() -> None:
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(4)
    assert palette.mode == "P"
    assert convert(encoded(palette, "GIF"), None, None).pixels[:, 0, 0].tolist() == [10, 200, 30]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = convert(encoded(cmyk, "JPEG", quality=100), None, None).pixels[:, 0, 0]
    assert red.shape == (3,)
    assert red[0] > 240
    assert red[1] < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    clear = Image.new(mode, (4, 4), 0)
    pixels = convert(encoded(clear), None, None).pixels
    assert pixels.shape[0] == (3 if mode == "RGBA" else 1)
    assert pixels.min() == 255


def test_transparency_of_a_palette_is_composited_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 9, 9, 9])
    pixels = convert(encoded(image, "PNG", transparency=0), None, None).pixels
    assert pixels.shape == (3, 4, 4)
    assert pixels.min() == 255


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, :4] = 255
    turned = convert(encoded(Image.fromarray(pixels), "PNG", exif=exif), None, None).pixels
    assert turned.shape == (1, 8, 4)
    assert turned[0, :4].min() == 255
    assert turned[0, 4:].max() == 0


def test_of_an_animated_image_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert convert(data, None, None).pixels[:, 0, 0].tolist() == [255, 0, 0]


def test_the_longer_side_is_cropped_at_the_centre() -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 200
    fitted = convert(encoded(Image.fromarray(pixels)), (4, 4), None)
    assert fitted.pixels.shape == (1, 4, 4)
    assert fitted.pixels.min() > 180
    assert not fitted.enlarged


def test_shrinking_averages_and_does_not_alias() -> None:
    stripes = np.tile(np.array([[0, 255]], np.uint8), (64, 32))
    assert abs(convert(encoded(Image.fromarray(stripes)), (8, 8), None).pixels.astype(int) - 127).max() <= 6


def test_enlarging_is_told() -> None:
    assert convert(encoded(grey(5)), (8, 8), None).enlarged
    assert not convert(encoded(grey(5)), (4, 4), None).enlarged


def test_arrays_of_the_right_shape_pass_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    assert np.array_equal(convert(pixels, None, None).pixels, pixels.transpose(2, 0, 1))
    assert convert(np.zeros((4, 4, 4), np.uint8), None, None).pixels.min() == 255  # clear, so white


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is no image at all", "not an image"),
        (encoded(NOISE)[:2000], "truncated"),
        (encoded(NOISE, "JPEG")[:1500], "truncated"),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "floats"),
        (encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "32-bit"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_what_cannot_be_used_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        convert(data, (8, 8), None)


@pytest.mark.parametrize("limit", [30 * 30, 40 * 40])  # over Pillow's own error, and where it only warns
def test_decompression_bombs_are_set_aside(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(Unusable, match="decompression bomb"):
        convert(encoded(grey(0, (50, 50))), (8, 8), None)
