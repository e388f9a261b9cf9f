"""A comparison through a real SLURM (`slurm_cluster.py`): a node dies, a job is preempted, the controller is restarted.

Needs Debian's packages slurm-wlm and munge, root, and the extra `slurm`. docs/results/cluster.md holds a record.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


slurm_cluster, test_launchers = module("slurm_cluster"), module("test_launchers")
MISSING = [*slurm_cluster.MISSING, *([] if importlib.util.find_spec("submitit") else ["submitit (the extra slurm)"])]

pytestmark = [
    pytest.mark.skipif(bool(MISSING) or os.getuid() != 0, reason=f"SLURM is not installed here: {', '.join(MISSING)}"),
    pytest.mark.timeout(900),
]

ARMS = ["vanilla", "thin: vanilla generator.hidden=[4]", "slim: vanilla generator.hidden=[2]"]
KEYS = ["data.size=12", "data.limit=1200", "generator.hidden=[16]", "discriminator.hidden=[16]"]
COMMON = [
    *ARMS, "--data", "glyphs:digits", "--images", "60k", *KEYS, "--metrics", "fid",
    "--view", "pixels", "--count", "1000", "--device", "cpu", "--seeds", "0,1",
]  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[Any]:
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))  # a short path: a socket lies in it
    made = slurm_cluster.Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def begin(folder: Path, cluster: Any, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **cluster.environment}
    return subprocess.Popen(
        [sys.executable, "-m", "frugan", "compare", *COMMON, *options], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def queue(cluster: Any) -> list[list[str]]:
    """Of each job: name in the queue, state, node."""
    lines = cluster.ask("squeue", "-h", "-r", "-o", "%i %T %N").splitlines()
    return [[*line.split(), ""][:3] for line in lines]


def running_on(cluster: Any, node: str) -> list[str]:
    return [name for name, state, where in queue(cluster) if state == "RUNNING" and where == node]


def hurry(cluster: Any) -> None:
    """Do not wait the two minutes that SLURM lets pass before a job that lost its node begins again."""
    for name, state, _ in queue(cluster):
        if state == "PENDING":
            cluster.ask("scontrol", "update", f"JobId={name}", "StartTime=now")


def test_a_dead_node_a_preempted_job_and_another_controller_change_nothing(tmp_path: Path, cluster: Any) -> None:
    (tmp_path / "slurm.toml").write_text("cpus = 1\nchunk = 4\nminutes = 60\n")
    running = begin(tmp_path, cluster, "--out", "spread", "--launcher", "slurm", "--launcher-options", "slurm.toml")

    def trained(node: str) -> Callable[[], bool]:
        """Whether a job on this node has saved something, so that it can be continued."""
        return lambda: bool(running_on(cluster, node)) and len(list(tmp_path.glob("spread/runs/*/*/log.jsonl"))) >= 2

    cluster.wait(trained("one"), 200)
    lost = running_on(cluster, "one")
    cluster.kill_node("one")
    cluster.stop_controller()
    time.sleep(2)
    cluster.start_controller()
    cluster.wait(lambda: bool(running_on(cluster, "two")), 200)
    preempted = running_on(cluster, "two")
    cluster.ask("sbatch", "-p", "urgent", "-w", "two", "-o", f"{tmp_path}/urgent.txt", "--wrap", "sleep 5")
    cluster.wait(lambda: not set(running_on(cluster, "two")) & set(preempted), 200)
    cluster.wait(lambda: not set(running_on(cluster, "one")) & set(lost), 200)
    cluster.start_node("one")
    while running.poll() is None:
        hurry(cluster)
        time.sleep(3)
    told = running.communicate()[0]
    assert running.returncode == 0, told
    assert lost
    assert preempted
    for name in {*lost, *preempted}:
        log = (tmp_path / f"spread/slurm/{name}_0_log.out").read_text()
        assert log.count("Starting with JobEnvironment") >= 2, f"{name} was not begun again:\n{log}"
    assert subprocess.run(  # as many threads as the workers have: an FID's 12th digit depends on them
        [sys.executable, "-m", "frugan", "compare", *COMMON, "--out", "local", "--jobs", "2"], cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    ).returncode == 0  # fmt: skip
    made = [json.loads((tmp_path / out / "comparison.json").read_text()) for out in ("spread", "local")]
    assert test_launchers.judged(made[0]) == test_launchers.judged(made[1])
    print(f"lost their node: {lost}; preempted: {preempted}\n{told}")


def test_a_refused_array_and_an_options_file_with_a_slip_are_one_line(tmp_path: Path, cluster: Any) -> None:
    for text, told in (
        ('partition = "gpus"\n', r"SLURM refused the runs: .*Invalid partition"),
        ('partiton = "gpu"\n', r"slurm\.toml: The launcher 'slurm' has no option 'partiton'\. Did you mean 'par"),
    ):
        (tmp_path / "slurm.toml").write_text(text)
        with begin(tmp_path, cluster, "--out", "o", "--launcher", "slurm", "--launcher-options", "slurm.toml") as ran:
            (line,) = [line for line in ran.communicate()[0].splitlines() if line.startswith("frugan: ")]
        assert ran.returncode == 2
        assert re.search(told, line), line
