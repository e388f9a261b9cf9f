"""On a SLURM cluster, through submitit: job arrays, whose jobs continue after preemption, time limits and dead nodes.

What is running is asked of ``squeue``, once for all jobs: it needs no accounting, without which SLURM can be installed.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import terminal
from frugan.comparison.launchers import Launcher, needed
from frugan.comparison.launchers._spreading import spread
from frugan.comparison.running.work import Worker
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.work import Work
    from frugan.comparison.running.workshop import Workshop

PACKAGE = "submitit"


def train(
    task: Task, workshop: Workshop, *, partition: str = "", account: str = "", qos: str = "", constraint: str = "",
    cpus: int = 1, gpus: int = 0, memory_gb: float = 0.0, minutes: int = 0, at_once: int = 0, chunk: int = 500,
    save_seconds: int = 120, setup: Sequence[str] = (), sbatch: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Train all runs as jobs of SLURM.

    Args:
        task: the runs.
        workshop: how they are trained and measured.
        partition: where jobs are queued. Left out: the cluster's own choice; so for `account`, `qos`, `memory_gb`.
        account: what the jobs are billed to.
        qos: the quality of service.
        constraint: which kind of node, so that all arms have the same hardware.
        cpus: cores, and threads, of each run.
        gpus: cards of each run.
        memory_gb: memory of each run.
        minutes: a time limit. A job that reaches it saves, is queued again, and continues.
        at_once: how many jobs of an array run at the same time; 0 for no limit.
        chunk: how many runs are in one array. Clusters limit this.
        save_seconds: how long before its limit a job is asked to save.
        setup: lines of shell before each run, e.g. ``module load ...``.
        sbatch: any other options of sbatch.
    """
    parameters = {
        "job_name": "frugan", "cpus_per_task": cpus, "gpus_per_node": gpus, "mem": f"{int(1024 * memory_gb)}MB",
        "time": minutes, "partition": partition, "account": account, "qos": qos, "constraint": constraint,
    }  # fmt: skip
    given = {name: value for name, value in parameters.items() if value not in ("", 0, "0MB")}
    given |= {
        "array_parallelism": at_once or chunk, "signal_delay_s": save_seconds, "stderr_to_stdout": True,
        "setup": list(setup), "srun_args": [f"--cpus-per-task={cpus}"],
        "additional_parameters": {"requeue": True, **(sbatch or {})},
    }  # fmt: skip
    spread(task, workshop, _Slurm(workshop.folder / "slurm", given), threads=cpus, chunk=chunk)


def check(*, cpus: int = 1, chunk: int = 500, **options: Any) -> None:
    """Raise UserError if submitit or SLURM is not there, SLURM does not answer, or a number is impossible."""
    needed(PACKAGE, "slurm")
    for name, value in (("cpus", cpus), ("chunk", chunk)):
        if value < 1:
            raise UserError(f"{name} = {value}: give 1 or more.")
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise UserError(
            "The launcher 'slurm' needs SLURM's commands sbatch and squeue, which are not found here. Type the command "
            "on a machine from which jobs are submitted, or use --launcher files."
        )
    asked = _squeue()
    if asked.returncode:
        raise UserError(f"SLURM does not answer: {asked.stderr.strip() or 'squeue failed'}. Try again later.")


class Requeued:
    """What submitit carries to a node: does the work in a file, and begins it again after a warning."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self) -> int:
        """Do the work."""
        self.worker = Worker(Path(self.file))
        return self.worker.run()

    def checkpoint(self) -> Any:
        """Save, since the job is about to be ended; returns what continues it. submitit then queues the job again."""
        self.worker.stop()
        return needed("submitit.helpers", "slurm").DelayedSubmission(Requeued(self.file))


class _Slurm:
    title, stays = "SLURM", True

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        submitit = needed(PACKAGE, "slurm")
        # A limit on how often a job may reach its time would end long runs.
        self.executor = submitit.SlurmExecutor(folder=folder.absolute(), max_num_timeout=10**6)
        self.executor.update_parameters(**parameters)

    def submit(self, works: Sequence[Work]) -> list[str]:
        """Submit one array."""
        core = needed("submitit.core.utils", "slurm")
        try:
            with self.executor.batch():
                jobs = [self.executor.submit(Requeued(str(work.file))) for work in works]
        except (core.FailedJobError, core.FailedSubmissionError, subprocess.CalledProcessError) as error:
            said = str(error).strip().splitlines()
            raise UserError(
                f"SLURM refused the runs: {said[-1] if said else 'sbatch failed'}. Change --launcher-options."
            ) from None
        return [job.job_id for job in jobs]

    def find_alive(self, handles: Collection[str]) -> set[str]:
        """Those in the queue, waiting or running."""
        if not handles:
            return set()
        asked = _squeue()
        if asked.returncode:  # as while the controller is restarted
            terminal.tell(f"frugan: SLURM does not answer ({asked.stderr.strip()}); asking again.")
            return set(handles)
        return set(asked.stdout.split()) & set(handles)

    def cancel(self, handles: Collection[str]) -> None:
        """Cancel the jobs."""
        if handles:
            subprocess.run(["scancel", *handles], check=False)


def _squeue() -> subprocess.CompletedProcess[str]:
    """All jobs of this user, an element of an array in each line."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer within 60 s")


variant = Launcher("slurm", train, check)
