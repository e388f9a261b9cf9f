"""Two processes of one run agree by means, and notice when they hold different networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from frugan.engine.processes import Processes

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes says, see ``differing.py``."""
    out = tmp_path_factory.mktemp("differing")
    path = os.pathsep.join(filter(None, [str(TESTS.parent / "src"), os.environ.get("PYTHONPATH")]))
    program = [str(TESTS / "two_processes.py"), str(TESTS / "engine" / "differing.py"), str(out)]
    done = subprocess.run(
        [sys.executable, *program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False, timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def test_every_process_is_told_the_same(found):
    assert found[0]["tensors"] == found[1]["tensors"]
    assert found[0]["parts"] == found[1]["parts"]


def test_a_mean_is_over_both_and_leaves_the_own_tensor_and_its_graph_alone(found):
    assert [one["mean"] for one in found] == [[0.5, 2.0], [0.5, 2.0]]
    assert [one["own"] for one in found] == [[0.0, 2.0], [1.0, 2.0]]
    assert not any(one["graph"] for one in found)


def test_the_first_tensor_that_differs_in_any_bit_is_named(found):
    told = found[0]["tensors"]
    assert [name for name, differs in told.items() if differs is None] == ["equal", "equal in pieces"]
    assert {differs for differs in told.values() if differs is not None} == {"this"}


def test_a_log_point_names_what_differs_in_a_run(found):
    told = found[0]["parts"]
    named = {
        "weight": "network.generator/0.weight", "gain of a norm": "network.generator/1.weight",
        "buffer": "network.generator/level", "moments": "optimiser.generator/", "average": "average.generator/0.bias",
    }
    for case, name in named.items():
        assert f"different values of '{name}" in told[case]
        assert "progress.mean(tensor)" in told[case]


def test_each_process_may_count_statistics_of_its_own_share(found):
    told = found[0]["parts"]
    assert [told[case] for case in ("nothing", "statistics", "averaged statistics")] == [None, None, None]


def test_one_process_agrees_with_itself():
    alone = Processes()
    assert alone.differing({"one": torch.zeros(1)}) is None
    assert alone.mean_(torch.ones(2)).tolist() == [1.0, 1.0]
