"""The benchmark of scale: its points, its exponents, and that a data set with holes costs no memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugan import memory

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(memory, "keep", lambda: None)  # it would change this process for all tests


def test_a_point_is_timed_and_its_memory_told() -> None:
    import scale

    point = scale.measured({**scale.QUICK_MIDDLE, "images": 1_000_000}, 2)
    assert len(point["seconds"]) == 2
    assert point["memory"] >= point["memory_before"] > 0
    assert point["memory"] - point["memory_before"] < 500e6  # the images alone would be 768 MB


def test_exponents_are_local_and_drawn(tmp_path: Path) -> None:
    import scale

    points = [
        {**scale.MIDDLE, "batch": batch, "seconds": [seconds] * 3, "memory": 1e8 * batch}
        for batch, seconds in ((8, 1.0), (16, 1.0), (32, 2.0), (64, 8.0))
    ]
    assert [row[3] for row in scale.rows_of("batch", points)] == ["", 0, pytest.approx(1), pytest.approx(2)]
    scale.draw({"batch": points, "size": points}, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_both_forms_begin_from_their_middle() -> None:
    import scale

    for middle, axes in ((scale.MIDDLE, scale.AXES), (scale.QUICK_MIDDLE, scale.QUICK_AXES)):
        assert list(axes) == list(middle)
        assert all(middle[axis] in values for axis, values in axes.items())
