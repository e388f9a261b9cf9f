"""Grids and films for people to look at."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frugan import pictures
from frugan.pictures import FILMS, check_film, grid, save_film
from frugan.registry import UserError


def frames(count: int = 5, side: int = 21) -> list[Image.Image]:
    """A bright bar that moves from left to right; the sides of the pictures are odd."""
    images = torch.zeros(count, 1, 1, side, side, dtype=torch.uint8)
    for number in range(count):
        images[number, ..., 4 * number : 4 * number + 4] = 255
    return [grid(one, scale=1, gap=0) for one in images]


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """A film's frames ``[h, w, 3]`` and how long each is shown, in seconds."""
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as film:
            stream = film.streams.video[0]
            decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
            return decoded, [float(1 / stream.average_rate)] * len(decoded)
    with Image.open(path) as film:
        shown, times = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB")))
            times.append(film.info["duration"] / 1000)
        assert film.info["loop"] == 0  # again and again
    return shown, times


@pytest.mark.parametrize("suffix", FILMS)
def test_a_film_shows_its_frames_in_their_order_and_time_and_is_the_same_every_time(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / f"film{suffix}"
    save_film(iter(frames()), path, seconds=0.1, hold=0.3)
    shown, times = read(path)
    assert sum(times) == pytest.approx(0.8)
    assert times[0] == pytest.approx(0.1)
    for number, (wanted, found) in enumerate(zip(frames(), shown, strict=False)):
        error = np.abs(np.asarray(wanted).astype(int) - found[:21, :21]).mean()
        assert error < 12, f"frame {number}"  # WebP and MP4 lose a little; a wrong frame is 97 off
    assert len(shown) == (8 if suffix == ".mp4" else 5)

    # Often, with other use of the memory between: with x264's macroblock tree a quarter of these differed.
    bytes_of = {hashlib.sha256(path.read_bytes()).digest()}
    for _ in range(20):
        read(path)
        save_film(frames(), path, seconds=0.1, hold=0.3)
        bytes_of.add(hashlib.sha256(path.read_bytes()).digest())
    assert len(bytes_of) == 1


def test_one_frame_is_a_film_and_none_is_not(tmp_path: Path) -> None:
    save_film(frames(1), tmp_path / "one.webp")
    with Image.open(tmp_path / "one.webp") as film:
        assert film.size == (21, 21)
    with pytest.raises(ValueError, match="at least one frame"):
        save_film([], tmp_path / "none.webp")


def test_a_film_of_another_name_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match=r"^walk\.avi: a film is written as FILE\.webp, FILE\.gif, FILE\.mp4;"):
        check_film(Path("walk.avi"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"to write MP4, install: pip install \"frugan\[video\]\"\. FILE\.webp"):
        check_film(Path("walk.mp4"))


@pytest.mark.parametrize("damage", ["half", "text"])
def test_a_damaged_picture_is_left_out_with_a_note(tmp_path, capsys, damage):
    path = tmp_path / "images-1.png"
    Image.effect_noise((32, 32), 9).save(path)
    found = pictures.read(path)
    assert found is not None
    assert (found[0].mode, found[1]) == ("RGB", "")
    path.write_bytes(path.read_bytes()[:300] if damage == "half" else b"text")
    assert pictures.read(path) is None
    assert capsys.readouterr().err == f"frugan: {path} cannot be read as a picture, and is left out.\n"
