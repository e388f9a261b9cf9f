"""What launchers share that hand works to an engine: submit what is missing, watch, and leave or cancel when asked.

What is known of a work comes from the shared disk: its run's log, its failure, its end. The engine is asked for one
thing alone: which works it still has. One that it no longer has and that did not end is submitted again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from frugan import files, owncode, stopping, terminal
from frugan.comparison.launchers import LEFT
from frugan.comparison.running.jobs import CONTINUE, say_failed
from frugan.comparison.running.work import make_works
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.watch import Watch
    from frugan.comparison.running.work import Work
    from frugan.comparison.running.workshop import Workshop

LOOK = 1.0
"""Seconds between two looks at the disk, or ten times as long as a look takes."""

ASK = 10.0
"""Seconds between two questions to the engine."""

LATE = 30.0
"""Seconds for which the disk may show the end of a work late, after the engine has forgotten the work."""

TRIES = 3
"""How often a work is submitted that ends without a word."""

LAST_LINES = 5
"""How many of the last lines are shown of what a failed run printed."""


class Engine(Protocol):
    """What schedules works.

    Attributes:
        title: its name for people.
        stays: whether works go on when this process ends.
    """

    title: str
    stays: bool

    def submit(self, works: Sequence[Work]) -> list[str]:
        """Hand over works, the first ones to begin first; returns what the engine calls each. Raises UserError."""
        ...

    def find_alive(self, handles: Collection[str]) -> set[str]:
        """Which of these are waiting or running. If the engine does not answer now: all."""
        ...

    def cancel(self, handles: Collection[str]) -> None:
        """End these; what is running may save first."""
        ...


def spread(task: Task, workshop: Workshop, engine: Engine, *, threads: int, chunk: int) -> None:
    """Carry out a task by an engine, at most `chunk` works in one submission; each run gets so many threads.

    Works that the engine still has from an earlier call are not submitted again.

    Raises:
        SystemExit: asked to stop; the works were left or cancelled.
        UserError: works ended again and again without a word, or a file of the user's own has changed.
    """
    from frugan.comparison.running.watch import Watch

    works = make_works(task, workshop, threads)
    waiting = [work for work in works if not work.is_done()]
    launched = _Launched(workshop.folder / "launched.json", engine.title)
    launched.forget([work for work in works if work not in waiting])
    if not waiting:
        return
    alive = engine.find_alive(launched.handles(waiting))
    missing = [work for work in waiting if launched.handle(work) not in alive]
    watch = Watch([job for work in works for job in work.jobs], workshop.quiet)
    spreading = _Spreading(engine, workshop, launched, waiting, watch, chunk)
    with stopping.collected() as asked:
        try:
            spreading.submit(missing, asked)
            while spreading.waiting and not asked:
                spreading.look()
            if asked:
                watch.close()
                spreading.leave_or_cancel()
        finally:
            watch.close()
    spreading.tell_lost()


class _Launched:
    """Which works were handed to which engine, in a file: whoever continues the comparison finds them."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path, self.engine = path, engine
        known = files.read_json(path) if path.is_file() else {}
        self.known: dict[str, str] = dict(known["works"]) if known.get("engine") == engine else {}

    def handle(self, work: Work) -> str | None:
        return self.known.get(str(work.file))

    def handles(self, works: Iterable[Work]) -> list[str]:
        return [handle for work in works if (handle := self.handle(work)) is not None]

    def forget(self, works: Sequence[Work]) -> None:
        """Forget works that are done: their runs may get further ones, which the engine has not seen."""
        done = {str(work.file) for work in works}
        left = {file: handle for file, handle in self.known.items() if file not in done}
        if left != self.known:
            self.known = left
            self._write()

    def add(self, works: Sequence[Work], handles: Sequence[str]) -> None:
        self.known |= {str(work.file): handle for work, handle in zip(works, handles, strict=True)}
        self._write()

    def _write(self) -> None:
        files.write(self.path, json.dumps({"engine": self.engine, "works": self.known}, indent=1) + "\n")


class _Spreading:
    """The works that are waited for."""

    def __init__(
        self, engine: Engine, workshop: Workshop, launched: _Launched, waiting: list[Work], watch: Watch, chunk: int
    ) -> None:
        self.engine, self.workshop, self.launched, self.watch, self.chunk = engine, workshop, launched, watch, chunk
        self.waiting = waiting
        self.begun: set[Work] = set()
        self.printed = {work: _printed(work) for work in waiting}
        self.tries: dict[Work, int] = {}
        self.gone: dict[Work, float] = {}
        self.lost: list[Work] = []
        self.asked = time.monotonic()

    def submit(self, works: Sequence[Work], asked: stopping.Requests | None = None) -> None:
        """Submit works in chunks; each is in the file before the next one follows."""
        changed = owncode.changed_since(self.workshop.own)
        if works and changed:
            raise UserError(f"Python files of yours changed: {'; '.join(changed)}. Undo the change. {CONTINUE}")
        for begin in range(0, len(works), self.chunk):
            if asked:
                return
            part = works[begin : begin + self.chunk]
            for work in part:
                work.write()
                self.tries[work] = self.tries.get(work, 0) + 1
            self.launched.add(part, self.engine.submit(part))
        if works:
            self.watch.say(f"{len(works)} of {len(self.watch.jobs)} runs were handed to {self.engine.title}.")

    def look(self) -> None:
        """See what has begun, ended or disappeared since the last look, and show it."""
        began = time.monotonic()
        for work in list(self.waiting):
            if work.is_done():
                self.waiting.remove(work)
                self.launched.forget([work])
                self._tell_end(work)
            elif work not in self.begun and _printed(work) > self.printed[work]:
                self.begun.add(work)
                for job in work.jobs:
                    self.watch.begin(job)
        if began - self.asked >= ASK:
            self.asked = began
            self._look_for_lost()
        running = [job for work in self.waiting if work in self.begun for job in work.jobs]
        self.watch.show(running, [job for work in self.waiting if work not in self.begun for job in work.jobs])
        time.sleep(max(LOOK, 10 * (time.monotonic() - began)))

    def leave_or_cancel(self) -> None:
        """Let the works go on, or cancel them, as the user says; without a terminal they go on."""
        handles = self.launched.handles(self.waiting)
        if not self.engine.stays:
            self.engine.cancel(handles)
            terminal.tell(f"Interrupted; {self.engine.title} ends with this command. {CONTINUE}")
            raise SystemExit(130)
        if _wants_to_cancel(len(handles), self.engine.title):
            self.engine.cancel(handles)
            terminal.tell(f"Cancelled {len(handles)} runs. {CONTINUE}")
            raise SystemExit(130)
        terminal.tell(
            f"{len(handles)} runs go on at {self.engine.title}. The same command again collects them; "
            f"frugan compare --status {self.workshop.folder} tells how far they are."
        )
        raise SystemExit(LEFT)

    def tell_lost(self) -> None:
        """Raise UserError if works ended again and again without a word."""
        if not self.lost:
            return
        first = self.lost[0].jobs[0]
        printed = _last_lines(first.output)
        hint = f"The first one printed last: {' | '.join(printed)}" if printed else (
            f"The first one printed nothing: is {self.workshop.folder.absolute()} on a disk that its machine has too, "
            "and is frugan installed there?"
        )
        raise UserError(
            f"{self.engine.title} ended {len(self.lost)} runs {TRIES} times before they were trained "
            f"({', '.join(work.title for work in self.lost[:3])} ...). Perhaps they need more memory or time; see "
            f"--launcher-options. {hint} {CONTINUE}"
        )

    def _tell_end(self, work: Work) -> None:
        for job in work.jobs:
            why = job.why_failed()
            if why is None:
                self.watch.warn([job])
                continue
            self.watch.say(say_failed(job, why))
            for line in _last_lines(job.output):
                self.watch.say(line)

    def _look_for_lost(self) -> None:
        now = time.monotonic()
        alive = self.engine.find_alive(self.launched.handles(self.waiting))
        for work in list(self.waiting):
            if self.launched.handle(work) in alive:
                self.gone.pop(work, None)
            elif now - self.gone.setdefault(work, now) >= LATE and not work.is_done():
                del self.gone[work]
                if self.tries.get(work, 1) < TRIES:
                    self.watch.say(f"{work.title} was ended before it was trained; it is submitted again.")
                    self.submit([work])
                else:
                    self.waiting.remove(work)
                    self.lost.append(work)


def _wants_to_cancel(count: int, engine: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"{count} runs are waiting or running at {engine}. Leave them there (Enter), or cancel them (c)? ",
        end="", file=sys.stderr, flush=True,
    )  # fmt: skip
    try:
        return sys.stdin.readline().strip().lower().startswith("c")
    except KeyboardInterrupt:
        return False


def _printed(work: Work) -> int:
    """How much its runs have printed, in bytes; a run that goes on has printed something before."""
    return sum(job.output.stat().st_size for job in work.jobs if job.output.is_file())


def _last_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-LAST_LINES:]
