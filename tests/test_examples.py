"""Every program in examples/ is run with a tiny budget."""

from __future__ import annotations

import functools
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frugan import costs, recipes

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
Run = Callable[..., None]
Start = Callable[..., str]
A_PAGE = 66  # lines that a printed page has


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_this_process: Run
) -> Start:
    """``start(name, *arguments)`` runs a program in the test's folder and returns what it printed.

    It runs in this process, where torch is imported already, and so do the runs of its comparisons. The recipe `mnist`
    is a thin one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("frugan.comparison.running.jobs.run_jobs", in_this_process)
    monkeypatch.setattr("frugan.memory.keep", lambda: None)  # it would change this process for all tests
    monkeypatch.setattr("frugan.costs.latencies", functools.partial(costs.latencies, repeats=2, warm_up=1))
    thin = {"generator.width": 0.25, "discriminator.width": 0.25}
    monkeypatch.setattr(
        recipes, "find", lambda name, find=recipes.find: find(name).with_changes(thin if name == "mnist" else {})
    )

    def started(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return started


def test_train_and_sample_ships_what_it_trained(start: Start) -> None:
    printed = start("train_and_sample.py", "--images", "64")
    assert "(64, 28, 28, 1) uint8, trained on glyphs" in printed
    assert "artefact: the same images" in printed


def test_swap_any_module_reports_counts_and_times(start: Start) -> None:
    printed = start("swap_any_module.py", "--seconds", "0.2")
    assert "left: dilation 2 x 2" in printed
    assert "3 of 6 rewritten" in printed
    assert "depthwise: batch 16: " in printed


def test_compare_twins_says_what_may_be_said(tmp_path: Path, start: Start) -> None:
    arguments = ("--images", "64", "--seeds", "1", "--count", "1000", "--view", "pixels")
    printed = start("compare_twins.py", *arguments)
    assert "factorised: " in printed
    assert "damaged: " in printed
    assert (tmp_path / "runs" / "example-twins" / "report.html").is_file()


def test_own_images_names_what_cannot_be_used_and_trains_on_the_rest(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        size = (24 + number, 30, 3)
        Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)).save(folder / f"{number:02}.png")
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:100])
    printed = start("own_images.py", str(folder), "--images", "32")
    assert "12 of 13 pictures can be used." in printed
    assert "broken.png" in printed
    assert len(list((tmp_path / "runs" / "example-own").glob("made-*.png"))) == 16


def test_first_images_differ_by_family_and_start(start: Start) -> None:
    lines = start("first_images.py", "dcgan-32").splitlines()
    assert len(lines) == 4
    layerwise, composite = (dict(zip(lines[0].split("|"), line.split("|"), strict=True)) for line in lines[2:])
    assert float(composite[" depthwise "]) > 1.5 * float(layerwise[" depthwise "])
    assert layerwise[" standard "] == composite[" standard "]


def test_metric_faults_finds_every_fault_worse(tmp_path: Path, start: Start) -> None:
    random = np.random.default_rng(0)
    shapes = (random.normal(size=(2, 10, 12, 12)).repeat(2, 2).repeat(2, 3)[:, :, :12, :12] > 0) * 200
    labels = random.integers(0, 10, (2, 1000))
    images = [(shapes[0][one] + random.integers(0, 50, (1000, 12, 12))).astype(np.uint8) for one in labels]
    np.savez(tmp_path / "shapes.npz", x_train=images[0], y_train=labels[0], x_test=images[1], y_test=labels[1])
    start("metric_faults.py", "--data", "shapes.npz", "--metrics", "fid", "--view", "pixels")
    table = json.loads((tmp_path / "runs" / "example-faults" / "table.json").read_text())
    for fault, values in table["fid"].items():
        found = list(values.values())
        assert found[-1] > found[0], fault
    assert (tmp_path / "runs" / "example-faults" / "faults.png").stat().st_size > 10_000


def test_batch_correlation_tells_virtual_batch_norm_from_batch_norm(tmp_path: Path, start: Start) -> None:
    import frugan

    shares = {}
    for recipe in ("dcgan-medium", "vbn"):
        frugan.train(recipe, data="glyphs", images=32, batch_size=16, out=tmp_path / recipe,
                     changes={"generator.width": 0.05, "discriminator.width": 0.25}, quiet=True)  # fmt: skip
        printed = start("batch_correlation.py", recipe, "--batch", "16", "--draws", "4")
        shares[recipe] = float(printed.split("companions make ")[1].split("%")[0])
    assert shares["dcgan-medium"] > 0.1  # untrained; trained nets have more
    assert shares["vbn"] == 0


def test_balance_log_compares_what_was_logged_with_the_baseline(tmp_path: Path, start: Start) -> None:
    for arm, rise in (("standard", 0), ("vbn", 1)):
        for seed in (0, 1, 2):
            folder = tmp_path / "runs" / arm / f"seed-{seed}"
            folder.mkdir(parents=True)
            lines = [{"images": 10 * n, "generator.loss": n + rise + 0.1 * seed * rise} for n in range(1, 9)]
            (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = {"arms": {"vbn": {}, "standard": {}}, "baseline": "standard", "seeds": [0, 1, 2]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    printed = start("balance_log.py", ".", "--keys", "generator.loss")
    assert "| standard | 7.500 | 0.500 |" in printed  # of 8 lines those after 60 images
    assert "| vbn | 8.600 (+1.100: +0.852 to +1.348) | 0.500 (+0.000: +0.000 to +0.000) |" in printed


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_under_a_page_and_tested(example: Path) -> None:
    text = example.read_text()
    assert len(text.splitlines()) <= A_PAGE
    assert f"python examples/{example.name}" in text
    assert f'"{example.name}"' in Path(__file__).read_text()
