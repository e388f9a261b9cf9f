"""Jobs are run: each is a process of its own. Several run at the same time, and all can be continued."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from frugan import files, memory, owncode, stopping, terminal
from frugan.comparison.running.job import Job
from frugan.comparison.running.watch import Watch
from frugan.owncode import CodeFile
from frugan.registry import UserError

CONTINUE = "Run the same command again to continue."


def environment_of_run(threads: int) -> dict[str, str]:
    """What the environment of a run holds beside the usual: its threads, and no modules of the current folder.

    So a file there that is called ``random.py`` is not taken for Python's own. And that it is a run of a comparison.
    """
    return {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1", files.AS_JOB: "1"}


def run_jobs(jobs: Sequence[Job], at_once: int, threads: int, quiet: bool, own: Sequence[CodeFile] = ()) -> None:
    """Run every job that is neither finished nor failed, at most `at_once` at the same time.

    A job reads the user's own files, `own`, when it begins. So once one of them has changed, no further job is begun.

    A job that stops with an error of its own is marked as failed, and only ``--retry-failed`` begins it again. When
    asked to stop (see `frugan.stopping`), it asks the jobs to save and stop, and SystemExit is raised. Raises UserError
    if a job had too little memory, was killed or could not be saved, or a file of `own` has changed.
    """
    waiting = [job for job in jobs if not job.why_failed() and not job.finished()]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    killed: list[str] = []
    refused: list[str] = []
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
                    if code == files.REFUSED or not job.folder.parent.exists():
                        refused.append(f"{job.title}: {job.last_words()}")
                    elif was_killed(code):
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
    if refused:
        raise UserError(f"Not everything could be saved. {' '.join(refused)} {CONTINUE}")
    if killed:
        raise UserError(
            f"There was too little memory for {', '.join(killed)}, or another program killed it. If it was memory, "
            f"give fewer --jobs. {CONTINUE}"
        )


def was_killed(code: int) -> bool:
    """Whether an exit code says that a process was ended from outside, so that its run can be continued.

    Too little memory and a full disk are such ends: that others hold them says nothing of the run.
    """
    refused = (memory.TooLittleError.code, files.REFUSED)
    ends = (128 + signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT, *refused)
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
