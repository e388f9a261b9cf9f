"""The pieces that benchmarks are made of: the plain DCGAN that ours is timed against, and the timing itself."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _plain_dcgan

    return _plain_dcgan


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _report

    return _report


def test_dcgan_sheet_2_6_counts_of_the_plain_networks(plain: ModuleType) -> None:
    def counts(network: torch.nn.Module) -> tuple[int, int]:
        trainable = sum(parameter.numel() for parameter in network.parameters())
        running = sum(buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
        return trainable, trainable + running

    assert counts(plain.Generator()) == (3_576_704, 3_578_624)
    assert counts(plain.Discriminator()) == (2_765_568, 2_767_360)


def test_dcgan_sheet_7_4_initial_weights_of_the_plain_networks(plain: ModuleType) -> None:
    for state in plain.initial_weights(0).values():
        for value in state.values():
            if value.numel() > 10_000:
                assert abs(value.mean()) < 0.002
                assert value.std() == pytest.approx(0.02, rel=0.05)
    again, other = plain.initial_weights(0)["generator"], plain.initial_weights(1)["generator"]
    assert torch.equal(again["main.0.weight"], plain.initial_weights(0)["generator"]["main.0.weight"])
    assert not torch.equal(again["main.0.weight"], other["main.0.weight"])


def test_dcgan_sheet_7_8_losses_at_zero_logits(plain: ModuleType) -> None:
    weights = {name: dict(state) for name, state in plain.initial_weights(0).items()}
    weights["discriminator"]["main.11.weight"] = torch.zeros(1, 512, 4, 4)
    _, step = plain.make_plain(weights)
    loss_d, _ = step(torch.zeros(2, 3, 64, 64), torch.randn(2, 100))
    assert float(loss_d) == pytest.approx(2 * math.log(2), abs=1e-6)


def test_a_plain_step_trains_both_networks_and_leaves_the_weights_it_was_given(plain: ModuleType) -> None:
    weights = plain.initial_weights(0)
    before = {name: value.clone() for name, value in weights["generator"].items()}
    draws = torch.Generator().manual_seed(0)
    real, latents = torch.rand(4, 3, 64, 64, generator=draws) * 2 - 1, torch.randn(4, 100, generator=draws)
    first, second = (plain.make_plain(weights)[1] for _ in range(2))
    losses = [first(real, latents) for _ in range(2)]
    assert losses[0] == second(real, latents)
    assert all(later != earlier for later, earlier in zip(losses[1], losses[0], strict=True))
    assert all(torch.equal(value, weights["generator"][name]) for name, value in before.items())


def test_the_recipe_dcgan_64_and_the_plain_loop_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import dcgan_step

    monkeypatch.setattr(dcgan_step, "IMAGES", 16)
    assert dcgan_step.difference(torch.device("cpu"), torch.float64, steps=2, batch=4) < 1e-10


def test_sides_run_in_turn_and_swap_places_every_round(report: ModuleType) -> None:
    called: list[str] = []
    seconds = report.in_turn({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=3)
    assert "".join(called) == "ab" + "abbaab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_the_ratio_compares_neighbours_in_time(report: ModuleType) -> None:
    assert report.times_faster([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == (2.0, 2.0, 2.0)
    assert report.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0)


def test_a_missed_gate_is_an_exit_code_and_a_record_names_the_machine(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["some_time.py", "--record"])
    options = report.arguments("How long it takes.")
    with pytest.raises(SystemExit) as end:
        report.finish(options, {"median": 0.5}, met=False, gate="at most 0.4 s")
    assert end.value.code == 1
    assert "MISSED: at most 0.4 s" in capsys.readouterr().out
    written = (tmp_path / "results" / "some_time.json").read_text()
    assert '"median": 0.5' in written
    assert torch.__version__ in written


def test_the_short_forms_are_those_of_all_that_have_a_gate() -> None:
    makefile = (BENCHMARKS.parent / "Makefile").read_text()
    chosen = re.search(r"for program in \$\$\((grep .*?)\); do", makefile)
    assert chosen is not None
    found = subprocess.run(chosen[1], shell=True, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=True)
    sources = {path.name: path.read_text() for path in BENCHMARKS.glob("[!_]*.py")}
    gated = {name for name, text in sources.items() if re.search(r"_report import .*\bfinish\b", text)}
    assert "help_time.py" in gated
    assert gated <= {Path(line).name for line in found.stdout.splitlines()}
    assert "benchmarks/equal_seconds.py" not in found.stdout  # a study, which takes no --quick
