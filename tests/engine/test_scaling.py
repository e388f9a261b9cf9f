"""Whether several processes pay: what one alone would have, and how it is said. In two processes: test_training.py."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from frugan.engine import scaling
from frugan.engine.processes import Processes


@pytest.mark.parametrize(
    ("device", "cores", "expected"), [("cpu", 16, 4), ("cpu", 3, 3), ("cuda", 16, 1)], ids=["all", "cores", "card"]
)
def test_one_process_alone_has_the_threads_of_all_on_its_machine(
    device: str, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun gives each process one thread, and nobody who leaves it out has so few."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    before, seen = torch.get_num_threads(), []
    parts: Any = SimpleNamespace(
        device=torch.device(device), processes=Processes(0, 4), update=SimpleNamespace(),
        batches=SimpleNamespace(rank=0, world=4), stateful=dict,
    )  # fmt: skip
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    monkeypatch.setattr(scaling, "_seconds", lambda parts: (seen.append(torch.get_num_threads()), 0.01)[1])
    try:
        torch.set_num_threads(1)
        found = scaling.measure(parts)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert seen == [1, expected]
    assert found is not None
    assert f"in one with the whole batch and {expected} thread{'s' * (expected > 1)}" in found.words
    assert parts.processes == Processes(0, 4)
