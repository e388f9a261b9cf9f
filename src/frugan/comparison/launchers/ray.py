"""On a Ray cluster, or on one that is started here: an actor for each run, which Ray starts again if its node fails.

The actors are detached: they go on when this process ends. A Ray that was started here ends with this process.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan.comparison.launchers import Launcher, needed
from frugan.comparison.launchers._spreading import spread
from frugan.comparison.running.work import Worker
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.work import Work
    from frugan.comparison.running.workshop import Workshop

NAMESPACE = "frugan"
SAVE_SECONDS = 120.0
"""Seconds that a run has to save when it is cancelled."""


def train(
    task: Task, workshop: Workshop, *, address: str = "", cpus: int = 1, gpus: float = 0.0, memory_gb: float = 0.0,
    resources: Mapping[str, float] | None = None, chunk: int = 500,
) -> None:  # fmt: skip
    """Train all runs by Ray.

    Args:
        task: the runs.
        workshop: how they are trained and measured.
        address: of a cluster, as ``ray start`` printed it, or "auto" on one of its machines. Left out: a Ray is started
            on this machine, for as long as the command runs.
        cpus: cores, and threads, of each run.
        gpus: cards of each run; 0.5 lets two share one.
        memory_gb: memory that Ray sets aside for each run.
        resources: custom resources, e.g. ``{a100 = 1}``, so that all arms have the same hardware.
        chunk: how many runs are handed over at a time.
    """
    engine = _Ray(address, {
        "num_cpus": cpus, "num_gpus": gpus, "memory": int(memory_gb * 2**30), "resources": dict(resources or {}),
    })  # fmt: skip
    spread(task, workshop, engine, threads=cpus, chunk=chunk)


def check(*, address: str = "", cpus: int = 1, **options: Any) -> None:
    """Raise UserError if Ray is not there, nobody answers at the address, or a number is impossible."""
    if cpus < 1:
        raise UserError(f"cpus = {cpus}: give 1 or more.")
    _connect(address)


class Runner:
    """An actor that does one work, and ends itself."""

    def __init__(self, file: str) -> None:
        self.worker = Worker(Path(file))
        # Not in this call: until it returns the actor does not answer.
        threading.Thread(target=self._run).start()

    def answer(self) -> None:
        """Say that it has begun."""

    def stop(self) -> None:
        """Save and stop."""
        self.worker.stop()

    def _run(self) -> None:
        ray = needed("ray", "ray")
        me = ray.get_runtime_context().current_actor
        try:
            self.worker.run()
        finally:
            ray.kill(me, no_restart=True)


class _Ray:
    title = "Ray"

    def __init__(self, address: str, needs: Mapping[str, Any]) -> None:
        self.ray, self.stays, self.needs = _connect(address), bool(address), needs

    def submit(self, works: Sequence[Work]) -> list[str]:
        """Begin an actor for each work; Ray lets it wait until its resources are free."""
        actor = self.ray.remote(Runner)
        handles = []
        for work in works:
            name = f"{work.file}#{time.time_ns()}"
            actor.options(
                name=name, namespace=NAMESPACE, lifetime="detached", max_restarts=-1, max_concurrency=2,
                **{need: value for need, value in self.needs.items() if value},
            ).remote(str(work.file))  # fmt: skip
            handles.append(name)
        return handles

    def find_alive(self, handles: Collection[str]) -> set[str]:
        """The actors that are not dead."""
        known = self.ray.util.list_named_actors(all_namespaces=True)
        return {one["name"] for one in known if one["namespace"] == NAMESPACE} & set(handles)

    def cancel(self, handles: Collection[str]) -> None:
        """Let the runs save, then end their actors."""
        actors = []
        for handle in handles:
            with contextlib.suppress(ValueError):  # it has ended by itself
                actors.append(self.ray.get_actor(handle, namespace=NAMESPACE))
        # Those that wait for resources do not answer, and have nothing to save.
        answers = {actor.answer.remote(): actor for actor in actors}
        running = self._wait(list(answers), 5.0)
        self._wait([answers[one].stop.remote() for one in running], SAVE_SECONDS)
        for actor in actors:
            self.ray.kill(actor, no_restart=True)

    def _wait(self, answers: Sequence[Any], seconds: float) -> Sequence[Any]:
        return self.ray.wait(answers, num_returns=len(answers), timeout=seconds)[0] if answers else []


def _connect(address: str) -> Any:
    """Ray, connected. Raises UserError if it is not installed or nobody answers."""
    ray = needed("ray", "ray")
    if ray.is_initialized():
        return ray
    wrong = f"Nobody answers at address = {address!r}"
    advice = "Give the address that 'ray start --head' printed, or leave it out to start a Ray on this machine."
    host, _, port = address.rpartition(":")
    if address and address != "auto" and not address.startswith("ray://"):
        try:
            with socket.create_connection((host, int(port)), timeout=10):
                pass
        except (OSError, ValueError) as error:
            raise UserError(f"{wrong} ({error}). {advice}") from None
    try:
        ray.init(address=address or "local", namespace=NAMESPACE, log_to_driver=False, include_dashboard=False)
    except Exception as error:
        raise UserError(f"{wrong} ({str(error).splitlines()[0]}). {advice}") from None
    return ray


variant = Launcher("ray", train, check)
