"""The benchmark of E-GAN's round: its sides are played, and its prediction is the cost model of the sheet."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from frugan.engine.loop import play_round

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL, LARGE = (69_500_928, 68_689_920), (407_830_528, 406_208_512)


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_egan_sheet_4_2_costs_of_a_round() -> None:
    import egan_round

    naive = functools.partial(egan_round.evolved, fresh_latents=True, naive=True)
    found = [naive(*LARGE, 256), naive(*LARGE, 64), naive(*SMALL, 256), naive(*SMALL, 96), naive(*SMALL, 64)]
    found.append(egan_round.plain(*SMALL, anew=True))
    # The sheet adds rounded parts.
    assert [value / 1e9 for value in found] == pytest.approx([2614, 976, 443, 212, 165, 57], abs=0.6)


def test_egan_sheet_4_3_costs_with_what_is_shared() -> None:
    import egan_round

    published, ours = egan_round.evolved(*SMALL, 256, fresh_latents=True), egan_round.evolved(*SMALL, 96)
    assert (round(published / 1e9), round(ours / 1e9)) == (337, 163)
    assert ours / egan_round.plain(*SMALL) == pytest.approx(2.96, abs=0.005)
    assert published / egan_round.plain(*SMALL) == pytest.approx(6.1, abs=0.05)


def test_all_sides_are_played() -> None:
    import egan_round

    width = {"generator.width": 0.03, "discriminator.width": 0.03}
    taken = {}
    for name, game in egan_round.GAMES.items():
        parts = egan_round.parts_of(game, width)
        play_round(parts)
        taken[name] = parts.clock.images
    assert taken == {"plain": 96, "E-GAN": 192, "published": 352}
