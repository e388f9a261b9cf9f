"""The MNIST benchmark: what it counts is what a round computes."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_operations_of_a_round_scale_with_the_batch_and_fall_with_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mnist_step

    small, large = (mnist_step.operations("mnist", "standard", batch) for batch in (4, 8))
    assert large == 2 * small
    assert small / mnist_step.operations("mnist", "factorised", 4) > 1.2
    # A generator's step is one pass forward and two backward; most of a round is that.
    generators = 4 * 4 * 3 * 51_744_000
    assert generators < small < 2 * generators
