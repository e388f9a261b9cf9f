"""A countdown: lines for people that say how far slow work is, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

EVERY = 5.0
"""Seconds between two lines. Work that ends sooner says nothing."""

Part = TypeVar("Part", bound=Sized)


class Countdown:
    """Lines like ``Training the classifier: 12,800 of 60,000 images, 40 s left.``, one every five seconds.

    Args:
        announce: is called with each line.
        what: what is being done, as the line begins.
        total: how many `units` there are.
    """

    def __init__(self, announce: Callable[[str], None], what: str, total: int, units: str = "images") -> None:
        self.announce, self.what, self.total, self.units = announce, what, total, units
        self.begin()

    def begin(self) -> None:
        """Count the time from now on."""
        self._began = self._said = time.monotonic()

    def at(self, done: int) -> None:
        """Say that so many are done, if it is time for a line."""
        now = time.monotonic()
        if now - self._said < EVERY or not 0 < done < self.total:
            return
        self._said = now
        left = (now - self._began) * (self.total - done) / done
        self.announce(f"{self.what}: {done:,} of {self.total:,} {self.units}, {duration(left)} left.")

    def over(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same parts, one by one; those that were worked on are counted."""
        done = 0
        for part in parts:
            yield part
            done += len(part)
            self.at(done)


def counter(announce: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """A function of (images done, all images), for work that learns how many there are when it begins."""
    countdown: Countdown | None = None

    def at(done: int, total: int) -> None:
        nonlocal countdown
        if countdown is None or done == 0:  # a game may have several sources
            countdown = Countdown(announce, what, total)
        countdown.at(done)

    return at


def duration(seconds: float) -> str:
    """A time for people: ``45 s``, or ``3 min`` from one and a half minutes on."""
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
