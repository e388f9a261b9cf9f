"""Jobs: each run is a process of its own in a folder of its own; some at a time, and all can be continued."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frugan import owncode
from frugan.owncode import CodeFile
from frugan.recipe import Recipe
from frugan.registry import UserError

EVERY_SECONDS = 10.0
CONTINUE = "Run the same command again to continue."


@dataclass(frozen=True)
class Job:
    """One run: its title for people, where it lives, what starts it, and how many images it is to see."""

    title: str
    folder: Path
    command: tuple[str, ...]
    images: int
    whole: bool  # whether `images` says when it is finished (not so where rounds are counted)

    def until(self, images: int) -> Job:
        """The same run, stopped after so many images; the job itself then continues it."""
        return replace(self, images=images, command=(*self.command, "--images", str(images)))

    @property
    def output(self) -> Path:
        """What it prints."""
        return self.folder.with_name(self.folder.name + ".txt")

    @property
    def mark(self) -> Path:
        """Where it is written that it failed; beside the folder, which belongs to the training."""
        return self.folder.with_name(self.folder.name + ".failed.json")

    def failure(self) -> str | None:
        """Why it failed, None if it did not."""
        if not self.mark.is_file():
            return None
        return str(json.loads(self.mark.read_text())["why"])

    @property
    def again(self) -> Path:
        """Where it is written that it failed and was begun once more."""
        return self.folder.with_name(self.folder.name + ".retried.json")

    def retry(self) -> None:
        """Let a failed run be trained once more; that it had failed stays written beside it."""
        if self.mark.is_file():
            self.mark.replace(self.again)

    def retried(self) -> str | None:
        """Why it had failed before it was begun once more, None if it was not."""
        return str(json.loads(self.again.read_text())["why"]) if self.again.is_file() else None

    def untrained(self) -> str | None:
        """Why it does not train, by its log, and what to try; None if nothing says so."""
        from frugan.engine.health import find_untrained
        from frugan.engine.run import RunFolder

        run = RunFolder(self.folder)
        found = find_untrained(run.lines(run.log))
        return None if found is None else found.text

    def images_shown(self) -> int:
        """How many images it has been shown, by the last line of its log."""
        from frugan.engine.run import RunFolder

        log = RunFolder(self.folder).log
        if not log.is_file():
            return 0
        # Not `RunFolder.lines`: this is asked for twice a second, and a log grows long.
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with contextlib.suppress(ValueError, KeyError):
                return int(json.loads(line)["images"])
        return 0

    def finished(self) -> bool:
        """Whether its newest checkpoint has seen all its images."""
        from frugan.engine import checkpoint
        from frugan.engine.run import RunFolder

        newest = checkpoint.newest(RunFolder(self.folder).checkpoints)
        return self.whole and newest is not None and checkpoint.images_of(newest) >= self.images


def job_of(arm: Path, folder: Path, title: str, recipe: Recipe, seed: int, options: Sequence[str]) -> Job:
    """The job that trains the recipe in the file `arm` with one seed."""
    train = [sys.executable, "-m", "frugan", "train", str(arm)]
    command = (*train, "--seed", str(seed), "--out", str(folder), *options)
    return Job(f"{title} seed {seed}", folder, command, recipe.budget, whole=recipe.rounds is None)


def run_jobs(jobs: Sequence[Job], at_once: int, threads: int, quiet: bool, own: Sequence[CodeFile] = ()) -> None:
    """Run every job that is neither finished nor failed, at most `at_once` at a time.

    No job is begun once one of the user's own files, `own`, has changed: a job reads them when it begins.

    A job that stops with an error is marked as failed and never begun again by itself. On Ctrl-C (or SIGTERM) the jobs
    are told to save and stop, and SystemExit is raised. Raises UserError if a job was killed from outside, or a file of
    `own` has changed.
    """
    from frugan.engine.run import RunFolder

    waiting = [job for job in jobs if not job.failure() and not job.finished()]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    killed: list[str] = []
    changed: list[str] = []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    watch = _Watch(jobs, quiet)
    with _terminated_is_interrupted():
        try:
            while (waiting and not changed) or running:
                while waiting and len(running) < at_once:
                    changed = owncode.changed_since(own)
                    if changed:
                        break
                    job = waiting.pop(0)
                    watch.begin(job)
                    running[job] = _start(job, environment, watch)
                time.sleep(0.2)
                for job, process in list(running.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del running[job]
                    if code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT):
                        killed.append(job.title)
                    elif code > 0:
                        why = _last_line(job.output) or f"it ended with code {code}"
                        RunFolder(job.folder).write(job.mark, json.dumps({"code": code, "why": why}) + "\n")
                        watch.say(f"{job.title} failed and counts as failed (--retry-failed trains it again): {why}")
                    else:
                        watch.warn([job])
                watch.show(running, waiting)
        except KeyboardInterrupt:
            watch.close()
            _stop(running)
            print(f"Interrupted; what was trained is kept. {CONTINUE}", file=sys.stderr)
            raise SystemExit(130) from None
        finally:
            watch.close()
    if changed:
        raise UserError(f"Code has changed while runs were trained: {'; '.join(changed)}. Put it back. {CONTINUE}")
    if killed:
        raise UserError(f"Killed from outside: {', '.join(killed)} (too little memory, perhaps). {CONTINUE}")


def _start(job: Job, environment: dict[str, str], watch: _Watch) -> subprocess.Popen[bytes]:
    from frugan.engine.run import RunFolder

    # A comparison that was killed may have left a run that is still training: its work is not thrown away.
    said = False
    while True:
        try:
            with RunFolder(job.folder).locked():
                break
        except UserError:
            if not said:
                watch.say(f"{job.title} is still being trained by an earlier comparison; waiting for it.")
            said = True
            time.sleep(1)
    with job.output.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then asks the jobs to save.
        return subprocess.Popen(
            job.command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True,
        )  # fmt: skip


def _stop(running: dict[Job, subprocess.Popen[bytes]]) -> None:
    """Ask the jobs to save and stop; a second Ctrl-C ends them at once."""
    for process in running.values():
        process.send_signal(signal.SIGINT)
    try:
        for process in running.values():
            process.wait()
    except KeyboardInterrupt:
        for process in running.values():
            process.kill()


@contextlib.contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


class _Watch:
    """Progress for people: one bar over all runs on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, jobs: Sequence[Job], quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.jobs, self.quiet = jobs, quiet
        self.total = sum(job.images for job in jobs)
        self.done = {job: job.images for job in jobs if job.failure() or job.finished()}
        self.warned: set[Job] = set()
        self.start, self.began = sum(self.done.values()), time.monotonic()
        self.last, self.looked = self.began, self.began
        self.console = Console(stderr=True)
        self.bar: Any = None
        if self.console.is_terminal and not quiet:
            text, numbers = TextColumn("{task.description}"), TextColumn("{task.fields[numbers]}")
            self.bar = Progress(text, BarColumn(), TimeRemainingColumn(), numbers, console=self.console)
            self.task = self.bar.add_task("comparison", total=self.total, completed=self.start, numbers="")
            self.bar.start()

    def begin(self, job: Job) -> None:
        self.say(f"Training {job.title}: {job.folder}")
        if job.untrained() is not None:  # it was said before it was stopped
            self.warned.add(job)

    def warn(self, jobs: Iterable[Job]) -> None:
        """Say of each job, once, that it does not train."""
        for job in jobs:
            why = None if job in self.warned else job.untrained()
            if why is not None:
                self.warned.add(job)
                self.say(f"{job.title} does not train so far, and a run that ends so counts as failed: {why}")

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, running: dict[Job, Any], waiting: Sequence[Job]) -> None:
        now = time.monotonic()
        if self.quiet or now - self.last < (0.5 if self.bar else EVERY_SECONDS):
            return
        self.last = now
        if now - self.looked >= EVERY_SECONDS:
            self.looked = now
            self.warn(running)
        busy = {*running, *waiting}
        shown = {job: min(job.images_shown(), job.images) if job in busy else job.images for job in self.jobs}
        at = sum(shown.values())
        ready = len(self.jobs) - len(busy)
        parts = [f"{job.title} {shown[job]:,} of {job.images:,}" for job in running]
        numbers = f"{ready} of {len(self.jobs)} runs done; {'; '.join(parts)}"
        if self.bar:
            self.bar.update(self.task, completed=at, numbers=numbers)
            return
        speed = (at - self.start) / (now - self.began)
        left = f", about {(self.total - at) / speed / 60:.1f} min left" if speed > 0 else ""
        self.say(f"{numbers} images{left}")

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
