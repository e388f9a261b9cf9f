"""Packed images are mapped, and read ahead of only where they are few."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from frugan.data import pack


def flags(path: Path) -> set[str]:
    """What the system was told of the mapping of a file."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.endswith(str(path)))
    return set(next(line for line in lines if line.startswith("VmFlags:")).split()[1:])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system tells of its mappings on Linux")
@pytest.mark.parametrize("large", [False, True])
def test_large_files_are_read_as_they_are_asked_for(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.random.default_rng(0).integers(0, 255, (20, 3, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "images.npy", expected)
    monkeypatch.setattr(pack, "LARGE", expected.nbytes + (0 if large else 1))
    images = pack.mapped(tmp_path / "images.npy")
    assert (images.numpy() == expected).all()
    assert ("rr" in flags(tmp_path / "images.npy")) == large
    images[0] = 0  # a copy: nothing reaches the file
    assert (np.load(tmp_path / "images.npy") == expected).all()
