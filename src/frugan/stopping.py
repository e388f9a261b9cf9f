"""Requests to stop: Ctrl-C, a scheduler's signal or warning, a closed terminal, an output that nobody reads any more.

Whoever makes a request, it is dealt with in one of two ways. Where there is something to save (`collected`), it is
noted, and the work ends at the next good moment. Elsewhere (`listening`) it raises KeyboardInterrupt, but never in the
middle of an import, which would leave a library half made.

A terminal, a shell and a scheduler may each pass on one and the same request, and people press twice. So only the same
signal a second later or more is a deliberate repeat; that one is obeyed at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

APART = 1.0
"""How many seconds after the first a signal is deliberately repeated."""

ALWAYS = ("SIGINT", "SIGTERM")
UNLESS_USED = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""A closed terminal, and warnings of batch systems before they kill. They are left alone where something else has been
decided: `nohup` ignores SIGHUP, a program may have a use of its own for the others."""

OUTPUT = 0
"""The number, among those of signals, of a request that came as an output which nobody reads."""


class Requests:
    """The requests to stop that came so far; false if there were none."""

    def __init__(self, collects: bool) -> None:
        self.collects = collects
        self.since: dict[int, float] = {}
        self.again: threading.Timer | None = None  # sends a signal again that an import was in the way of

    def __bool__(self) -> bool:
        return bool(self.since)

    def add(self, number: int) -> bool:
        """Note a request; returns whether it must be obeyed at once."""
        now, first = time.monotonic(), not self.since
        since = self.since.setdefault(number, now)
        return self.again is not None or (first and not self.collects) or (number != OUTPUT and now - since >= APART)


_heard: list[Requests] = []


def listening() -> contextlib.AbstractContextManager[Requests]:
    """Inside, a request to stop raises KeyboardInterrupt, also one that would end the program without a word."""
    return contextlib.nullcontext(_heard[-1]) if _heard and not _heard[-1].collects else _hearing(collects=False)


def collected() -> contextlib.AbstractContextManager[Requests]:
    """Inside, requests to stop are noted, and a deliberate repeat raises KeyboardInterrupt."""
    return _hearing(collects=True)


def is_saving() -> bool:
    """Whether requests to stop are noted here, since there is something to save."""
    return bool(_heard) and _heard[-1].collects


def ask() -> None:
    """Ask to stop, as an output has been closed that nobody will read."""
    _heard[-1].add(OUTPUT)


@contextlib.contextmanager
def _hearing(collects: bool) -> Iterator[Requests]:
    requests = Requests(collects)
    if threading.current_thread() is not threading.main_thread():  # only that one receives signals
        yield requests
        return
    before: dict[int, Any] = {}
    _heard.append(requests)  # before the first signal can come, and until after the last one
    try:
        _install(before)
        yield requests
    finally:
        if requests.again is not None:
            requests.again.cancel()
            requests.again.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        _heard.remove(requests)
        if collects and _heard and not _heard[-1].collects:
            # The same request may come once more, passed on by another, while it is said what was saved.
            for number, since in requests.since.items():
                _heard[-1].since.setdefault(number, since)


def _install(before: dict[int, Any]) -> None:
    """Receive the signals from now on, and note in `before` what received them."""
    for name in (*ALWAYS, *UNLESS_USED):
        number = getattr(signal, name, None)
        if number is None:
            continue
        handler = signal.getsignal(number)
        if name in ALWAYS or handler in (signal.SIG_DFL, _receive):
            before[number] = handler  # first, so that a signal that comes at once is undone like the others
            signal.signal(number, _receive)


def _receive(number: int, frame: FrameType | None) -> None:
    requests = _heard[-1]
    if not requests.add(number):
        return
    again, requests.again = requests.again, None
    if again is not None:
        again.cancel()
    if not _is_importing(frame):
        raise KeyboardInterrupt
    # Sent again, the signal also wakes whatever waits by then.
    requests.again = threading.Timer(0.02, os.kill, [os.getpid(), number])
    requests.again.daemon = True
    requests.again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
