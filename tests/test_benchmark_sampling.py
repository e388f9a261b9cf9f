"""The sampling benchmark: its twins exist, and one set of them is measured with ratios that say what they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frugan import recipes

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_twin_can_be_named() -> None:
    import sampling

    for standard, twins in sampling.SETS.items():
        assert recipes.find(standard).makers()
        for recipe, family in twins.values():
            found = recipes.find(recipe)
            assert found if family is None else found.with_family(family)


def test_a_twin_stands_beside_its_standard_form(monkeypatch: pytest.MonkeyPatch) -> None:
    import sampling

    monkeypatch.setitem(sampling.SETS, "mnist", {"factorised": ("mnist", "factorised")})
    with torch.inference_mode():
        record, rows = sampling.measured("mnist", 1, 2)
    ratios = record["ratios"]
    fewer = ratios["standard"]["macs"] / ratios["factorised"]["macs"]
    assert ratios["factorised"]["aim"] == pytest.approx(fewer**0.6)
    assert record["largest_difference"] < 2e-4
    assert [row[0] for row in rows] == ["mnist standard", "mnist factorised"]
