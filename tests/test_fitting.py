"""Fitting: only what is inside the budget is trained, the better half goes on, the best is shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from frugan import evaluation, reporting
from frugan.comparison.running import jobs
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.fitting import Fit, _candidates, _halving, _screening, _searching, fit
from frugan.fitting._budget import Budget, spelt
from frugan.fitting._screening import Screen
from frugan.recipe import from_run
from frugan.registry import UserError
from frugan.training import resolve

SMALL = {
    "data.size": 12, "data.limit": 64, "generator.channels": [16, 16, 16], "discriminator.channels": [4, 4],
    "latents.size": 4, "batch_size": 16, "precision": "float32", "kernels": "plain",
}  # fmt: skip
ASKED: dict[str, Any] = {
    "data": "glyphs", "changes": SMALL, "images": 320, "families": ["standard", "depthwise"],
    "widths": ("1", "0.5", "0.25"), "max_latency": "2ms", "max_bytes": "60kB", "to": "hub_folder", "device": "cpu",
    "quiet": True, "view": "pixels", "count": 2000,
}  # fmt: skip


class Latency:
    """Stands for the time of a network: a microsecond for each ten parameters, four for depthwise ones."""

    def __init__(self, parameters: int, family: str) -> None:
        self.median_ms = parameters / 1e4 * (4 if family == "depthwise" else 1)

    def as_dict(self) -> dict[str, Any]:
        return {"median_ms": self.median_ms, "quartiles_ms": [self.median_ms, self.median_ms], "machine": "none"}


def made_up_size(network: Any, runtime: str, threads: int, seconds: float = 2.0) -> _screening.Size:
    parameters = sum(tensor.numel() for tensor in network.module.state_dict().values())
    families = network.config["network"]["families"]
    return _screening.Size(4 * parameters + 2000, Latency(parameters, families[0]["family"]))  # type: ignore[arg-type]


def made_up_value(run: Any, **given: Any) -> list[dict[str, Any]]:
    """Thin generators are better early, and wider ones at the end; depthwise ones a little better throughout."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    recipe, newest = from_run(folder), checkpoint.newest(folder.checkpoints)
    assert newest is not None
    images = checkpoint.images_of(newest)
    spec = recipe.networks["generator"]
    number = 50 - 30 * spec.options["width"] * images / 320 - 2 * (spec.families[0].family == "depthwise")
    protocol = {
        "data": "glyphs-digits", "split": "test", "content_hash": "0123456789abcdef", "real_count": given["count"],
        "fake_count": given["count"], "view": "pixels", "view_version": "pixels-1", "resizing": "none",
        "labels": "none", "view_accuracy": None,
        "precision": "float32", "truncation": None, "weights": "averaged", "checkpoint": "last",
    }  # fmt: skip
    (metric,) = given["metrics"]
    value = {"metric": metric, "values": {metric: number}, "headline": metric, "better": "lower", "images": images,
             "protocol": protocol, "floor": None}  # fmt: skip
    folder.append(folder.metrics, value)
    return [value]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None]) -> pytest.MonkeyPatch:
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    monkeypatch.setattr(evaluation, "evaluate", made_up_value)
    monkeypatch.setattr(_screening, "size_of", made_up_size)
    monkeypatch.setattr("frugan.fitting._searching.size_of", made_up_size)
    return monkeypatch


# ------------------------------------------------------------------------------------------------ budget and candidates


def test_a_budget_is_read_with_its_units():
    assert Budget.of("5ms", "2MB") == Budget(5.0, 2_000_000)
    assert Budget.of(0.5, 1000) == Budget(0.5, 1000)
    assert Budget.of("0.2 s", "500KB") == Budget(200.0, 500_000)
    assert str(Budget.of("5ms", "2MB")) == "5 ms and 2 MB"
    assert [spelt(size) for size in (12, 1234, 3_456_000)] == ["12 bytes", "1.23 kB", "3.46 MB"]
    budget = Budget(5.0, 1000)
    assert budget.misses(5.0, 1000) == []
    assert budget.misses(6.0, 2000) == ["6 ms", "2 kB"]
    assert budget.excess(6.0, 3000) == 3


@pytest.mark.parametrize("given", ["5 potatoes", "-1ms", "0ms", "ms", "nan", "1e400ms", ""])
def test_a_budget_that_cannot_be_read_is_refused(given):
    with pytest.raises(UserError, match="give a number above 0 with a unit"):
        Budget.of(given, None)


def test_a_search_needs_a_budget():
    with pytest.raises(UserError, match="Say what the generator may cost: --max-latency 5ms"):
        fit("mnist", images=100)


def test_candidates_that_come_out_alike_are_one():
    recipe = resolve("mnist", changes=SMALL)
    found = _candidates.make(recipe, None, ["1", "0.5", "0.51"], None)
    assert [one.name for one in found if one.form == "standard"] == ["standard width=1", "standard width=0.5"]
    assert [one.parameters for one in found] == sorted((one.parameters for one in found), reverse=True)
    assert len({(one.form, one.parameters) for one in found}) == len(found)


def test_where_a_family_leaves_other_layers_alone_it_is_another_form():
    recipe = resolve("mnist", changes=SMALL)
    found = {one.name: one for one in _candidates.make(recipe, ["bilinear_additive"], ["1", "0.9"], None)}
    wide, thin = found["bilinear_additive width=1"], found["bilinear_additive width=0.9"]  # of 16 and 14 channels
    assert wide.form == "bilinear_additive without block.0"
    assert thin.form.startswith("bilinear_additive without block.0, ")


def test_candidates_differ_in_depth_if_they_are_asked_to():
    small = {"data.size": 32, "generator.width": 0.05, "discriminator.width": 0.05}
    recipe = resolve("stargan", changes=small)
    found = _candidates.make(recipe, ["standard"], ["1"], ["blocks=1/2"])
    assert [one.name for one in found] == ["standard blocks=2 width=0.05", "standard blocks=1 width=0.05"]
    with pytest.raises(UserError, match=r"'stargan' has no option 'block'\. Did you mean 'blocks'"):
        _candidates.make(recipe, ["standard"], ["1"], ["block=1/2"])
    with pytest.raises(UserError, match="give factors above 0"):
        _candidates.make(recipe, ["standard"], ["0", "x"], None)
    with pytest.raises(UserError, match="no convolution family called 'standrad'"):
        _candidates.make(recipe, ["standrad"], None, None)


# ------------------------------------------------------------------------------------------------------------ screening


def screen(monkeypatch: pytest.MonkeyPatch, budget: Budget) -> tuple[Screen, list[_candidates.Candidate]]:
    monkeypatch.setattr(_screening, "size_of", made_up_size)
    recipe = resolve("mnist", changes=SMALL)
    found = _candidates.make(recipe, ["standard", "depthwise"], ["2", "1", "0.5", "0.25"], None)
    return Screen(budget, "onnxruntime", 1, {}, lambda: None, lambda line: None), found


def test_the_widest_of_each_form_that_fit_come_first(monkeypatch):
    of, found = screen(monkeypatch, Budget(2.0, 100_000))
    chosen = of.inside(found, 3)
    assert [one.name for one in chosen] == ["standard width=1", "depthwise width=1", "standard width=0.5"]
    for one in found:
        if "milliseconds" in of.known.get(one.name, {}):
            fits = of.known[one.name]["milliseconds"] <= 2 and of.known[one.name]["bytes"] <= 100_000
            assert fits or one not in chosen
    # Of each form it is known that the next wider one is too much.
    assert not of.fits(next(one for one in found if one.name == "standard width=2"))


def test_a_network_whose_weights_alone_are_too_large_is_not_built(monkeypatch, stop):
    of, found = screen(monkeypatch, Budget(None, 10))
    monkeypatch.setattr(_screening, "untrained_size", stop)
    assert not of.fits(found[0])
    assert of.known[found[0].name] == {"bytes": 4 * found[0].parameters, "counted": True}


def test_if_nothing_fits_the_nearest_is_named(monkeypatch):
    of, found = screen(monkeypatch, Budget(0.001, None))
    nearest = r"No network of 8 fits into 0\.001 ms\. The nearest is standard width=0\.25, which takes 0\.\d+ ms and"
    with pytest.raises(UserError, match=nearest):
        of.inside(found, 3)


def test_screening_takes_a_quarter_of_the_minutes_at_most(monkeypatch):
    clock, timed, said = [0.0], [], []

    def slow(network: Any, runtime: str, threads: int, seconds: float) -> _screening.Size:
        clock[0] += 5.0
        timed.append(seconds)
        return made_up_size(network, runtime, threads)

    _, found = screen(monkeypatch, Budget(None, 10**9))
    monkeypatch.setattr(_screening, "size_of", slow)
    monkeypatch.setattr(_screening.time, "monotonic", lambda: clock[0])
    of = Screen(Budget(None, 10**9), "onnxruntime", 1, {}, lambda: None, said.append, minutes=0.9)  # 13.5 seconds of it
    assert [one.name for one in of.inside(found, 3)] == [f"standard width={width}" for width in (2, 1, 0.5)]
    assert said[-1] == "Not tried, since a quarter of the minutes is over: depthwise."
    assert set(timed) == {13.5 / 40}
    assert clock[0] == 15.0
    # Continued: what is known costs nothing, so more is tried.
    of = Screen(Budget(None, 10**9), "onnxruntime", 1, of.known, lambda: None, said.append, minutes=2.0)
    assert of.inside(found, 3)[1].form == "depthwise"


def test_what_will_run_it_must_be_known():
    for runtime, threads, told in (("tflite", 1, "fit measures in onnxruntime or torch"), ("torch", 0, "1 or more")):
        with pytest.raises(UserError, match=told):
            Screen(Budget(1.0, None), runtime, threads, {}, lambda: None, lambda line: None)


# ------------------------------------------------------------------------------------------------------- whole searches


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, in_this_process: Callable[..., None]) -> Fit:
    """A search among six candidates, of which four are trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", in_this_process)
        patch.setattr(evaluation, "evaluate", made_up_value)
        patch.setattr(_screening, "size_of", made_up_size)
        patch.setattr("frugan.fitting._searching.size_of", made_up_size)
        return fit("mnist", out=tmp_path_factory.mktemp("fit") / "out", candidates=4, **ASKED)


def test_the_better_half_is_trained_on_and_the_best_is_shipped(finished):
    stages = finished.data["race"]["stages"]
    assert list(stages) == ["0.25", "0.5", "1.0"]
    assert [stage["images"] for stage in stages.values()] == [80, 160, 320]
    begun, half, last = (set(stage["values"]) for stage in stages.values())
    assert len(begun) == 4
    assert last == half < begun
    assert len(half) == 2
    early = sorted(begun, key=lambda name: stages["0.25"]["values"][name]["values"]["fid"])
    assert half == set(early[:2])
    values = {name: value["values"]["fid"] for name, value in stages["1.0"]["values"].items()}
    assert finished.data["winner"]["name"] == min(values, key=values.__getitem__)
    for name in last:  # a run that went on is one run
        run = RunFolder(finished.folder / stages["1.0"]["values"][name]["folder"])
        assert checkpoint.images_of(checkpoint.newest(run.checkpoints)) == 320
    assert (finished.shipped / "model.safetensors").is_file()
    assert all(one["trained"] == (name in begun) for name, one in finished.data["candidates"].items())


def test_the_report_says_why_each_candidate_was_left_out(finished):
    text = finished.report.read_text()
    assert "https://" not in text
    for name in finished.data["candidates"]:
        assert name in text
    assert "over the budget" in text or "thinner than those" in text or "too large" in text
    assert "Next best: " in finished.words()[-1]
    assert reporting.report(finished.folder) == finished.report


def test_a_finished_search_is_not_searched_again(finished, quick, stop):
    quick.setattr(jobs, "run_jobs", lambda planned, *rest: [stop() for job in planned if not job.finished()])
    quick.setattr(evaluation, "evaluate", stop)
    quick.setattr(_screening, "untrained_size", stop)
    again = fit("mnist", out=finished.folder, candidates=4, **ASKED)
    assert again.data["ranked"] == finished.data["ranked"]


def test_a_search_with_other_settings_is_another_search(finished, quick):
    with pytest.raises(UserError, match=r"holds a search with other settings \(max_bytes\)"):
        fit("mnist", out=finished.folder, candidates=4, **{**ASKED, "max_bytes": "50kB"})
    with pytest.raises(UserError, match=r"holds a search with other settings \(images\)"):
        fit("mnist", out=finished.folder, candidates=4, **{**ASKED, "images": 640})
    with pytest.raises(UserError, match="holds something else"):
        fit("mnist", out=finished.folder / "runs", **ASKED)


def test_a_search_that_was_stopped_continues(quick, tmp_path, stop, reached, in_this_process):
    values = iter(range(1))

    def once(run: Any, **given: Any) -> list[dict[str, Any]]:
        return made_up_value(run, **given) if next(values, None) is not None else stop()

    quick.setattr(evaluation, "evaluate", once)
    with pytest.raises(reached):
        fit("mnist", out=tmp_path / "out", candidates=2, **ASKED)
    with pytest.raises(UserError, match=r"is not finished\. Run the same frugan fit again"):
        reporting.report(tmp_path / "out")
    known = json.loads((tmp_path / "out" / "fit.json").read_text())
    measured, first = known["measured"], next(iter(known["race"]["stages"]["0.25"]["values"]))
    quick.setattr(evaluation, "evaluate", made_up_value)
    done = fit("mnist", out=tmp_path / "out", candidates=2, **ASKED)
    assert done.data["measured"] == measured
    assert first in done.data["ranked"]


def test_schedules_that_follow_the_end_get_a_run_for_each_stage(quick, tmp_path):
    changes = {**SMALL, "players.generator.schedule": "linear"}
    done = fit("mnist", out=tmp_path / "out", candidates=1, **{**ASKED, "changes": changes, "families": ["standard"]})
    runs = sorted(path.name for path in (done.folder / "runs").glob("*/to-*") if path.is_dir())
    assert runs == ["to-160", "to-320", "to-80"]


def test_minutes_train_every_candidate_also_with_rates_that_fall_by_images(quick, tmp_path):
    """Which is what is chosen where no recipe is named: how fast a candidate trains is seen in a run of its own."""
    changes = {**SMALL, "players.generator.schedule": "linear,start=160,end=320,to=0.1"}
    recipe = resolve("mnist", data="glyphs", changes=changes, images=320)
    quick.setattr("frugan.training.chosen", lambda **given: recipe)
    asked = {key: value for key, value in ASKED.items() if key not in ("images", "changes", "families")}
    done = fit(out=tmp_path / "out", candidates=2, minutes=20, families=["standard"], **asked)
    assert "failed" not in done.data["race"]
    run = from_run(RunFolder(done.folder / done.data["winner"]["value"]["folder"]))
    assert run.images == 320
    assert run.players["generator"].schedule == recipe.players["generator"].schedule


def test_minutes_are_planned_for_a_game_with_several_batches_a_round(quick, tmp_path):
    asked = {key: value for key, value in ASKED.items() if key != "images"}
    asked["changes"] = {**SMALL, "game.discriminator_steps": 6, "batch_size": 4, "images": 64}
    done = fit("mnist", out=tmp_path / "out", candidates=1, minutes=20, **{**asked, "families": ["standard"]})
    (name,) = done.data["race"]["pace"]
    run = RunFolder(next((done.folder / "runs").glob("*/pace")))
    assert run.lines(run.log)[-1]["images"] == _halving.PACE_ROUNDS * 6 * 4
    assert done.data["winner"]["name"] == name


def test_minutes_are_not_planned_by_the_first_rounds_of_networks_that_grow(quick, tmp_path, stop):
    quick.setattr(_screening, "untrained_size", stop)
    changes = {"data.size": 16, "architecture.width": 0.05, "batch_size": 16}
    asked = {**{key: value for key, value in ASKED.items() if key != "images"}, "changes": changes, "minutes": 5}
    with pytest.raises(UserError, match=r"'pggan-cifar10': its networks grow.*Give --images"):
        fit("pggan-cifar10", out=tmp_path / "out", **asked)


def test_a_network_that_fails_is_left_out(quick, tmp_path):
    why = {"depthwise width=0.5 seed 0": "the loss is not finite"}
    failing = _halving.Job.why_failed
    quick.setattr(_halving.Job, "why_failed", lambda job: why.get(job.title) or failing(job))
    done = fit("mnist", out=tmp_path / "out", candidates=2, **{**ASKED, "widths": ["0.5"]})
    assert done.data["winner"]["name"] == "standard width=0.5"
    assert "the loss is not finite" in done.report.read_text()


def test_minutes_that_are_too_few_are_told(quick, tmp_path):
    asked = {key: value for key, value in ASKED.items() if key != "images"}
    with pytest.raises(UserError, match="The minutes are too few"):
        fit("mnist", out=tmp_path / "out", candidates=1, minutes=1e-4, **asked)


@pytest.mark.parametrize(("given", "told"), [
    ({"to": "flash"}, "no export target called 'flash'"),
    ({"to": "web,single=true"}, "Did you mean 'single_file'"),
    ({"metric": "fit"}, "Did you mean 'fid'"),
    ({"runtime": "tpu"}, "fit measures in onnxruntime or torch"), ({"candidates": 0}, "--candidates 0"),
    ({"minutes": -1}, "--minutes -1"), ({"minutes": float("inf")}, "--minutes inf"),
    ({"max_latency": "fast"}, "--max-latency fast"),
    ({"families": ["standard"], "widths": ["none"]}, "--widths none"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_is_built(quick, tmp_path, stop, given, told):
    quick.setattr(_screening, "untrained_size", stop)
    with pytest.raises(UserError, match=told):
        fit("mnist", out=tmp_path / "out", **{**ASKED, **given})


def test_without_a_recipe_it_is_the_one_that_suits_the_images(quick, tmp_path):
    said = []

    def chosen(say: Callable[[str], None], **given: Any) -> Any:
        said.append(given)
        return resolve("mnist", data="glyphs", changes=SMALL, images=320)

    quick.setattr("frugan.training.chosen", chosen)
    asked = {key: value for key, value in ASKED.items() if key not in ("images", "changes")}
    asked |= {"families": ["standard"], "minutes": 20, "candidates": 1}
    done = fit(out=tmp_path / "out", **asked)
    assert said[0]["minutes"] == 4
    assert done.data["winner"]["name"].startswith("standard")
    assert fit(out=tmp_path / "out", **asked).data["ranked"] == done.data["ranked"]
    assert len(said) == 1


def test_of_few_images_some_are_held_out_and_kid_decides_before_anything_is_trained(quick, tmp_path, stop, capsys):
    source = tmp_path / "few.npz"
    rng = np.random.default_rng(0)
    np.savez(source, images=rng.integers(0, 256, (300, 12, 12, 1), dtype=np.uint8))
    asked = {**ASKED, "data": str(source), "quiet": False}
    asked["changes"] = {key: value for key, value in SMALL.items() if key != "data.limit"}
    done = fit("mnist", out=tmp_path / "out", families=["standard"], widths=("1",), candidates=1,
               **{key: value for key, value in asked.items() if key not in ("families", "widths")})  # fmt: skip
    assert done.data["recipe"]["data"]["holdout"] == 30
    assert done.data["winner"]["value"]["metric"] == "kid"
    told = capsys.readouterr().err
    assert "30 images" in told
    assert "held out" in told
    assert "kid decides, not fid" in told

    quick.setattr(_screening, "size_of", stop)
    with pytest.raises(UserError, match=r"needs at least 1,?000 images.*the option is --metric"):
        fit("mnist", out=tmp_path / "other", metric="fid", **asked)


@pytest.mark.parametrize(("minutes", "most"), [(None, 10), (0.5, 3), (3, 3), (7.9, 7), (30, 10)])
def test_with_few_minutes_few_candidates_are_trained(minutes, most):
    assert _searching._most(minutes) == most
