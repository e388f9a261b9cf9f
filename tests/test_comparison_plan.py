"""What a comparison measures before its test, and a whole one with values that are made up: five seeds are too slow."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frugan import costs, evaluation, kernels
from frugan.artefact import load
from frugan.comparison import Comparison, compare, plan, status
from frugan.comparison.planning import plan_file
from frugan.comparison.planning.arms import damage, gather, parse, width_of
from frugan.comparison.preparing import controls, equal_seconds, margin
from frugan.comparison.running import jobs, looks, measured
from frugan.comparison.running.job import Job
from frugan.comparison.running.workshop import Workshop
from frugan.comparison.verdicts.costs import find_unlike
from frugan.engine import checkpoint, precision
from frugan.engine.run import RunFolder
from frugan.kernels import _compiler
from frugan.recipe import to_dict
from frugan.registry import UserError

SMALL = {"data.size": 12, "data.limit": 200, "generator.hidden": [64], "discriminator.hidden": [16]}
But = Callable[..., Callable[..., None]]
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 320, "changes": SMALL, "batch_size": 16, "metrics": ["fid"], "view": "pixels",
    "count": 1000, "device": "cpu", "quiet": True,
}  # fmt: skip
PROTOCOL = {
    "data": "glyphs-digits", "split": "test", "content_hash": "0123456789abcdef", "real_count": 1000,
    "fake_count": 1000, "view": "pixels", "view_version": "pixels-1", "resizing": "none", "view_accuracy": None,
    "precision": "float32", "truncation": None, "labels": "none", "weights": "live", "checkpoint": "last",
}  # fmt: skip
QUALITY = {"vanilla": 20.0, "thin": 20.0, "thin-control-parameters": 23.0, "damaged-width-0.25": 30.0, "pilots": 20.0}


def made_up(run: Any, **given: Any) -> list[dict[str, Any]]:
    """An evaluation without images: the arm's quality, what is still to be learnt, and a little that the seed adds."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    images = checkpoint.images_of(newest)
    arm, seed = folder.path.parent.name, folder.path.name
    luck = random.Random(f"{arm} {seed} {given.get('seed', 0)}").gauss(0, 0.1) + 0.2 * random.Random(seed).random()
    number = QUALITY[arm] + 10 * (1 - images / 320) + luck
    value = {
        "metric": "fid", "values": {"fid": number}, "headline": "fid", "better": "lower", "images": images,
        "protocol": {**PROTOCOL, "generator": load(folder.path).weights_hash, "sampling_seed": given.get("seed", 0)},
        "floor": {"value": 0.4, "values": {"fid": 0.4}, "protocol": {}},
    }  # fmt: skip
    if value not in folder.lines(folder.metrics):
        folder.append(folder.metrics, value)
    return [value]


FLAT: list[dict[str, Any]] = [
    {"images": images, "rounds": images // 32, "health.spread": 0.003, "health.nearest": 0.004}
    for images in (5000, 10_000)
]  # fmt: skip


@pytest.fixture
def in_this_process_but(in_this_process: Callable[..., None]) -> But:
    """The same, but the finished runs whose title is one of these have the log of one whose images stayed all alike."""

    def but(*untrained: str) -> Callable[..., None]:
        def play(planned: Sequence[Job], *rest: Any) -> None:
            in_this_process(planned)
            for job in planned:
                if job.title in untrained and job.finished():
                    RunFolder(job.folder).log.write_text("".join(json.dumps(line) + "\n" for line in FLAT))

        return play

    return but


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None]) -> pytest.MonkeyPatch:
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    monkeypatch.setattr(evaluation, "evaluate", made_up)
    return monkeypatch


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, in_this_process: Callable[..., None]) -> Comparison:
    """Five seeds of a frugal arm with its control, the damaged arm that is added, and pilots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", in_this_process)
        patch.setattr(evaluation, "evaluate", made_up)
        out = tmp_path_factory.mktemp("plan") / "out"
        return compare(["vanilla", "thin: vanilla generator.hidden=[16]"], match="parameters", out=out, **COMMON)


# ----------------------------------------------------------------------------------------------------------- beforehand


def test_the_damaged_arm_is_the_baseline_at_a_quarter_of_its_width_or_of_its_training() -> None:
    arm = damage(parse("mnist architecture.width=0.8", {}, {}))
    assert (arm.name, arm.is_damaged) == ("damaged (width 0.2)", True)
    assert width_of(arm.recipe) == 0.2
    plain = parse("mnist", {"images": "60k"}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugan.comparison.planning.arms.width_of", lambda recipe: None)
        short = damage(plain)
    assert short.recipe.images == 15_000
    assert short.is_damaged


@pytest.mark.parametrize("match", ["parameters", "macs"])
def test_a_control_has_the_frugal_arms_cost_and_is_the_standard_network_but_thinner(match: str) -> None:
    arms = gather(["mnist"], ["standard", "depthwise"], {"data": "glyphs"}, {})
    (control,), (fact,) = controls.find_controls(arms, match, lambda line: None)
    assert control.name == f"depthwise control ({match})"
    assert control.control_of == "depthwise"
    assert control.recipe.networks["generator"].families == arms[0].recipe.networks["generator"].families
    assert control.recipe.networks["discriminator"] == arms[0].recipe.networks["discriminator"]
    assert fact["reached"] == pytest.approx(fact["wanted"], rel=0.02)
    counted = costs.cost(*controls.build_generator(control.recipe))
    assert {"parameters": counted.parameters, "macs": counted.macs}[match] == fact["reached"]
    assert fact["reached"] < controls.measure_both(arms[0].recipe, arms[1].recipe, match)[0]


def test_a_control_of_measured_latency_is_looked_for_in_turn_with_the_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = gather(["mnist"], ["standard", "depthwise"], {"data": "glyphs"}, {})
    asked = []

    def timed(calls: dict[str, Any], **given: Any) -> dict[str, Any]:
        asked.append(list(calls))
        widest = [max(p.numel() for p in call[0].parameters()) for call in calls.values()]
        # As if time went with the widest layer; the frugal one takes a third of the standard one's.
        times = [0.33 * 64 * 1_228_800 / 1e6, 64 * widest[1] / 1e6]
        return {name: [SimpleNamespace(median_ms=ms)] for name, ms in zip(calls, times, strict=True)}

    monkeypatch.setattr(costs, "latencies", timed)
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    said: list[str] = []
    _, (fact,) = controls.find_controls(arms, "latency", said.append)
    assert said[1].startswith("Width with the latency of depthwise: 1 of 15 widths, ")
    assert len(said) == len(asked)  # a line before each width, and the first says what is looked for
    assert fact["reached"] == pytest.approx(fact["wanted"], rel=0.03)
    assert len(asked) < 12
    assert {len(names) for names in asked} == {2}


@pytest.mark.parametrize("width", [0.3, 0.5])
def test_an_arm_that_costs_no_less_has_the_baseline_for_its_control(width: float) -> None:
    asked = ["thin: mnist architecture.width=0.3", f"wide: mnist architecture.width={width} batch_size=16"]
    arms = gather(asked, (), {"data": "glyphs"}, {})
    made, (fact,) = controls.find_controls(arms, "parameters", lambda line: None)
    assert made == []
    assert fact["control"] == "thin"


def test_arms_with_the_same_generator_share_one_control() -> None:
    asked = ["mnist", "g: mnist --family depthwise", "both: mnist --family depthwise --discriminator-family depthwise"]
    (control,), facts = controls.find_controls(gather(asked, (), {"data": "glyphs"}, {}), "macs", lambda line: None)
    assert [(fact["arm"], fact["control"]) for fact in facts] == [("g", control.name), ("both", control.name)]
    assert control.control_of == "g"


def value(better: str = "lower", view: str = "pixels", metric: str = "fid") -> dict[str, Any]:
    return {"metric": metric, "better": better, "protocol": {"view": view}}


def test_comparison_statistics_sheet_3_the_margin_is_the_largest_of_what_speaks_for_one() -> None:
    full = {1000: 20.0, 1001: 21.0, 1002: 19.0}
    lost = margin.choose_margin(value(), {seed: number + 1.5 for seed, number in full.items()}, full, 0.1)
    assert lost["margin"] == pytest.approx(1.5)
    assert "1.5 what a tenth less training costs the baseline" in lost["margin_rule"]
    assert "pilot seeds 1000, 1001, 1002, before the test" in lost["margin_rule"]
    least = margin.choose_margin(value(), {seed: number - 1.5 for seed, number in full.items()}, full, 0.1)
    assert least["margin"] == pytest.approx(0.05 * 20)  # less training was better: the convention counts
    assert margin.choose_margin(value(view="inception"), {}, {1000: 8.0}, 0.1)["margin"] == 1.0
    assert margin.choose_margin(value(), {}, full, 2.0)["margin"] == 4.0
    higher = value(better="higher", metric="inception_score")
    assert margin.choose_margin(higher, {1000: 7.5}, {1000: 8.0}, 0.01)["margin"] == pytest.approx(0.5)
    assert margin.choose_margin(higher, {1000: 8.5}, {1000: 8.0}, 0.0)["margin"] is None


def test_what_cannot_stop_on_its_way_is_not_stopped() -> None:
    assert looks.may_stop([parse("mnist", {}, {})])
    assert not looks.may_stop([parse("mnist", {"rounds": 10}, {})])
    assert not looks.may_stop([parse("mnist players.generator.schedule=linear", {}, {})])


def test_equal_seconds_set_budgets_by_the_speed_of_short_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = gather(["slow: mnist", "fast: mnist architecture.width=0.5"], (), {"data": "glyphs", "images": 64_000}, {})
    # Another budget of its own is no reason for other seconds.
    arms[1] = replace(arms[1], recipe=replace(arms[1].recipe, images=32_000))
    # One damaged by a quarter of the training is shown a quarter of what the seconds allow.
    arms.append(damage(arms[0]))
    arms[2] = replace(arms[2], recipe=replace(arms[2].recipe, images=16_000))
    speeds = {"slow": 100.0, "fast": 250.0, arms[2].name: 400.0}

    def play(planned: Sequence[Job], *rest: Any) -> None:
        for job in planned:
            assert job.command[-2:] == ("--rounds", str(equal_seconds.TRIAL_ROUNDS))
            name = job.title.removesuffix(" seed 0")
            job.folder.mkdir(parents=True)
            lines = [{"images": images, "seconds": 7 + images / speeds[name]} for images in (800, 3200, 6400)]
            RunFolder(job.folder).log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(jobs, "run_jobs", play)
    workshop = Workshop(tmp_path, {}, lambda line: None)
    fitted, facts = equal_seconds.fit_budgets(arms, None, workshop)
    assert [arm.recipe.images for arm in fitted] == [64_000, 160_000, 64_000]
    assert facts["seconds"] == pytest.approx(640)
    for arm in arms:
        RunFolder(tmp_path / "trials" / arm.folder).log.unlink()
        (tmp_path / "trials" / arm.folder).rmdir()
    fitted, _ = equal_seconds.fit_budgets(arms, equal_seconds.parse_seconds("60s", arms), workshop)
    assert [arm.recipe.images for arm in fitted] == [6_000, 15_000, 6_000]


def test_the_trial_of_a_game_with_several_batches_a_round_is_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None]
) -> None:
    """Fifty batches are ten rounds here, and the log has no line before the twenty-fifth."""
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    changes = {**SMALL, "kernels": "plain", "precision": "float32"}
    given = {"data": "glyphs:digits", "images": 200, "batch_size": 4}
    arms = gather(["one: vanilla", "five: vanilla game.discriminator_steps=5"], (), given, changes)
    equal_seconds.check_trials(arms)
    plan_file.PlanFile(RunFolder(tmp_path), {}).write_arms(arms)
    fitted, facts = equal_seconds.fit_budgets(arms, 1.0, Workshop(tmp_path, {}, lambda line: None, quiet=True))
    assert [arm.recipe.images for arm in fitted] == [round(facts["images_per_second"][arm.name]) for arm in fitted]
    lines = [RunFolder(tmp_path / "trials" / arm.folder) for arm in fitted]
    assert [run.lines(run.log)[-1]["images"] for run in lines] == [200, 1000]
    planned = {"arms": {arm.name: to_dict(arm.recipe) for arm in arms}, "seeds": []}
    RunFolder(tmp_path).write_json(tmp_path / "plan.json", planned)
    assert status(tmp_path).before == {"Trials of speed": (2, 2)}


# ------------------------------------------------------------------------------------------------------------ the whole


def test_what_a_run_had_on_its_way_is_measured_as_in_the_end(tmp_path: Path) -> None:
    """Someone has measured it by fewer images while it stood there."""
    job = Job("seed 0", tmp_path / "seed-0", (), 320)
    folder = RunFolder(job.folder)
    job.folder.mkdir()

    def line(images: int, number: float, count: int) -> dict[str, Any]:
        values = {"values": {"fid": number}, "headline": "fid"}
        return {"metric": "fid", **values, "images": images, "protocol": {**PROTOCOL, "fake_count": count}}

    for one in (line(240, 30.0, 500), line(240, 25.0, 1000), line(320, 20.0, 1000)):
        folder.append(folder.metrics, one)
    assert looks.find_value(job, 240, 280, line(320, 20.0, 1000)) == {"images": 240, "number": 25.0}
    assert looks.find_value(job, 240, 280, line(320, 20.0, 2000)) is None


@pytest.mark.usefixtures("unreported")
def test_a_comparison_killed_before_its_test_keeps_its_controls_and_trains_failed_pilots_again_if_told(
    tmp_path: Path, quick: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(*given: Any, **more: Any) -> None:
        raise KilledError

    quick.setattr(margin, "find_margin", killed)
    arms, out = ["vanilla", "thin: vanilla generator.hidden=[16]"], tmp_path / "out"
    with pytest.raises(KilledError):
        compare(arms, match="parameters", out=out, **COMMON)
    mark = out / "pilots/seed-1000.failed.json"
    mark.parent.mkdir()
    mark.write_text(json.dumps({"code": 2, "why": "the disk is full"}))
    quick.setattr(controls, "find_controls", lambda *given: pytest.fail("looked for controls again"))
    with pytest.raises(KilledError):
        compare(arms, match="parameters", out=out, **COMMON)
    assert mark.exists()
    with pytest.raises(KilledError):
        compare(arms, match="parameters", out=out, retry_failed=True, **COMMON)
    assert not mark.exists()
    assert (out / "arms/thin-control-parameters.json").is_file()
    quick.setattr(margin, "find_margin", lambda *given: {"margin": 1.0, "margin_rule": "given"})
    quick.setattr("frugan.comparison.train_runs", killed)
    with pytest.raises(KilledError):
        compare(arms, match="parameters", out=out, **COMMON)
    fixed = json.loads((out / "plan.json").read_text())["fixed"]
    assert fixed["retried"] == {"pilots/seed-1000": "the disk is full"}


def test_a_margin_of_other_units_than_those_of_the_test_is_refused() -> None:
    pilots = {"pilots": {"metric": "fid", "protocol": PROTOCOL}}
    margin.check_margin(pilots, {"fid": {"protocol": PROTOCOL}})
    with pytest.raises(UserError, match=r"view_version: pixels-1 \| pixels-2\. Begin a new comparison"):
        margin.check_margin(pilots, {"fid": {"protocol": {**PROTOCOL, "view_version": "pixels-2"}}})
    with pytest.raises(UserError, match=r"metric: fid \| kid"):
        margin.check_margin(pilots, {"kid": {"protocol": PROTOCOL}})


@pytest.mark.usefixtures("unreported")
def test_that_is_said_at_the_first_run_and_not_after_judging_all(
    finished: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished.folder, out)
    judged: list[Path] = []

    def otherwise(run: Any, **given: Any) -> list[dict[str, Any]]:
        judged.append(run.path)
        values = made_up(run, **given)
        return [{**value, "protocol": {**value["protocol"], "norms": "standing"}} for value in values]

    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    monkeypatch.setattr(evaluation, "evaluate", otherwise)
    with pytest.raises(UserError, match=r"measured differently from the test: norms: None \| standing"):
        compare(["vanilla", "thin: vanilla generator.hidden=[16]"], match="parameters", out=out, **COMMON)
    assert len(judged) == 1


def test_a_plan_is_complete_before_the_test_and_holds_margin_arms_and_pilots(finished: Comparison) -> None:
    written = json.loads((finished.folder / "plan.json").read_text())
    assert list(written["arms"]) == ["vanilla", "thin", "damaged (width 0.25)"]
    assert written["pilot_seeds"] == [1000, 1001, 1002]
    assert written["primary"] == "fid"  # though no metrics were named
    fixed = written["fixed"]
    assert [arm["name"] for arm in fixed["arms"]] == [*written["arms"], "thin control (parameters)"]
    assert fixed["margin"] == pytest.approx(1.0, abs=0.15)  # what the last tenth brings
    assert fixed["pilots"]["evaluation_sd"] > 0
    first = min(path.stat().st_mtime_ns for path in finished.folder.glob("runs/*/*/recipe.json"))
    assert (finished.folder / "plan.json").stat().st_mtime_ns < first


def test_verdicts_controls_slopes_and_noise_come_out(finished: Comparison) -> None:
    data = finished.data
    found = data["differences"]["fid"]
    assert found["damaged (width 0.25)"]["kind"] == "worse beyond margin"
    assert found["thin"]["kind"] == "not worse"
    assert "at an unfinished budget" in found["thin"]["text"]
    assert [row["kind"] for row in data["controls"]] == ["beats its control"]
    assert data["controls"][0]["reached"] == pytest.approx(data["controls"][0]["wanted"], rel=0.05)
    assert data["slopes"]["thin"]["change"] == pytest.approx(-2.5, abs=0.1)
    assert len(data["slopes"]["thin"]["means"]) == 3
    assert data["evaluation_sd"] == data["fixed"]["pilots"]["evaluation_sd"]
    assert {front["cost"] for front in data["fronts"]} == {"parameters", "macs", "latency", "file"}
    assert data["failures"]["thin"]["failed_p"] == 1.0


def test_its_words_and_its_page_say_all_of_it(finished: Comparison) -> None:
    words = "\n".join(finished.words())
    page = finished.report.read_text()
    for text in ("beats its control", "not worse (margin", "at an unfinished budget"):
        assert text in words
        assert text in page
    for text in ("unpaired", "bootstrap", "Evaluation noise", "last quarter", "Pareto", "pilot seeds", "plan.json"):
        assert text in page, text


def test_an_arm_that_did_not_train_counts_as_failed_and_its_fid_is_in_no_mean(
    tmp_path: Path, quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_this_process_but: But
) -> None:
    quick.setattr(jobs, "run_jobs", in_this_process_but("flat seed 0", "flat seed 1", "half seed 1"))
    quick.setitem(QUALITY, "flat", 727.0)
    quick.setitem(QUALITY, "half", 700.0)
    arms = ["vanilla", "flat: vanilla generator.hidden=[16]", "half: vanilla generator.hidden=[8]"]
    options = {**COMMON, "quiet": False}
    made = compare(arms, out=tmp_path / "out", seeds=(0, 1), **options)
    said = capsys.readouterr().err
    flat, half = made.data["arms"][1:]
    assert (flat["summary"]["fid"], half["summary"]["fid"]["n"]) == (None, 1)
    assert "flat" not in made.data["differences"]["fid"]
    for run in (flat["runs"]["0"], flat["runs"]["1"], half["runs"]["1"]):
        assert run["untrained"]
        assert "all alike (flat output): 0.003" in run["failed"]  # the reason is kept
        assert run["values"] == {}
    assert not half["runs"]["0"]["untrained"]
    assert made.data["failures"]["flat"] == {
        "failed": 2, "untrained": 2, "collapsed": 0, "runs": 2, "failed_p": pytest.approx(1 / 3), "collapsed_p": 1.0,
    }  # fmt: skip
    assert flat["generator"]["parameters"] > 0  # what it would cost is known all the same
    assert "flat seed 0 did not train, so it counts as failed and is not evaluated." in said
    line = "flat did not train with seeds 0-1, which counts as failed: its images are all alike"
    assert any(one.startswith(line) for one in made.words())
    page = made.report.read_text()
    for text in ("flat<br>did not train", "flat did not train with seeds 0-1", "2 of these did not", 'bad">did not'):
        assert text in page, text
    again = compare(arms, out=tmp_path / "out", seeds=(0, 1), retry_failed=True, **COMMON)
    assert again.data["arms"][1]["runs"]["0"]["untrained"]  # it would not train the second time either


def test_a_comparison_of_runs_none_of_which_trained_says_what_to_try(
    tmp_path: Path, quick: pytest.MonkeyPatch, in_this_process_but: But
) -> None:
    quick.setattr(jobs, "run_jobs", in_this_process_but("vanilla seed 0", "thin seed 0"))
    with pytest.raises(UserError, match=r"All runs ended untrained, .* all alike .* Try .* another --out"):
        compare(["vanilla", "thin: vanilla generator.hidden=[16]"], out=tmp_path / "out", seeds=(0,), **COMMON)


def test_pilots_that_did_not_train_set_no_margin(
    tmp_path: Path, quick: pytest.MonkeyPatch, in_this_process_but: But
) -> None:
    baseline = parse("vanilla", {"data": "glyphs:digits", "images": 320, "batch_size": 16}, SMALL)
    workshop = Workshop(tmp_path, {"metrics": ["fid"]}, lambda line: None)
    (tmp_path / "arms").mkdir()
    RunFolder(tmp_path).write_json(tmp_path / "arms/vanilla.json", to_dict(baseline.recipe))
    quick.setattr(jobs, "run_jobs", in_this_process_but("pilot vanilla seed 1001"))
    pilots = margin.find_margin(baseline, (1000, 1001), workshop)["pilots"]
    assert list(pilots["values"]) == ["1000"]
    assert list(pilots["untrained"]) == ["1001"]
    quick.setattr(jobs, "run_jobs", in_this_process_but("pilot vanilla seed 1000", "pilot vanilla seed 1001"))
    with pytest.raises(UserError, match=r"All pilot runs of .* ended untrained, .* Try .* another --out"):
        margin.find_margin(baseline, (1000, 1001), workshop)


@pytest.mark.usefixtures("unreported")
def test_auto_means_the_same_in_all_arms_however_long(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick.setattr(precision, "bf16_is_faster", lambda device: True)
    quick.setattr(_compiler, "compiler", lambda: ("c++", "c++ 12"))
    quick.setattr(kernels, "LEAST_ROUNDS", 10)  # the baseline plays 20 rounds, the other 6
    arms = ["vanilla: vanilla images=320", "thin: vanilla generator.hidden=[16] images=96"]
    options = {**COMMON, "images": None}
    compare(arms, out=tmp_path / "out", seeds=(0,), **options)
    found = [json.loads((tmp_path / "out/runs" / name / "seed-0/run.json").read_text()) for name in ("vanilla", "thin")]
    assert [facts["kernels"] for facts in found] == ["measured", "measured"]
    assert [facts["precision"] for facts in found] == ["bf16", "bf16"]
    quick.setattr(kernels, "LEAST_ROUNDS", 100)  # what was decided stays
    quick.setattr(precision, "bf16_is_faster", lambda device: False)
    compare(arms, out=tmp_path / "out", seeds=(0,), **options)
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert (plan["kernels"], plan["precision"]) == ("measured", "bf16")
    short = "thin: vanilla generator.hidden=[16] kernels=plain"
    compare(["vanilla", short], out=tmp_path / "said", seeds=(0,), **COMMON)
    assert json.loads((tmp_path / "said/arms/thin.json").read_text())["kernels"] == "plain"


@pytest.mark.usefixtures("unreported")
def test_the_same_call_again_continues_with_the_plan_that_was_fixed(
    finished: Comparison, quick: pytest.MonkeyPatch
) -> None:
    quick.setattr(controls, "find_controls", lambda *given: pytest.fail("looked for controls again"))
    again = compare(
        ["vanilla", "thin: vanilla generator.hidden=[16]"], match="parameters", out=finished.folder, **COMMON
    )
    assert again.data["margin"] == finished.data["margin"]
    with pytest.raises(UserError, match=r"another plan \(margin: None -> 3; .*pilot_seeds"):
        compare(
            ["vanilla", "thin: vanilla generator.hidden=[16]"], match="parameters", out=finished.folder, margin=3,
            **COMMON,
        )


@pytest.mark.usefixtures("unreported")
def test_a_comparison_goes_on_wherever_its_images_lie_but_not_on_others(
    quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    quick.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("here.npz", images=rng.integers(0, 256, (40, 12, 12), dtype=np.uint8))
    asked = {**COMMON, "arms": ["vanilla", "thin: vanilla generator.hidden=[48]"], "allow_few": ["fid"]}
    asked |= {"seeds": [0, 1], "out": "out"}
    asked["changes"] = {key: value for key, value in SMALL.items() if key != "data.limit"}
    compare(**{**asked, "data": "here.npz"})
    Path("here.npz").rename("there.npz")
    compare(**{**asked, "data": "./there.npz"})
    kept = json.loads((tmp_path / "out" / "plan.json").read_text())
    listed = [*kept["arms"].values(), *(one["recipe"] for one in kept["fixed"]["arms"])]
    listed += [json.loads(file.read_text()) for file in (tmp_path / "out" / "arms").glob("*.json")]
    assert {one["data"]["source"] for one in listed} == {"./there.npz"}
    np.savez("there.npz", images=rng.integers(0, 256, (40, 12, 12), dtype=np.uint8))
    with pytest.raises(UserError, match=r"there\.npz holds other images"):
        compare(**{**asked, "data": "./there.npz"})


def test_a_comparison_without_its_damaged_arm_or_pilots_says_what_follows(
    tmp_path: Path, quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**COMMON, "quiet": False, "images": 96}
    made = compare(
        ["vanilla", "thin: vanilla generator.hidden=[16]"], out=tmp_path / "out", no_damaged=True, pilot_seeds=(),
        **options,
    )
    told = capsys.readouterr().err
    assert "no arm can be called not worse" in told
    assert "Without pilots, the margin is the metric's convention" in told
    assert [arm["name"] for arm in made.data["arms"]] == ["vanilla", "thin"]
    assert made.data["differences"]["fid"]["thin"]["kind"] in ("unproven", "withheld", "inconclusive")
    assert made.data["margin_rule"] == "the convention of fid for the baseline's mean, no pilots"


def test_other_judges_are_asked_where_the_view_is_trained_in_place(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def judge(run: Any, **given: Any) -> list[dict[str, Any]]:
        asked.append((given["view"], given["view_seed"]))
        return [{"values": {"fid": 7.0}, "headline": "fid"}]

    quick.setattr(evaluation, "evaluate", judge)
    (arm,) = [parse("vanilla", {"data": "glyphs"}, SMALL)]
    run = {"failed": None, "values": {"fid": {"metric": "fid", "protocol": {"view": "classifier"}}}}
    planned = {(arm.name, 0): Job("vanilla seed 0", tmp_path, (), 96)}
    workshop = Workshop(tmp_path, {"metrics": None, "view": None, "device": "cpu"}, lambda line: None)
    measured.add_judges({arm.name: {0: run}}, planned, workshop)
    assert asked == [("classifier", 1), ("classifier", 2)]
    assert run["judges"] == [7.0, 7.0]  # type: ignore[comparison-overlap]
    run["values"]["fid"]["protocol"]["view"] = "pixels"  # type: ignore[index]
    measured.add_judges({arm.name: {0: run}}, planned, workshop)
    assert len(asked) == 2


def test_cost_and_quality_stand_in_one_row_only_for_one_network_and_precision() -> None:
    def arm(**about: Any) -> dict[str, Any]:
        protocol = {"generator": "abc", "weights": "live", "precision": "float32"}
        cost = {"generator": "abc", "weights": "live", "device": "cpu", **about}
        return {
            "cost_of": cost, "latency": {"1": {"precision": about.get("precision", "float32")}},
            "runs": {"0": {"values": {"fid": {"protocol": protocol}}}},
        }  # fmt: skip

    assert find_unlike(arm(), "fid") == []
    assert find_unlike(arm(precision="bfloat16"), "fid") == ["precision: cost with bfloat16, quality with float32"]
    assert find_unlike(arm(generator="def"), "fid") == ["cost is that of the weights def, which were not judged"]
    assert find_unlike(arm(weights="averaged"), "fid") == ["weights: cost with averaged, quality with live"]


# ------------------------------------------------------------------------------------------------------------- planning


def test_comparison_statistics_sheet_2_seeds_that_a_margin_needs() -> None:
    found = plan(sd=1.0, margin=1.0)
    assert (found.detect, found.known, found.hours) == (10, None, None)
    assert found.not_worse == 8  # one-sided
    assert found.widths == 5  # 0.953; never fewer than a verdict takes
    assert plan(sd=1.0, margin=0.5).detect == 34
    assert plan(sd=1.0, margin=3.0).detect == 5
    assert any("8 seeds: an arm that does not differ is called not worse in 80 %" in line for line in found.words())


def test_seeds_and_hours_from_a_comparison(finished: Comparison, tmp_path: Path) -> None:
    data = json.loads((finished.folder / "comparison.json").read_text())
    for number, arm in enumerate(data["arms"]):
        for run in arm["runs"].values():
            run["seconds"] = 900 * (number + 1)
    (tmp_path / "comparison.json").write_text(json.dumps(data))
    found = plan(tmp_path, power=0.9)
    others = {name: one for name, one in data["differences"]["fid"].items() if not name.startswith("damaged")}
    assert found.sd == max(one["sd"] for one in others.values())
    assert (found.margin, found.known) == (data["margin"], 5)
    assert found.hours == pytest.approx(found.not_worse * 2.5)  # 15 + 30 + 45 + 60 minutes a seed
    assert plan(tmp_path, power=0.9, jobs=2).hours == pytest.approx(found.not_worse * 1.25)


def test_a_plan_without_what_it_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--margin 0\.5"):
        plan(sd=1.0)
    with pytest.raises(UserError, match=r"--sd 0\.8 --margin 0\.5"):
        plan(margin=1.0)
    with pytest.raises(UserError, match="no finished comparison"):
        plan(tmp_path, margin=1.0)
    (tmp_path / "comparison.json").write_text('{"format": 1, "primary": "fid"}')
    with pytest.raises(UserError, match=r"another frugan \(version 1, .* Run the same frugan compare again"):
        plan(tmp_path, margin=1.0)
