"""A real SLURM on this machine: one controller, node daemons `one` and `two`, and munge, all in a folder of their own.

    python tests/slurm_cluster.py start FOLDER      prints what to export, so that sbatch and squeue find it
    python tests/slurm_cluster.py stop FOLDER

Needs Debian's packages slurm-wlm and munge (`MISSING` names what is not there), and root. There is no accounting. The
partition `runs` may be preempted by the partition `urgent`; jobs that are preempted or lose their node begin again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
NODES = ("one", "two")
CPUS = 1

CONFIGURATION = """
ClusterName=frugan
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
JobRequeue=1
MaxArraySize=1001
SlurmdTimeout=5
SlurmctldTimeout=5
KillWait=5
MinJobAge=10
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,requeue_setup_env_fail
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one_port} CPUs={cpus} State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two_port} CPUs={cpus} State=UNKNOWN
PartitionName=runs Nodes=one,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent Nodes=one,two MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


class Cluster:
    """The daemons in `folder`, whose path must be short: a socket lies in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @property
    def environment(self) -> dict[str, str]:
        """What sbatch and squeue need to find this SLURM."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons, and wait until both nodes are idle."""
        munge = self.folder / "munge"
        munge.mkdir(parents=True, mode=0o755)
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o400)
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        ports = _free_ports(3)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname(), folder=self.folder, cpus=CPUS, controller_port=ports[0], one_port=ports[1],
                two_port=ports[2],
            )
        )  # fmt: skip
        self._run(
            "munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
            f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def start_controller(self) -> None:
        """Start the controller, which continues from the state that it saved."""
        self._run("slurmctld", "-f", self.environment["SLURM_CONF"])

    def stop_controller(self) -> None:
        """Stop the controller; it saves its state. Jobs go on."""
        self._end(self.folder / "slurmctld.pid", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._run("slurmd", "-N", node, "-f", self.environment["SLURM_CONF"])

    def kill_node(self, node: str) -> None:
        """End a node at once, with everything that runs on it, as if its power failed."""
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.folder}/slurm.conf".encode()}
        programs = {process for process in map(_Process, _processes()) if marks <= process.environment}
        keepers = {_Process(process.parent) for process in programs}
        # First those that would report to the controller that what they keep has ended.
        _kill(int((self.folder / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)
        for process in [*(keeper for keeper in keepers if keeper.name == "slurmstepd"), *programs]:
            _kill(process.number, signal.SIGKILL)

    def wait_for_nodes(self, seconds: float = 60.0) -> None:
        """Wait until every node is idle or busy."""
        self.wait(lambda: set(self.ask("sinfo", "-h", "-N", "-o", "%T").split()) <= {"idle", "mixed", "allocated"}
                  and len(self.ask("sinfo", "-h", "-N", "-o", "%N").split()) >= len(NODES), seconds)  # fmt: skip

    def wait(self, until: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `until()` is true. Raises TimeoutError with what the controller says."""
        begun = time.monotonic()
        while not until():
            if time.monotonic() - begun > seconds:
                log = (self.folder / "slurmctld.log").read_text()[-3000:]
                raise TimeoutError(f"{self.ask('sinfo', '-N', '-l')}\n{self.ask('squeue')}\n{log}")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints; empty if the controller does not answer."""
        ran = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        return ran.stdout

    def stop(self) -> None:
        """End all daemons and their jobs."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for process in map(_Process, _processes()):
            own = process.name.startswith("slurm") or any(one.startswith(b"SLURMD_") for one in process.environment)
            if own and mark in process.environment:
                _kill(process.number, signal.SIGKILL)
        self._end(self.folder / "munge/pid", signal.SIGTERM)

    def _run(self, *command: str) -> None:
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, timeout=60)

    def _end(self, pid_file: Path, number: signal.Signals) -> None:
        if not pid_file.exists():
            return
        process = int(pid_file.read_text())
        _kill(process, number)
        begun = time.monotonic()
        while Path(f"/proc/{process}").exists() and time.monotonic() - begun < 30:
            time.sleep(0.1)
        _kill(process, signal.SIGKILL)


@dataclass(frozen=True)
class _Process:
    """A process of this machine; it has no environment, parent or name once it has ended."""

    number: int

    @property
    def environment(self) -> set[bytes]:
        return set(self._read("environ").split(b"\0"))

    @property
    def parent(self) -> int:
        return int((self._read("stat").rpartition(b")")[2].split() or [0, 0])[1])

    @property
    def name(self) -> str:
        return self._read("stat").partition(b"(")[2].partition(b")")[0].decode()

    def _read(self, what: str) -> bytes:
        try:
            return Path(f"/proc/{self.number}/{what}").read_bytes()
        except OSError:
            return b""


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _kill(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    _, verb, folder = sys.argv
    cluster = Cluster(Path(folder))
    if verb == "start":
        cluster.start()
        print(*(f"export {name}={value}" for name, value in cluster.environment.items()), sep="\n")
    else:
        cluster.stop()
