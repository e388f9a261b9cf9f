"""The StarGAN benchmark: its plain side is the network of the sheet, and both sides do the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_stargan_sheet_5_1_counts_of_the_plain_networks() -> None:
    import _plain_stargan as plain

    def count(network: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    assert count(plain.Generator(5)) == 8_430_528
    assert count(plain.Generator(8)) == 8_439_936
    assert count(plain.Discriminator(128, 5)) == 44_762_048


def test_the_recipe_stargan_and_the_plain_round_do_the_same() -> None:
    import stargan_step

    assert stargan_step.difference(torch.float64, 2) < 1e-9


def test_ratios_below_their_gates_are_named() -> None:
    import stargan_step

    def ratios(value: float) -> dict[str, object]:
        return {"ratios": {"depthwise-g": {"over standard": {"median": value}, "over plain": {"median": 20.0}}}}

    assert stargan_step.missed(ratios(3.0), ratios(3.0)) == []
    assert stargan_step.missed(ratios(1.5), ratios(3.0)) == ["depthwise-g over standard: 1.50, not 2.0"]
