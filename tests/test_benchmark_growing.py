"""The benchmark of growing networks: a run that it holds at a size trains that size, and slow sizes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugan import recipes
from frugan.engine.loop import play_round

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_run_is_held_at_its_size_and_larger_ones_cost_more() -> None:
    import growing_step

    recipe = recipes.find("pggan-portraits").with_changes({"batch_size": 2, "architecture.width": 0.25})
    work = []
    for level, side in enumerate(growing_step.SIZES[:3]):
        parts = growing_step.held_at(recipe, level)
        assert float(play_round(parts)["generator.level"]) == level
        work.append(growing_step.predicted(parts, side))
    assert work[0] < work[1] / 2 < work[2] / 4


def test_sizes_that_are_not_fast_enough_are_named() -> None:
    import growing_step

    def ratios(four: float, eight: float) -> dict[str, object]:
        return {"4": {"measured": {"median": four}}, "8": {"measured": {"median": eight}}}

    assert growing_step.slow(ratios(9.0, 5.0)) == []
    assert growing_step.slow(ratios(9.0, 4.9)) == ["8 x 8: 4.90 times faster, not 5.0"]
