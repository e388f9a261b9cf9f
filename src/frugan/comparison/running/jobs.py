"""Jobs: each run is a process with a folder of its own. Several run at the same time, and all can be continued."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from frugan import files, memory, owncode, stopping, terminal
from frugan.owncode import CodeFile
from frugan.recipe import Recipe
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.watch import Watch

CONTINUE = "Run the same command again to continue."


@dataclass(frozen=True)
class Job:
    """One run: its title for people, its folder, the command that trains it, and how many images to show it.

    If its budget is in rounds, `images` counts one batch for each of `rounds`, though a round may show more. `whole`
    are the images of the run if this job is a part of its way: progress is told of them.
    """

    title: str
    folder: Path
    command: tuple[str, ...]
    images: int
    rounds: int | None = None
    whole: int | None = None

    def until(self, images: int) -> Job:
        """A job that stops the same run after that many images. This job can then continue the run."""
        return replace(self, images=images, command=(*self.command, "--images", str(images)))

    @property
    def output(self) -> Path:
        """The file that keeps what it prints."""
        return self.folder.with_name(self.folder.name + ".txt")

    @property
    def failure_file(self) -> Path:
        """The file that exists if it failed, and says why. It lies beside the run's folder, not in it."""
        return self.folder.with_name(self.folder.name + ".failed.json")

    def why_failed(self) -> str | None:
        """Why the job's run failed; None if it did not fail."""
        if not self.failure_file.is_file():
            return None
        return str(files.read_json(self.failure_file)["why"])

    def fail(self, code: int) -> str:
        """Mark it as failed, as its process ended with this exit code. Returns why: the last line that it printed."""
        why = _last_line(self.output) or f"it ended with code {code}"
        files.write(self.failure_file, json.dumps({"code": code, "why": why}) + "\n")
        return why

    @property
    def retry_file(self) -> Path:
        """The file that exists if it failed and was then trained once more; it says why it had failed."""
        return self.folder.with_name(self.folder.name + ".retried.json")

    def retry(self) -> None:
        """If it failed, let it be trained once more. A file beside it keeps the reason of the failure."""
        if self.failure_file.is_file():
            self.failure_file.replace(self.retry_file)

    def why_retried(self) -> str | None:
        """Why it had failed before it was trained once more; None if it was not."""
        return str(files.read_json(self.retry_file)["why"]) if self.retry_file.is_file() else None

    def why_untrained(self) -> str | None:
        """What in its log shows that it does not train, and what to try; None if nothing does."""
        from frugan.engine.health import find_untrained
        from frugan.engine.run import RunFolder

        run = RunFolder(self.folder)
        finding = find_untrained(run.lines(run.log), ended=self.images_shown() >= self.images)
        return None if finding is None else finding.text

    def images_shown(self) -> int:
        """How many of its `images` it has been shown, from the last line of its log."""
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
                read = json.loads(line)
                return int(read["images"]) if self.rounds is None else self.images * read["rounds"] // self.rounds
        return 0

    def finished(self) -> bool:
        """Whether its newest checkpoint was saved after all its images."""
        from frugan.engine import checkpoint
        from frugan.engine.run import RunFolder

        newest = checkpoint.newest(RunFolder(self.folder).checkpoints)
        return self.rounds is None and newest is not None and checkpoint.images_of(newest) >= self.images


def make_job(arm: Path, folder: Path, title: str, recipe: Recipe, seed: int, options: Sequence[str]) -> Job:
    """The job that trains the recipe in the file `arm` with one seed."""
    train = [sys.executable, "-m", "frugan", "train", str(arm)]
    # A comparison that was begun before runs held images out goes on with all of them, so none holds out unasked.
    held = () if recipe.data.holdout is not None else ("--holdout", "0")
    command = (*train, "--seed", str(seed), "--out", str(folder), *held, *options)
    return Job(f"{title} seed {seed}", folder, command, recipe.budget, recipe.rounds)


def environment_of_run(threads: int) -> dict[str, str]:
    """What the environment of a run holds beside the usual: its threads, and no modules of the current folder.

    So a file there that is called ``random.py`` is not taken for Python's own.
    """
    return {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1"}


def run_jobs(jobs: Sequence[Job], at_once: int, threads: int, quiet: bool, own: Sequence[CodeFile] = ()) -> None:
    """Run every job that is neither finished nor failed, at most `at_once` at the same time.

    A job reads the user's own files, `own`, when it begins. So once one of them has changed, no further job is begun.

    A job that stops with an error of its own is marked as failed, and only ``--retry-failed`` begins it again. When
    asked to stop (see `frugan.stopping`), it asks the jobs to save and stop, and SystemExit is raised. Raises UserError
    if a job had too little memory or was killed, or a file of `own` has changed.
    """
    from frugan.comparison.running.watch import Watch

    waiting = [job for job in jobs if not job.why_failed() and not job.finished()]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    killed: list[str] = []
    changed: list[str] = []
    environment = {**os.environ, **environment_of_run(threads)}
    watch = Watch(jobs, quiet)
    with stopping.collected() as asked:
        try:
            while ((waiting and not changed) or running) and not asked:
                while waiting and len(running) < at_once and not asked:
                    changed = owncode.changed_since(own)
                    if changed:
                        break
                    job = waiting.pop(0)
                    watch.begin(job)
                    if _wait_for_earlier(job, watch, asked):
                        running[job] = _start(job, environment)
                time.sleep(0.2)
                for job, process in list(running.items()):
                    code = process.poll()
                    if code is None:
                        continue
                    del running[job]
                    if was_killed(code):
                        killed.append(job.title)
                    elif code > 0:
                        watch.say(say_failed(job, job.fail(code)))
                    else:
                        watch.warn([job])
                watch.show(running, waiting)
            if asked:
                watch.close()
                terminal.tell(f"Interrupted. {_stop(running)}{CONTINUE}")
                raise SystemExit(130)
        finally:
            watch.close()
    if changed:
        raise UserError(
            f"Python files of yours changed while runs were trained: {'; '.join(changed)}. Undo the change. {CONTINUE}"
        )
    if killed:
        raise UserError(
            f"There was too little memory for {', '.join(killed)}, or another program killed it. If it was memory, "
            f"give fewer --jobs. {CONTINUE}"
        )


def was_killed(code: int) -> bool:
    """Whether an exit code says that a process was ended from outside, so that its run can be continued.

    Too little memory is such an end: that others hold it says nothing of the run.
    """
    ends = (128 + signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT, memory.TooLittleError.code)
    return code < 0 or code in ends


def say_failed(job: Job, why: str) -> str:
    """A line for people."""
    return f"{job.title} failed (to train it again, use --retry-failed): {why}"


def _wait_for_earlier(job: Job, watch: Watch, asked: stopping.Requests) -> bool:
    """Wait for the job if an earlier comparison, which was killed, has left it training: its work is needed.

    Returns False if it was asked to stop while it waited.
    """
    from frugan.engine.run import RunFolder

    said = False
    while not asked:
        try:
            with RunFolder(job.folder).locked():
                return True
        except UserError:
            if not said:
                watch.say(f"An earlier comparison is still training {job.title}. Waiting for it to finish.")
            said = True
            time.sleep(1)
    return False


def _start(job: Job, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with job.output.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then asks the jobs to save.
        return subprocess.Popen(
            job.command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True,
        )  # fmt: skip


def _stop(running: dict[Job, subprocess.Popen[bytes]]) -> str:
    """Ask the jobs to save and stop; a deliberate repeat ends them at once. Returns a sentence on each that was ended.

    They are asked by SIGTERM: programs that a shell starts in the background ignore SIGINT until they train.
    """
    from frugan.engine import checkpoint
    from frugan.engine.run import RunFolder

    for process in running.values():
        process.terminate()
    try:
        for process in running.values():
            process.wait()
    except KeyboardInterrupt:
        for process in running.values():
            process.kill()
    return "".join(
        f"{job.title} was ended before it could save. {checkpoint.kept(RunFolder(job.folder).checkpoints)} "
        for job, process in running.items() if process.wait() < 0
    )


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
