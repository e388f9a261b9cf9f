"""A comparison through a real Ray of two nodes, one of which is killed in the middle. Needs the extra `ray`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed here (the extra ray)"),
    pytest.mark.timeout(900),
]

COMMON = [
    "vanilla", "thin: vanilla generator.hidden=[4]", "--data", "glyphs:digits", "--images", "60k", "data.size=12",
    "data.limit=1200", "generator.hidden=[16]", "discriminator.hidden=[16]", "--metrics", "fid", "--view", "pixels",
    "--count", "1000", "--device", "cpu", "--seeds", "0",
]  # fmt: skip

NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print("at", cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def nodes() -> Iterator[subprocess.Popen[str]]:
    """A Ray of two nodes, each with one core. It says its address, and kills the second node after a line."""
    with subprocess.Popen(
        [sys.executable, "-c", NODES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    ) as running:  # fmt: skip
        yield running
        running.communicate("\n\n", timeout=60)


def judged(data: dict[str, Any]) -> dict[str, Any]:
    runs = {arm["name"]: {seed: run["values"] for seed, run in arm["runs"].items()} for arm in data["arms"]}
    return {"runs": runs, "differences": data["differences"]}


def test_a_dead_node_changes_nothing(tmp_path: Path, nodes: subprocess.Popen[str]) -> None:
    assert nodes.stdout is not None
    assert nodes.stdin is not None
    address = next(line.split()[1] for line in nodes.stdout if line.startswith("at "))
    (tmp_path / "ray.toml").write_text(f'address = "{address}"\ncpus = 1\n')
    compare = [sys.executable, "-m", "frugan", "compare", *COMMON]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*compare, "--out", "spread", "--launcher", "ray", "--launcher-options", "ray.toml"], cwd=tmp_path,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as running:  # fmt: skip
        began = time.monotonic()
        while len(list(tmp_path.glob("spread/runs/*/*/log.jsonl"))) < 2 and time.monotonic() - began < 300:
            time.sleep(0.2)
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        assert "killed" in nodes.stdout.readline()
        told = running.communicate(timeout=800)[0]
    assert running.returncode == 0, told
    ran = subprocess.run(
        [*compare, "--out", "local"], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    made = [json.loads((tmp_path / out / "comparison.json").read_text()) for out in ("spread", "local")]
    assert judged(made[0]) == judged(made[1])
    print(told)
