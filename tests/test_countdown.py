from __future__ import annotations

import pytest

from frugan.countdown import Countdown, duration


def test_a_line_every_five_seconds_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines: list[str] = []
    countdown = Countdown(lines.append, "Packing photos", 4000)
    for done in (500, 1000, 1500, 2000, 4000):  # 3 s each
        now += 3
        countdown.at(done)
    # Nothing after 3 s, nor when all is done.
    assert lines == [
        "Packing photos: 1,000 of 4,000 images, 18 s left.", "Packing photos: 2,000 of 4,000 images, 12 s left."
    ]  # fmt: skip


def test_parts_are_counted_when_they_were_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    lines: list[str] = []
    assert list(Countdown(lines.append, "Looking", 5, "rows").over([[1, 2], [3], [4, 5]])) == [[1, 2], [3], [4, 5]]
    assert [line.partition(",")[0] for line in lines] == ["Looking: 2 of 5 rows", "Looking: 3 of 5 rows"]


def test_times_are_told_as_people_tell_them() -> None:
    assert [duration(seconds) for seconds in (0, 89, 90, 200)] == ["1 s", "89 s", "2 min", "3 min"]
