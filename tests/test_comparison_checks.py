"""Whatever can be refused is refused before the first run of a comparison; and when its plan may still change."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from frugan import evaluation
from frugan.comparison import Arm, compare
from frugan.comparison.planning.plan_file import find_differences
from frugan.comparison.running import jobs
from frugan.engine.run import RunFolder
from frugan.recipe import Average
from frugan.registry import UserError
from frugan.training import resolve

FORMATS = Path(__file__).resolve().parent / "formats"
SMALL = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 96, "changes": SMALL, "metrics": ["fid"], "view": "pixels", "count": 1000,
    "device": "cpu", "quiet": True, "seeds": (0, 1),
}  # fmt: skip
ARMS = ["vanilla", "thin: vanilla generator.hidden=[4]"]
VERDICT = {"seeds": range(5)}
FEW = {"changes": {**SMALL, "data.limit": 200}, "reference": "train"}


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts is a failure of the test."""

    def started(*given: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(jobs, "run_jobs", started)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images in one split, without labels."""
    path = tmp_path_factory.mktemp("data") / "plain.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (1200, 12, 12, 1), dtype=np.uint8))
    return str(path)


@pytest.mark.usefixtures("no_run")
def test_the_speed_of_networks_that_grow_is_not_measured_in_their_first_rounds(tmp_path: Path) -> None:
    """They would all be at 4 x 4 pixels, and a budget in equal seconds hundreds of times too large."""
    changes = {"data.size": 16, "data.limit": 200, "architecture.width": 0.05}
    options = {**COMMON, "images": 6400, "changes": changes, "batch_size": 16}
    with pytest.raises(UserError, match=r"speed of 'pggan-cifar10': its networks grow.*Give --equal images"):
        compare(
            ["pggan-cifar10", "thin: pggan-cifar10 generator.width=0.02"], out=tmp_path / "out", equal="seconds",
            **options,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # Counts, of metrics that were named and of those that were not.
        ({"count": 200}, r"fid needs at least 1000 images, but 200 fake and 200 real would be .*--allow-few fid"),
        ({"count": 200, "metrics": None}, r"fid needs at least 1000 images, but 200 fake and 200 real would be comp"),
        ({"count": 90, "allow_few": ["fid"], "metrics": ["fid", "kid"]}, "kid needs at least 100 images"),
        ({"count": 0}, "--count 0: '0' is not a number of images"),
        ({"count": "many"}, "--count many: 'many' is not a number"),
        ({"count": 4000, "metrics": ["fid_infinity"]}, "fid_infinity needs at least 5000 images, .* 4,000 fake"),
        (FEW, r"fid needs at least 1000 images, but 200 real"),
        # What metrics ask for and these data or generators do not have.
        ({"metrics": ["classification_accuracy"], "count": None}, "labels, but the fake images .* such as 'cgan'"),
        ({"metrics": ["target_accuracy"]}, "target_accuracy judges translators, but 'vanilla'"),
        ({"metrics": ["modes"]}, "modes needs class probabilities, but the view 'pixels' knows no classes"),
        ({"metrics": ["swd"]}, r"swd needs images with sides of at least 16 pixels, but those of .* are 12 x 12"),
        ({"metrics": []}, "No metric was named"),
        # Names.
        ({"metrics": ["fdi"]}, "Did you mean 'fid'"),
        ({"allow_few": ["fdi"]}, "Did you mean 'fid'"),
        ({"view": "pixel"}, "Did you mean 'pixels'"),
        ({"reference": "tset"}, r"no reference 'tset'\. Did you mean 'test'\? Choose from: test, train"),
        ({"baseline": "fat"}, r"--baseline fat: no arm has this name\. Choose from: thin, vanilla"),
        ({"match": "mac"}, "Did you mean 'macs'"),
        ({"equal": "time"}, "accepted are images, seconds"),
        ({"code": "nowhere.py"}, "there is no such file"),
        ({"changes": {**SMALL, "generator.hiden": [16]}}, "Did you mean 'hidden'"),
        ({"changes": {**SMALL, "kernels": "fast"}}, "kernels=fast is unknown"),
        ({"precision": "float16"}, "There is no precision 'float16'"),
        ({"data": "nowhere"}, "nowhere: there is no file, folder or named source"),
        # What there is no device, weights or time for.
        ({"device": "gpu"}, "There is no device 'gpu'"),
        ({"device": "cuda:77"}, "CUDA"),
        ({"view": "inception"}, "needs the published weights"),
        ({"changes": {**SMALL, "generator.init": "nowhere"}}, "The arm 'vanilla': There is nothing at nowhere, whose"),
        ({"equal": "seconds"}, "measures the speed of 'vanilla' over 50 rounds or more, but its 96 images are only 3"),
        ({"jobs": 0}, "--jobs 0: .* 1 or more"),
        ({"evaluate_every": "often"}, "--evaluate-every often: 'often' is not a number"),
        ({**FEW, "evaluate_every": 32, "reference": "test"}, "--evaluate-every needs 1,000 images or more"),
        # Seeds and margins.
        ({"seeds": [0, 0]}, r"seeds are \[0, 0\]\. Give whole numbers"),
        ({"margin": 0.0}, "The margin is 0; it must be above 0"),
        ({"margin": float("nan")}, "The margin is nan; it must be above 0"),
        ({"margin": 1.0, "pilot_seeds": [1000]}, "Leave out --pilot-seeds or --margin"),
        ({**VERDICT, "pilot_seeds": [1000, 1000]}, r"pilot seeds are \[1000, 1000\]\. .* --pilot-seeds 1000-1002"),
        ({**VERDICT, "pilot_seeds": [3, 1000]}, "seed 3 is in --seeds and in --pilot-seeds"),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_is_told_before_a_run_starts_and_leaves_nothing_behind(
    no_run: None, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        compare(ARMS, out=tmp_path / "out", **{**COMMON, **options})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "test"}, "have no held-out images"),
        ({"view": "classifier"}, "cannot be trained on npz plain: it has no labels"),
        ({"metrics": ["classification_accuracy"]}, "needs held-out images, but npz plain has no test split"),
    ],
    ids=str,
)
def test_what_these_data_do_not_have_is_told_before_a_run_starts(
    no_run: None, unlabelled: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        compare(ARMS, out=tmp_path / "out", **{**COMMON, "data": unlabelled, **options})


def test_values_that_will_share_no_table_are_found_before_a_run_starts(no_run: None, tmp_path: Path) -> None:
    plain = resolve("vanilla", data="glyphs:digits", images=96, changes=SMALL)
    averaged = replace(plain, averages={"generator": Average(100.0)})
    labelled = replace(plain, networks={**plain.networks, "generator": replace(
        plain.networks["generator"], labels=True)})  # fmt: skip
    for other, why in ((averaged, r"weights: live \| averaged"), (labelled, r"labels: none \| drawn from")):
        with pytest.raises(UserError, match=rf"'plain' and that of 'other' would be measured differently, .*{why}"):
            compare([Arm("plain", plain), Arm("other", other)], out=tmp_path / "out", **COMMON)


def test_metrics_that_nobody_named_are_left_out_where_the_one_that_decides_is_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    stop: Callable[..., NoReturn], reached: type[Exception],
) -> None:
    monkeypatch.setattr(jobs, "run_jobs", stop)
    options = {**COMMON, "count": 90, "metrics": None, "allow_few": "fid", "quiet": False}
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "out", **options)
    told = capsys.readouterr().err
    assert "kid is left out: kid needs at least 100 images, but 90 fake" in told
    assert "fid is computed with few images: 90 fake and 90 real images" in told
    assert json.loads((tmp_path / "out/plan.json").read_text())["allow_few"] == ["fid"]


# ------------------------------------------------------------------------------------------------------------- the plan


def test_a_plan_of_which_no_run_has_begun_is_written_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: Callable[..., NoReturn], reached: type[Exception]
) -> None:
    monkeypatch.setattr(jobs, "run_jobs", stop)
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "out", **COMMON)
    with pytest.raises(reached):
        compare(["vanilla", "other: vanilla generator.hidden=[8]"], out=tmp_path / "out", **{**COMMON, "images": 64})
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert {name: recipe["images"] for name, recipe in plan["arms"].items()} == {"vanilla": 64, "other": 64}
    assert sorted(path.stem for path in (tmp_path / "out/arms").iterdir()) == ["other", "vanilla"]


def test_how_runs_are_evaluated_may_change_until_a_value_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    in_this_process: Callable[..., None], stop: Callable[..., NoReturn], reached: type[Exception],
) -> None:
    """What an earlier version did: it trained everything, found the count too small, and took no advice."""
    out = tmp_path / "out"
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    with monkeypatch.context() as broken:
        broken.setattr(evaluation, "evaluate", stop)
        with pytest.raises(reached):
            compare(ARMS, out=out, **{**COMMON, "count": 1100})
    with pytest.raises(UserError, match=r"To continue it, type: the same arms as.* Its runs have begun, "):
        compare(ARMS, out=out, **{**COMMON, "count": 1100, "images": 128})
    made = compare(ARMS, out=out, **{**COMMON, "count": 200, "allow_few": ["fid"], "quiet": False})
    told = capsys.readouterr().err
    assert "No value is known yet, so the plan may change: allow_few: None -> ['fid']; count: 1100 -> 200" in told
    assert made.data["metrics"]["fid"]["protocol"]["few_images"] == "200 fake and 200 real images, and fid takes 1,000"
    assert made.data["plan_changes"] == [{"changes": ["allow_few: None -> ['fid']", "count: 1100 -> 200"]}]
    assert "before any value was known: count: 1100 -" in made.report.read_text()

    # Now that values are known, it stays; what is no part of it may differ.
    with pytest.raises(UserError) as refused:
        compare(ARMS, out=out, **COMMON)
    assert "Some of its values are known (runs/thin/seed-0)" in str(refused.value)
    assert "type: --allow-few fid, --count 200. To compare something else, give another --out" in str(refused.value)
    again = compare(ARMS, out=out, **{**COMMON, "count": 200, "allow_few": ["fid"], "jobs": 2, "evaluate_every": 64})
    assert again.data["differences"] == made.data["differences"]


def test_values_that_were_measured_while_training_count_as_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_this_process: Callable[..., None],
    stop: Callable[..., NoReturn], reached: type[Exception],
) -> None:
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    with monkeypatch.context() as broken:
        broken.setattr(evaluation, "evaluate", stop)
        with pytest.raises(reached):
            compare(ARMS, out=tmp_path, **COMMON)
        run = RunFolder(tmp_path / "runs/vanilla/seed-0")
        run.append(run.log, {"images": 96, "rounds": 3, "fid_2k": 9.0, "evaluations": [{"metric": "fid_2k"}]})
        with pytest.raises(UserError, match=r"Some of its values are known \(runs/vanilla/seed-0\)"):
            compare(ARMS, out=tmp_path, **{**COMMON, "count": 1100})


def test_a_plan_of_an_earlier_version_is_equal_to_one_that_says_nothing_of_what_is_new() -> None:
    kept = {"arms": {}, "seeds": [0], "count": None, "format": 1}
    assert find_differences(kept, {**kept, "allow_few": None, "primary": "fid", "code": []}) == []


def test_a_comparison_of_an_earlier_version_goes_on_without_training_or_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("frugan_formats", FORMATS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    shutil.copytree(FORMATS / "v1/comparison", tmp_path / "kept")
    before = json.loads((tmp_path / "kept/comparison.json").read_text())
    monkeypatch.chdir(tmp_path)
    maker.write_many(tmp_path / "many.npz")

    def measured(*given: Any) -> None:
        raise AssertionError("a value was measured again")

    monkeypatch.setattr("frugan.evaluation.values.of_fakes.MeasurementOfFakes.measure", measured)
    monkeypatch.setattr("frugan.training._giving.give", measured)  # weights to begin with may be gone by now
    monkeypatch.setattr(jobs, "run_jobs", lambda planned, *rest: [job.finished() or measured() for job in planned])
    after = compare(maker.COMPARED, out=tmp_path / "kept", **maker.COMPARISON)
    assert after.data["differences"] == before["differences"]
    assert after.report.is_file()
