"""How far a comparison is, and the order in which its runs begin."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from frugan import cli
from frugan.comparison import status
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.order import sort_runs
from frugan.engine.run import RunFolder
from frugan.recipe import to_dict
from frugan.recipes import find
from frugan.registry import UserError


def planned(folder: Path, arms: int = 2, seeds: int = 3) -> dict[str, Any]:
    """A comparison that was planned, and of which nothing was trained."""
    recipe = {**to_dict(find("vanilla")), "images": 1000}
    plan = {"arms": {f"arm-{number}": recipe for number in range(arms)}, "seeds": list(range(seeds))}
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write_json(folder / "plan.json", plan)
    return plan


def begun(folder: Path, images: int, *, saved: bool = False, measured: int = 0) -> RunFolder:
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    run.log.write_text(json.dumps({"images": images, "seconds": 1.0}) + "\n")
    if saved:
        (run.checkpoints / f"images-{images:012d}-{'0' * 16}.safetensors").touch()
    if measured:
        run.metrics.write_text(json.dumps({"metric": "fid", "images": measured}) + "\n")
    return run


def test_a_comparison_is_read_while_its_runs_are_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned(tmp_path)
    runs = tmp_path / "runs"
    begun(runs / "arm-0/seed-0", 1000, saved=True, measured=1000)
    begun(runs / "arm-0/seed-1", 1000, saved=True, measured=875)  # on its way
    begun(runs / "arm-0/seed-2", 990)  # its log ends so; it may have rounds left
    (runs / "arm-1").mkdir()
    (runs / "arm-1/seed-0.failed.json").write_text(json.dumps({"code": 2, "why": "loss is not finite"}))
    with RunFolder(runs / "arm-1/seed-1").locked():
        (runs / "arm-1/seed-1/log.jsonl").write_text('{"images": 250}\n{"imag')
        cli.main(["compare", "--status", str(tmp_path)])
        found = status(tmp_path)
    assert [run.state for run in found.runs] == ["measured", "failed", "trained", "training", "training", "waiting"]
    host = next(run.host for run in found.runs if run.arm == "arm-1" and run.seed == 1)
    printed = capsys.readouterr().out
    assert "The test: 2 of 6 runs are trained, 1 of them measured; 1 failed." in printed
    assert f"arm-1 seed 1: 250 of 1,000 images, {host}" in printed
    assert "arm-1 seed 0 failed: loss is not finite" in printed
    assert not found.is_finished


def test_a_budget_in_rounds_ends_with_its_rounds_however_many_images_each_shows(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=1, seeds=2)
    recipe = {**plan["arms"]["arm-0"], "rounds": 10, "batch_size": 100}
    RunFolder(tmp_path).write_json(tmp_path / "plan.json", {**plan, "arms": {"arm-0": recipe}})
    for seed, rounds in enumerate((10, 6)):  # rounds of two batches
        run = begun(tmp_path / f"runs/arm-0/seed-{seed}", rounds * 200, saved=True)
        run.log.write_text(json.dumps({"images": rounds * 200, "rounds": rounds}) + "\n")
    assert [(run.state, run.images) for run in status(tmp_path).runs] == [("trained", 1000), ("training", 600)]


def test_what_is_trained_before_the_test_is_counted(tmp_path: Path) -> None:
    planned(tmp_path)
    for number, saved in enumerate((True, False)):
        run = begun(tmp_path / f"pilots/seed-{number}", 1000, saved=saved)
        run.write_json(run.recipe, {"images": 1000})
    assert status(tmp_path).words()[0] == "Pilots: 1 of 2 are done."


def test_a_folder_without_a_comparison_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no comparison that was begun.*Give the folder of --out"):
        status(tmp_path)


@pytest.mark.parametrize(("chosen", "said"), [({}, "Trials (the better ones go on)"), ({"chosen": 0}, "Trials")])
def test_trials_are_not_done_before_the_best_one_is_chosen(tmp_path: Path, chosen: dict[str, Any], said: str) -> None:
    plan = {**planned(tmp_path), "tuning": {"arms": {"arm-0": {"tried": [], **chosen}}}}
    RunFolder(tmp_path).write_json(tmp_path / "plan.json", plan)
    trial = begun(tmp_path / "tuning/arm-0/trial-1-seed-2000", 250, saved=True)
    trial.write_json(trial.recipe, {**to_dict(find("vanilla")), "images": 250})
    assert status(tmp_path).before == {said: (1, 1)}


def test_the_status_of_a_thousand_runs_takes_seconds(tmp_path: Path) -> None:
    planned(tmp_path, arms=30, seeds=34)
    for number in range(30):
        begun(tmp_path / f"runs/arm-{number}/seed-0", 500)
    began = time.monotonic()
    assert len(status(tmp_path).runs) == 1020
    assert time.monotonic() - began < 10


def test_what_every_verdict_needs_begins_first_then_one_arm_with_its_control_after_the_other() -> None:
    recipe = find("vanilla")
    arms = [Arm("standard", recipe), Arm("thin", recipe), Arm("wide", recipe), Arm("damaged", recipe),
            Arm("thin control", recipe, "thin"), Arm("wide control", recipe, "wide")]  # fmt: skip
    ordered = sort_runs({(arm.name, seed): (arm.name, seed) for seed in (0, 1) for arm in arms}, arms)
    assert ordered == [
        ("standard", 0), ("damaged", 0), ("standard", 1), ("damaged", 1), ("thin", 0), ("thin control", 0), ("thin", 1),
        ("thin control", 1), ("wide", 0), ("wide control", 0), ("wide", 1), ("wide control", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("changed", [{"seeds": 5}, {"seeds": None}, {"fixed": None}, {"fixed": {"arms": [1]}}])
def test_a_plan_that_somebody_edited_is_named(tmp_path: Path, changed: dict[str, Any]) -> None:
    RunFolder(tmp_path).write_json(tmp_path / "plan.json", {**planned(tmp_path), **changed})
    with pytest.raises(UserError, match=r"plan\.json: .* must be .* Put back a good copy of the file"):
        status(tmp_path)


def test_files_beside_a_run_that_hold_something_else_are_named_or_passed_over(tmp_path: Path) -> None:
    planned(tmp_path)
    run = begun(tmp_path / "runs/arm-0/seed-0", 500)
    with run.log.open("a") as log:
        log.write("5\n")
    assert status(tmp_path).runs[0].images == 500
    (tmp_path / "runs/arm-0/seed-1.failed.json").write_text("[]")
    with pytest.raises(UserError, match=r"seed-1\.failed\.json is \[\], but must be a map"):
        status(tmp_path)
