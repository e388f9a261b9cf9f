"""Evaluation while a run trains: named for what it is, no trace in the weights, and the best kept if asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from frugan import artefact, terminal
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.evaluation import evaluate, unequal
from frugan.evaluation import while_training as approximate
from frugan.registry import UserError
from frugan.training import _observing, train

KEYS = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}
UNLABELLED: dict[str, Any] = {"view": "pixels", "count": 1000, "device": "cpu"}


def trained(out: Path, images: int = 1024, **more: Any) -> RunFolder:
    """A tiny run of dense networks in steps of 128 images."""
    more["changes"] = {**KEYS, "batch_size": 64, **more.get("changes", {})}
    return train("vanilla", data="glyphs:digits", images=images, out=out, device="cpu", quiet=True, **more)


def state(run: RunFolder) -> dict[str, bytes]:
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    tensors, _ = checkpoint.read(newest)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.fixture(scope="module", autouse=True)
def _looked_at_through_pixels() -> Any:
    """No classifier is trained for these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugan.evaluation.opening.view.suitable_view", lambda dataset: "pixels")
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("looked") / "run", evaluate_every=512, keep_best="fid")


def test_a_value_on_the_way_says_what_it_is_and_equals_no_final_one(run: RunFolder) -> None:
    values = approximate.values_of(run)
    assert [value["images"] for value in values] == [512, 1024]
    assert [value["metric"] for value in values] == ["fid_2k", "fid_2k"]
    logged = [line["fid_2k"] for line in run.lines(run.log) if "fid_2k" in line]
    assert logged == [value["values"]["fid_2k"] for value in values]
    protocol = values[0]["protocol"]
    assert (protocol["fake_count"], protocol["real_count"], protocol["split"]) == (2000, 1200, "train")
    assert protocol["approximate"] == "of 2,000 images"
    assert unequal([value["protocol"] for value in values]) == []
    final = evaluate(run, metrics=["fid"], reference="train", **{**UNLABELLED, "count": 2000})[0]
    apart = unequal([protocol, final["protocol"]])
    assert sorted(line.partition(":")[0] for line in apart) == ["approximate", "checkpoint"]
    assert final["protocol"]["sampling_seed"] != protocol["sampling_seed"]
    assert not any("_2k" in value["metric"] for value in run.lines(run.metrics))


def test_the_value_on_the_way_is_that_of_what_would_be_shipped(run: RunFolder) -> None:
    last = approximate.values_of(run)[-1]
    again = evaluate(
        run, metrics=["fid"], reference="train", seed=last["protocol"]["sampling_seed"], view="pixels", count=2000,
        device="cpu",
    )[0]  # fmt: skip
    assert last["values"]["fid_2k"] == again["values"]["fid"]
    assert last["protocol"]["generator"] == again["protocol"]["generator"]


def test_it_leaves_no_trace_in_the_weights_and_resumes_as_unbroken(run: RunFolder, tmp_path: Path) -> None:
    assert state(trained(tmp_path / "plain")) == state(run)
    trained(tmp_path / "resumed", 512, evaluate_every=512)
    resumed = trained(tmp_path / "resumed", 1024, evaluate_every=512)
    assert state(resumed) == state(run)
    assert approximate.values_of(resumed) == approximate.values_of(run)


def test_the_best_checkpoint_is_an_artefact_that_says_how_it_was_chosen(run: RunFolder) -> None:
    values = approximate.values_of(run)
    best = min(values, key=lambda value: value["values"]["fid_2k"])
    config = json.loads((run.path / "best" / "config.json").read_text())
    assert config["best_by"] == {"metric": "fid_2k", "value": best["values"]["fid_2k"]}
    assert (config["checkpoint"], config["images"]) == ("best of 2 by fid_2k", best["images"])
    assert artefact.load(run.path / "best").weights_hash == best["protocol"]["generator"]
    assert not list(run.path.glob(".best*"))


def test_the_best_is_evaluated_anew_on_fresh_samples_and_shares_no_table_with_the_last(run: RunFolder) -> None:
    final = [value for value in run.lines(run.metrics) if value["protocol"]["checkpoint"] == "best of 2 by fid_2k"]
    fid = final[0]
    assert [value["metric"] for value in final] == ["fid"]
    assert fid["protocol"]["split"] == "test"
    approximate_seeds = {value["protocol"]["sampling_seed"] for value in approximate.values_of(run)}
    assert fid["protocol"]["sampling_seed"] == 0
    assert 0 not in approximate_seeds
    last = evaluate(run, metrics=["fid"], count=fid["protocol"]["fake_count"], device="cpu")[0]
    assert "checkpoint: best of 2 by fid_2k | last" in unequal([fid["protocol"], last["protocol"]])


def test_a_run_stopped_before_its_best_was_evaluated_does_so_when_it_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr("frugan.training._observing.evaluate_best", lambda *given: None)
        run = trained(tmp_path / "run", 128, evaluate_every=128, keep_best="fid")
    assert run.lines(run.metrics) == []
    for _ in range(2):
        trained(tmp_path / "run", 128, evaluate_every=128, keep_best="fid")
        assert [value["protocol"]["checkpoint"] for value in run.lines(run.metrics)] == ["best of 1 by fid_2k"]
    before = state(run)
    trained(tmp_path / "run", 128)  # nothing more is asked for, and nothing done
    assert state(run) == before


def test_the_evaluation_of_the_best_tells_its_progress(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("frugan.evaluation.evaluate", lambda *given, progress, **more: asked.append(progress) or [])
    for quiet in (False, True):
        _observing.evaluate_best(run, _observing.Looks(512, "fid", ()), torch.device("cpu"), quiet)
    assert asked == [terminal.tell, None]


def test_what_a_run_kept_that_had_to_begin_again_is_not_this_ones_best(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 128, evaluate_every=128, keep_best="fid")
    config = json.loads((run.path / "best" / "config.json").read_text())
    other = {**config, "best_by": {**config["best_by"], "value": 0.0}}
    (run.path / "best" / "config.json").write_text(json.dumps(other))
    shutil.rmtree(run.checkpoints)
    trained(tmp_path / "run", 128, evaluate_every=128, keep_best="fid")
    assert json.loads((run.path / "best" / "config.json").read_text()) == config


def test_a_worse_checkpoint_is_counted_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([5.0, 3.0, 4.0, 3.5])

    def measure(self: Any, metric: Any, protocol: Any) -> dict[str, Any]:
        return {
            "metric": "fid", "values": {"fid": next(numbers)}, "headline": "fid", "better": "lower", "images": 0,
            "protocol": protocol, "floor": None,
        }  # fmt: skip

    monkeypatch.setattr("frugan.training._observing.evaluate_best", lambda *given: None)
    monkeypatch.setattr("frugan.evaluation.values.of_fakes.MeasurementOfFakes.measure", measure)
    run = trained(tmp_path / "run", 384, evaluate_every=128, keep_best="fid")
    config = json.loads((run.path / "best" / "config.json").read_text())
    assert (config["images"], config["checkpoint"]) == (256, "best of 3 by fid_2k")
    assert config["best_by"]["value"] == 3.0
    # Stopped while the next best one took its place: the last one is still there, and still the best.
    (run.path / "best").rename(run.path / ".best.old")
    trained(tmp_path / "run", 512, evaluate_every=128, keep_best="fid")
    config = json.loads((run.path / "best" / "config.json").read_text())
    assert (config["images"], config["checkpoint"]) == (256, "best of 4 by fid_2k")
    assert not list(run.path.glob(".best*"))


def test_a_value_that_cannot_be_measured_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Any, *given: Any, **named: Any) -> None:
        raise UserError("not finite")

    monkeypatch.setattr("frugan.evaluation.values.of_fakes.MeasurementOfFakes.measure", measure)
    run = trained(tmp_path / "run", 128, evaluate_every=128)
    assert approximate.values_of(run) == []
    assert checkpoint.images_of(checkpoint.newest(run.checkpoints)) == 128  # pyrefly: ignore


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"keep_best": "fid"}, "Say how often to evaluate: --evaluate-every 50k"),
        ({"evaluate_every": "often"}, "'often' is not a number of images"),
        ({"evaluate_every": 512, "keep_best": "fidd"}, "metric is not measured .* Did you mean 'fid'"),
        ({"evaluate_every": 512, "keep_best": "class_coverage"}, "needs labels, but .* has none"),
        ({"evaluate_every": 512, "changes": {"data.limit": 900}}, "--evaluate-every needs 1,000 images or more"),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        trained(tmp_path / "run", **asked)
