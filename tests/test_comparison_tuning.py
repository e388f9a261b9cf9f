"""Arms that are tuned before their test: what is tried, what is chosen, and that the test knows nothing of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from frugan import evaluation, recipes
from frugan.artefact import load
from frugan.comparison import Comparison, compare
from frugan.comparison.planning import Design
from frugan.comparison.planning.arms import Arm, gather
from frugan.comparison.planning.plan_file import PlanFile
from frugan.comparison.planning.tuning_space import CHANGED, KEPT, ORDERS, TRIALS, Trial, find_trials
from frugan.comparison.preparing import controls, equal_seconds, margin, prepare, tuning
from frugan.comparison.running import jobs, looks
from frugan.comparison.running.job import Job
from frugan.comparison.running.workshop import Workshop
from frugan.engine import checkpoint
from frugan.engine.run import RunFolder
from frugan.recipe import from_run
from frugan.registry import UserError
from frugan.reporting._tuning import tuning_lines, tuning_section, untuned_section
from frugan.training import resolve, train

SMALL = {"data.size": 12, "data.limit": 200, "generator.hidden": [64], "discriminator.hidden": [16]}
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 320, "changes": SMALL, "batch_size": 16, "metrics": ["fid"], "view": "pixels",
    "count": 1000, "device": "cpu", "quiet": True, "allow_few": ["fid"],
}  # fmt: skip
ARMS = ["vanilla", "thin: vanilla generator.hidden=[16]"]
WHOLE = [*ARMS, "damaged: vanilla generator.width=0.25"]
NAMES = ["vanilla", "thin", "damaged", "thin control (parameters)"]
FOLDERS = {"vanilla", "thin", "damaged", "thin-control-parameters"}
RATE = 2e-4  # of the recipe as it stands

asked: list[dict[str, Any]] = []
"""The arguments of every evaluation since the test began."""


def made_up(run: Any, **given: Any) -> list[dict[str, Any]]:
    """An evaluation without images: thin generators want half the rate, the others twice the rate."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    asked.append({**given, "run": folder.path})
    recipe, newest = from_run(folder), checkpoint.newest(folder.checkpoints)
    assert newest is not None
    hidden = recipe.networks["generator"].options["hidden"]
    wanted = 0.5 if hidden == [16] else 2.0
    off = abs(recipe.players["generator"].learning_rate / RATE - wanted)
    damaged = 10.0 if "width" in recipe.networks["generator"].options and hidden == [64] else 0.0
    number = 20 + 4 * off + damaged + 0.01 * (recipe.seed % 7) + 10 * (1 - checkpoint.images_of(newest) / 320)
    protocol = {
        "data": "glyphs-digits", "split": given.get("reference") or "test", "content_hash": "0123456789abcdef",
        "real_count": given["count"], "fake_count": given["count"], "view": "pixels", "view_version": "pixels-1",
        "resizing": "none", "view_accuracy": None, "precision": "float32", "truncation": None, "labels": "none",
        "weights": "live", "checkpoint": "last", "generator": load(folder.path).weights_hash,
        "sampling_seed": given.get("seed", 0),
    }  # fmt: skip
    value = {
        "metric": "fid", "values": {"fid": number + 0.001 * given.get("seed", 0)}, "headline": "fid", "better": "lower",
        "images": checkpoint.images_of(newest), "protocol": protocol, "floor": None,
    }  # fmt: skip
    if value not in folder.lines(folder.metrics):
        folder.append(folder.metrics, value)
    return [value]


@pytest.fixture(scope="session")
def at_once(in_this_process: Callable[..., None]) -> Callable[..., None]:
    """The same, and the logs get a time, as those of long runs have."""

    def run_jobs(planned: Sequence[Job], *rest: Any) -> None:
        for job in planned:
            if job.why_failed() is None and not job.finished():
                in_this_process([job])
                run, shown = RunFolder(job.folder), job.images_shown()
                run.append(run.log, {"images": shown // 2, "seconds": shown // 2 / 100})
                run.append(run.log, {"images": shown})

    return run_jobs


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, at_once: Callable[..., None]) -> pytest.MonkeyPatch:
    monkeypatch.setattr(jobs, "run_jobs", at_once)
    monkeypatch.setattr(evaluation, "evaluate", made_up)
    asked.clear()
    return monkeypatch


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, at_once: Callable[..., None]) -> Comparison:
    """Two seeds of an arm with its control and a damaged arm, all tuned by three trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", at_once)
        patch.setattr(evaluation, "evaluate", made_up)
        asked.clear()
        out = tmp_path_factory.mktemp("tuning") / "out"
        return compare(WHOLE, match="parameters", tune=3, seeds=(0, 1), out=out, **COMMON)


def tuning_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "plan.json").read_text())["fixed"]["tuning"]


# -------------------------------------------------------------------------------------------------------- what is tried


def test_the_table_begins_as_things_stand_and_takes_every_setting_once() -> None:
    assert TRIALS[0] == (1, 1, KEPT, KEPT, KEPT)
    pairs = {(rate, ratio) for rate in (1, 2, 0.5) for ratio in (1, 2, 0.5)}
    plain = [(row.rate, row.ratio, row.penalty) for row in TRIALS if row[3:] == (KEPT, KEPT)]
    assert sorted(plain) == sorted((*pair, kept) for pair in pairs for kept in (KEPT, CHANGED))
    assert {row[:2] for row in plain[:9]} == pairs
    assert all(row[3:] == (KEPT, KEPT) for row in TRIALS[:6])


def test_no_arm_must_take_another_layer_to_get_a_rate() -> None:
    for number, row in enumerate(TRIALS):
        if row[3:] != (KEPT, KEPT):
            assert row[:3] in [earlier[:3] for earlier in TRIALS[:number] if earlier[3:] == (KEPT, KEPT)]
    assert {row[3:] for row in TRIALS} == {(norm, order) for norm in (KEPT, CHANGED) for order in (KEPT, CHANGED)}


@pytest.mark.parametrize("recipe", ["mnist", "dcgan-64", "stargan"])
def test_all_arms_begin_with_the_same_settings(recipe: str) -> None:
    found = {name: find_trials(recipes.find(recipe).with_family(name)) for name in ("standard", "depthwise")}
    assert {name: len(trials) for name, trials in found.items()} == {"standard": 18, "depthwise": len(TRIALS)}
    for one, other in zip(found["standard"][:6], found["depthwise"][:6], strict=True):
        assert other.settings == {**one.settings, "inner_norm": KEPT, "order": KEPT}
    assert set(found["standard"][0].settings) == {"rate", "ratio", "penalty"}
    for trials in found.values():
        assert trials[0].words == "as it stands"
        everything = [trial.recipe for trial in trials]
        assert all(recipe not in everything[:number] for number, recipe in enumerate(everything))


def test_a_row_that_would_repeat_an_earlier_one_is_passed_over() -> None:
    trials = find_trials(recipes.find("mnist-faithful"))  # its game has no place for R1
    plain = list(dict.fromkeys((row.rate, row.ratio) for row in TRIALS))
    assert [tuple(trial.settings.values()) for trial in trials] == plain
    factorised = find_trials(recipes.find("mnist-faithful").with_family("factorised"))
    assert [trial.settings["rate"] for trial in factorised[:6]] == [row.rate for row in TRIALS[:6]]
    assert len(factorised) == 12


def test_what_each_column_does_to_a_recipe() -> None:
    recipe = recipes.find("mnist").with_family("depthwise")
    trials = find_trials(recipe)
    plain, second, seventh, eighth, last = (trials[number] for number in (0, 1, 6, 7, 13))
    assert plain.recipe == recipe
    rates = {name: player.learning_rate for name, player in second.recipe.players.items()}
    assert rates == {"generator": 2e-3, "discriminator": 1e-3}
    assert second.recipe.penalties[0].options == {"weight": pytest.approx(0.6), "every": 4}
    assert second.recipe.networks == recipe.networks

    def options(trial: Trial) -> dict[str, Any]:
        return dict(trial.recipe.networks["generator"].families[0].options)

    assert options(seventh) == {"inner_norm": "batch_norm"}
    assert seventh.words == "rates x 2, the discriminator's x 0.5, penalties x 3, batch norm between pieces"
    assert options(eighth) == {"order": ORDERS[1]}
    assert options(last) == {"inner_norm": "batch_norm", "order": ORDERS[1]}
    # What has a norm at every seam loses it, what has it at some gets it at all.
    normed = seventh.recipe
    assert find_trials(normed)[6].recipe.networks["generator"].families[0].options == {"inner_norm": None}
    table = find_trials(recipes.find("mnist").with_family("factorised"))[6].recipe.networks["generator"].families
    assert [one.options.get("inner_norm") for one in table] == ["batch_norm", "batch_norm"]
    # R1 is added where a generator's recipe has no penalty; a translator's own are made heavier.
    added = find_trials(recipes.find("dcgan-64-faithful"))[1]
    assert (added.recipe.penalties[0].name, added.recipe.penalties[0].options) == ("r1", {"weight": 1.0, "every": 4})
    assert find_trials(recipes.find("stargan"))[1].recipe.penalties[0].options == {"weight": 30.0}
    assert "penalty" not in find_trials(recipes.find("cyclegan-6"))[0].settings
    assert find_trials(recipes.find("stargan").with_family("depthwise"))[6].recipe.networks[
        "generator"].families[0].options == {"inner_norm": "instance_norm"}  # fmt: skip


def test_a_trial_is_judged_by_training_images_and_as_few_fakes_as_the_metric_takes() -> None:
    settings = {"primary": "fid", "count": None, "allow_few": None}
    assert tuning.choose_evaluation(settings) == {"metrics": ["fid"], "reference": "train", "count": 2000}
    assert tuning.choose_evaluation({**settings, "count": 1500})["count"] == 1500
    assert tuning.choose_evaluation({**settings, "count": 50_000})["count"] == 2000
    assert tuning.choose_evaluation({**settings, "primary": "fid_infinity"})["count"] == 5000
    assert tuning.choose_evaluation({**settings, "count": 300, "allow_few": ["fid"]})["count"] == 300


def test_trials_are_a_share_of_each_arms_budget() -> None:
    recipe = resolve("mnist", images=64_000)
    assert tuning.choose_length(recipe, recipe, None) == 32_000
    assert tuning.choose_length(recipe, recipe, 8_000) == 8_000
    assert tuning.choose_length(replace(recipe, images=32_000), recipe, 8_000) == 4_000
    assert tuning.choose_length(replace(recipe, images=40), recipe, None) == recipe.batch_size


@pytest.mark.parametrize(
    ("count", "stages"),
    [
        (1, [(1, 800)]), (2, [(2, 800)]), (3, [(3, 200), (2, 800)]), (4, [(4, 200), (2, 800)]),
        (8, [(8, 200), (4, 400), (2, 800)]), (23, [(23, 200), (12, 400), (6, 800)]),
    ],
)  # fmt: skip
def test_the_better_half_goes_on(count: int, stages: list[tuple[int, int]]) -> None:
    assert tuning.choose_stages(count, 800, 16) == stages
    if count == 8:
        assert tuning.choose_stages(8, 80, 32) == [(8, 32), (4, 40), (2, 80)]


# ------------------------------------------------------------------------------------------------------------ the whole


def test_every_arm_gets_the_same_number_of_trials_with_seeds_of_their_own(finished: Comparison) -> None:
    kept = tuning_in(finished.folder)
    assert {name: len(of["tried"]) for name, of in kept["arms"].items()} == dict.fromkeys(NAMES, 3)
    folders = [path.relative_to(finished.folder / "tuning") for path in finished.folder.glob("tuning/*/*/")]
    assert sorted(map(str, folders)) == sorted(
        f"{arm}/trial-{trial}-seed-2000" for arm in FOLDERS for trial in (1, 2, 3)
    )
    assert {from_run(RunFolder(finished.folder / "tuning" / path)).seed for path in folders} == {2000}
    shown = {arm: sorted(RunFolder(path).images_saved() or 0 for path in finished.folder.glob(f"tuning/{arm}/*/"))
             for arm in FOLDERS}  # fmt: skip
    assert shown == {arm: [48, 160, 160] for arm in FOLDERS}  # whole batches of 16
    for one in asked:
        of_trial = "tuning" in one["run"].parts
        assert (one["reference"] == "train") == of_trial
    assert {one["run"] for one in asked if one["reference"] == "train"} == {
        finished.folder / "tuning" / path for path in folders
    }


def test_the_settings_of_the_best_trial_reach_the_plan_and_every_run_of_the_test(finished: Comparison) -> None:
    kept = tuning_in(finished.folder)
    assert {name: of["chosen"] for name, of in kept["arms"].items()} == {
        "vanilla": 1, "thin": 2, "damaged": 1, "thin control (parameters)": 1,
    }  # fmt: skip
    rates = {"vanilla": 2 * RATE, "thin": RATE / 2, "damaged": 2 * RATE, "thin-control-parameters": 2 * RATE}
    for folder, rate in rates.items():
        runs = [RunFolder(path) for path in (finished.folder / "runs" / folder).glob("seed-?")]
        assert {from_run(run).players["generator"].learning_rate for run in runs} == {rate}
        assert {from_run(run).images for run in runs} == {320}
        assert len(runs) == 2
    plan = json.loads((finished.folder / "plan.json").read_text())
    fixed = {arm["name"]: arm["recipe"]["players"]["generator"]["learning_rate"] for arm in plan["fixed"]["arms"]}
    assert list(fixed.values()) == [2 * RATE, RATE / 2, 2 * RATE, 2 * RATE]
    assert plan["arms"]["vanilla"]["players"]["generator"]["learning_rate"] == RATE  # what was asked for
    first = min(path.stat().st_mtime_ns for path in finished.folder.glob("runs/*/*/recipe.json"))
    assert (finished.folder / "plan.json").stat().st_mtime_ns < first


def test_cost_and_curve_are_in_the_plan(finished: Comparison) -> None:
    of = tuning_in(finished.folder)["arms"]["thin"]
    assert [round(facts["value"], 2) for facts in of["tried"]] == [27.05, 34.55, 25.05]
    assert of["tried"][2]["words"] == "rates x 0.5, the discriminator's x 2"
    assert "players.generator.learning_rate: 0.0002 -> 0.0001" in of["tried"][2]["differences"]
    assert [[stage["images"] for stage in facts["stages"]] for facts in of["tried"]] == [[40, 160], [40], [40, 160]]
    assert (of["images"], of["images_in_all"], of["runs"]) == (160, 368, 3)
    assert of["seconds"] == pytest.approx(3.68)


def test_the_report_has_the_table_the_picture_and_the_caution(finished: Comparison) -> None:
    page, words = finished.report.read_text(), "\n".join(finished.words())
    assert "How each arm was tuned" in page
    assert page.count('of each trial"') == 1
    section = page[page.index("How each arm was tuned") : page.index("Quality against cost")]
    for text in ("rates x 0.5, the discriminator&#39;s x 2", "27.05", "25.05", "160 images", "−2.000", "0 of 3",
                 "368 images, 3 runs", "The gain is optimistic", "Every trial",
                 "against images of the split train"):  # fmt: skip
        assert text in section, text
    for name in NAMES:
        assert f'<th scope="row">{name}</th>' in section
    assert "seconds of tuning and one run" in page
    assert "each at its best of 3 trials" in words
    assert re.search(r"Tuning took: vanilla \d+ s \(368 images\), thin", words)
    assert "its best trial of 3: 3 trained to 40 images, 2 of them to 160 (seed 2000" in words
    controls = page[page.index("Against a thinner baseline") : page.index("How each arm was tuned")]
    assert "each at its best of 3 trials" in controls
    assert "3 trials, 4 s" in page[: page.index("</table>")]  # the main table
    command = page[page.index("How to repeat it") :]
    assert "thin control (parameters): " in command  # with its own settings, not found again
    assert "--match" not in command


@pytest.mark.usefixtures("unreported")
def test_the_same_call_again_tunes_nothing_and_other_trials_are_refused(
    finished: Comparison, quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "out")
    quick.setattr(tuning, "tune", lambda *given: pytest.fail("tuned again"))
    again = compare(WHOLE, match="parameters", tune=3, seeds=(0, 1), out=tmp_path / "out", **COMMON)
    assert again.data["fixed"] == finished.data["fixed"]
    with pytest.raises(UserError, match=r"another plan \(tune: 3 -> 4\).*To continue it, type: --tune 3"):
        compare(WHOLE, match="parameters", tune=4, seeds=(0, 1), out=tmp_path / "out", **COMMON)


def test_verdicts_without_tuning_stand_beside_if_such_a_comparison_is_named(
    finished: Comparison, quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "out")
    options = {**COMMON, "seeds": (0, 1), "out": tmp_path / "out", "match": "parameters", "tune": 3}
    plain = compare(WHOLE, out=tmp_path / "plain", **{**COMMON, "seeds": (0,)})
    both = compare(WHOLE, untuned=plain.folder, **options)
    # Tuning brings both arms what they were off by: twice and half of the rate.
    page = both.report.read_text()
    section = page[page.index("Without tuning and with it") : page.index("Quality against cost")]
    assert re.search(rf"Without tuning: {plain.folder}, seeds 0, margin \S+ \(here \S+\)\. One of the two", section)
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, flags=re.DOTALL))
    assert list(rows) == ["vanilla", "thin", "damaged"]  # which has no control
    assert "−3.995" in rows["vanilla"]
    assert "−1.995" in rows["thin"]
    assert "each at its best of 3 trials" in rows["thin"]
    assert "no verdicts to compare" in "\n".join(both.words())
    data = {**both.data, "untuned": {**both.data["untuned"], "unlike": ["split: test | train"]}}
    assert untuned_section(data)["rows"] == []  # type: ignore[index]
    data["untuned"]["unlike"] = []
    said = data["controls"][0]
    data["controls"], data["untuned"]["controls"] = [], {}
    for now in data["differences"]["fid"].values():  # as if there were seeds enough
        now["kind"] = "not worse"
    for name, kind in (("thin", "worse beyond margin"), ("damaged", "not worse")):
        data["untuned"]["arms"][name]["difference"]["kind"] = kind
    assert "the verdict differs about thin." in untuned_section(data)["lead"]  # type: ignore[index]
    data["untuned"]["arms"]["thin"]["difference"]["kind"] = "not worse"
    assert "With tuning no verdict differs." in untuned_section(data)["lead"]  # type: ignore[index]
    data["untuned"]["arms"]["thin"]["difference"] = None  # it did not train without tuning
    assert "the verdict differs about thin." in untuned_section(data)["lead"]  # type: ignore[index]
    # What is said against the control counts as well, and margins that differ are named.
    assert said["arm"] == "thin"
    data["untuned"]["controls"]["thin"] = {"kind": "saves nothing", "text": "saves nothing: its control is better"}
    data["controls"] = [{**said, "kind": "beats its control"}]
    data["untuned"]["margin"] = 7.0
    lead = untuned_section(data)["lead"]  # type: ignore[index]
    assert "the verdict differs about thin." in lead
    assert ", margin 7.00 (here " in lead
    (row,) = (row for row in untuned_section(data)["rows"] if row["arm"] == "thin")  # type: ignore[index]
    assert "saves nothing: its control is better" in row["texts"][0]

    refused = {
        r"arms of this comparison were tuned": {**options, "untuned": finished.folder},
        r"only works together with --tune.* --tune 8": {**options, "tune": None, "untuned": plain.folder},
        r"differs from the new one \(count: 1000 -> 1500\)": {
            **options, "count": 1500, "untuned": plain.folder, "out": tmp_path / "new"},
        r"has no finished comparison": {**options, "untuned": tmp_path},
    }  # fmt: skip
    quick.setattr(jobs, "run_jobs", lambda *given: pytest.fail("a run was started"))
    for message, given in refused.items():
        with pytest.raises(UserError, match=message):
            compare(WHOLE, **given)


@pytest.mark.usefixtures("unreported")
def test_a_comparison_killed_after_tuning_goes_on_with_what_was_chosen(
    quick: pytest.MonkeyPatch, tmp_path: Path, at_once: Callable[..., None], stop: Callable[..., NoReturn],
    reached: type[Exception],
) -> None:  # fmt: skip
    quick.setattr(controls, "find_controls", stop)
    options = {**COMMON, "seeds": (0,), "match": "parameters", "tune": 2, "tune_seeds": (7, 8), "tune_images": 32}
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "out", **options)
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert {name: of["chosen"] for name, of in plan["tuning"]["arms"].items()} == {"vanilla": 1, "thin": 0}
    values = plan["tuning"]["arms"]["thin"]["tried"][0]["stages"][0]["values"]
    assert list(values) == ["7", "8"]
    assert plan["tuning"]["arms"]["thin"]["tried"][0]["value"] == pytest.approx(sum(values.values()) / 2)
    quick.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", at_once)
        patch.setattr(evaluation, "evaluate", made_up)
        asked.clear()
        done = compare(ARMS, out=tmp_path / "out", **options)
    judged = {one["run"].parent.name for one in asked if one["reference"] == "train"}
    assert judged == {"thin-control-parameters"}  # the others were known
    assert [arm["name"] for arm in done.data["arms"]] == ["vanilla", "thin", "thin control (parameters)"]
    rates = [from_run(RunFolder(tmp_path / f"out/runs/{name}/seed-0")).players["generator"].learning_rate
             for name in ("vanilla", "thin", "thin-control-parameters")]  # fmt: skip
    assert rates == [2 * RATE, RATE, 2 * RATE]


@pytest.mark.usefixtures("unreported")
def test_the_end_chooses_and_a_killed_comparison_keeps_the_values_of_every_stage(
    quick: pytest.MonkeyPatch, tmp_path: Path, at_once: Callable[..., None], stop: Callable[..., NoReturn],
    reached: type[Exception],
) -> None:  # fmt: skip
    """Of four trials the first two go on, and the second one is better at the end."""
    trained: list[tuple[str, int]] = []

    def training(planned: Sequence[Job], *rest: Any) -> None:
        trained.extend((job.folder.name, job.images) for job in planned if job.folder.parent.name == "vanilla")
        at_once(planned)

    def killed(planned: Sequence[Job], *rest: Any) -> None:
        if planned[0].images == 160:
            stop()
        training(planned)

    def judged(run: Any, **given: Any) -> list[dict[str, Any]]:
        (value,) = made_up(run, **given)
        place = asked[-1]["run"].name
        early, end = (1, 5) if place.startswith("trial-1") else (2, 3) if place.startswith("trial-2") else (4, 0)
        return [{**value, "values": {"fid": float(early if value["images"] < 60 else end)}}]

    options = {**COMMON, "seeds": (0,), "tune": 4}
    quick.setattr(evaluation, "evaluate", judged)
    quick.setattr(jobs, "run_jobs", killed)
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "out", **options)
    kept = json.loads((tmp_path / "out/plan.json").read_text())["tuning"]["arms"]["vanilla"]
    assert [[stage["value"] for stage in facts["stages"]] for facts in kept["tried"]] == [[1], [2], [4], [4]]
    assert trained == [(f"trial-{trial}-seed-2000", 40) for trial in (1, 2, 3, 4)]
    trained.clear()
    asked.clear()
    quick.setattr(jobs, "run_jobs", training)
    done = compare(ARMS, out=tmp_path / "out", **options)
    assert trained[:2] == [("trial-1-seed-2000", 160), ("trial-2-seed-2000", 160)]
    assert len([one for one in asked if one["reference"] == "train"]) == 2 * len(ARMS)  # the last stage alone
    of = done.data["fixed"]["tuning"]["arms"]["vanilla"]
    assert [[stage["value"] for stage in facts["stages"]] for facts in of["tried"]] == [[1, 5], [2, 3], [4], [4]]
    assert (of["chosen"], of["images_in_all"]) == (1, 2 * 48 + 2 * 160)


def race(values: Sequence[Sequence[float | None]], why: Sequence[str | None]) -> tuning._Race:
    """Trials with these values after each stage of 200, 400 and 800 images."""
    tried = [
        {"stages": [{"images": images, "value": value} for images, value in zip((200, 400, 800), of, strict=False)],
         "why": said, "costs": {"trial": {"images": 800, "seconds": None}}}
        for of, said in zip(values, why, strict=True)
    ]  # fmt: skip
    recipe = recipes.find("vanilla")
    trials = [Trial(recipe, {}, "") for _ in values]
    facts = {"images": 800, "tried": tried}
    return tuning._Race(Arm("vanilla", recipe), trials, tuning.choose_stages(len(values), 800, 16), facts)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        # The two that were best in the middle failed at the end, so the best of the others is chosen.
        ([[5, 6], [1, 1, None], [2, 2, None], [3, 5], [9], [9], [9], [9]], 3),
        ([[9], [1, None], [2, None], [3, None], [4, None], [5], [9], [9]], 5),
        ([[8], [1, 7], [2, 3, 4], [3, 4, 5], [4, 8], [9], [9], [9]], 2),
        ([[None], [None], [None], [None], [None], [None], [None], [None]], 0),
    ],
)  # fmt: skip
def test_a_trial_that_failed_is_not_chosen(values: Sequence[Sequence[float | None]], chosen: int) -> None:
    made = race(values, ["the loss is not finite" if None in of else None for of in values])
    made.choose(1)
    assert made.facts["chosen"] == chosen


def test_it_is_told_where_chance_decides_which_trials_go_on(finished: Comparison) -> None:
    near = race([[100, 50, 40], [101, 60, 50], [102, 70], [103, 80], [104], [104.5], [104], [103]], [None] * 8)
    assert [near.is_chance(number, 1) for number in range(3)] == [True, False, False]
    near.choose(1)
    assert near.facts["chance"] == [200]
    data = json.loads(json.dumps(finished.data))
    assert not any("chance" in line for line in tuning_lines(data))
    data["fixed"]["tuning"]["arms"]["thin"]["chance"] = [40]
    assert "After 40 images the trials of thin were too much alike to tell, so chance" in tuning_lines(data)[1]
    assert tuning_section(data)["lead"].endswith("went on.")  # type: ignore[index]


def test_a_run_is_a_part_of_a_longer_one_only_where_nothing_follows_its_end() -> None:
    recipe = resolve("mnist", images=64_000)
    assert looks.may_be_part(recipe, 16_000)
    for schedule in ("linear", "linear,start=32000,end=64000"):
        falling = recipe.with_changes({"players.generator.schedule": schedule})
        assert not looks.may_be_part(falling, 16_000)
    early = recipe.with_changes({"players.generator.schedule": "linear,start=1000,end=2000"})
    assert looks.may_be_part(early, 16_000)


@pytest.mark.usefixtures("unreported")
def test_where_rates_follow_the_runs_end_each_length_is_a_run_of_its_own(
    quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes = {**SMALL, "players.generator.schedule": "linear"}
    done = compare(ARMS, out=tmp_path / "out", **{**COMMON, "changes": changes, "seeds": (0,), "tune": 3})
    runs = {path.name: from_run(RunFolder(path)).images for path in (tmp_path / "out").glob("tuning/vanilla/*/")}
    assert sorted(runs.values()) == [40, 40, 40, 160, 160]
    assert {name for name, images in runs.items() if images == 40} == {
        f"trial-{trial}-to-40-seed-2000" for trial in (1, 2, 3)
    }
    of = done.data["fixed"]["tuning"]["arms"]["vanilla"]
    assert (of["runs"], of["images_in_all"]) == (5, 3 * 48 + 2 * 160)


def test_a_report_of_trials_of_one_length_is_still_made(finished: Comparison) -> None:
    """Comparisons of before 2026-12 have one value for each trial."""
    data = json.loads(json.dumps(finished.data))
    for of in data["fixed"]["tuning"]["arms"].values():
        for facts in of["tried"]:
            del facts["stages"], facts["costs"]
    section = tuning_section(data)
    assert section is not None
    assert ": 3 trained to 160 images (seed 2000" in section["lead"]
    assert section["trials"][1][2].startswith("34.55\n")
    assert [row[3].split("\n")[0] for row in section["rows"][:2]] == ["25.05", "25.05"]


def test_a_trial_that_failed_or_did_not_train_is_the_worst_and_without_any_value_things_stay_as_they_are(
    quick: pytest.MonkeyPatch, tmp_path: Path, at_once: Callable[..., None]
) -> None:
    def failing(planned: Sequence[Job], *rest: Any) -> None:
        for job in planned:
            if "tuning" in job.folder.parts and job.title.endswith("trial 2 seed 8"):
                job.folder.parent.mkdir(parents=True, exist_ok=True)
                job.failure_file.write_text(json.dumps({"code": 2, "why": "the loss is not finite"}))
            else:
                at_once([job])

    def untrained(job: Job) -> str | None:
        return "its images are all alike" if job.title == "thin trial 1 seed 7" else None

    quick.setattr(jobs, "run_jobs", failing)
    quick.setattr(Job, "why_untrained", untrained)
    done = compare(ARMS, out=tmp_path / "out", **{**COMMON, "seeds": (0,), "tune": 2, "tune_seeds": (7, 8)})
    found = done.data["fixed"]["tuning"]["arms"]
    assert {name: of["chosen"] for name, of in found.items()} == {"vanilla": 0, "thin": 0}
    assert found["vanilla"]["tried"][1]["value"] is None
    assert found["vanilla"]["tried"][1]["why"] == "the loss is not finite"
    assert [facts["why"] for facts in found["thin"]["tried"]] == [
        "did not train: its images are all alike", "the loss is not finite",
    ]
    assert [facts["value"] for facts in found["thin"]["tried"]] == [None, None]
    page = done.report.read_text()
    assert "2 of 2" in page
    assert "no value" in page
    assert "(unchanged, since none of its trials has a value: thin)" in page
    assert done.data["differences"]["fid"]["thin"]["text"].endswith(
        "each at its best of 2 trials (no trial of thin has a value, so nothing was changed there)"
    )


def test_equal_seconds_include_tuning_and_pilots_are_tuned(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The slow arm's trials are as much shorter as its test; with the chosen settings every arm is timed again."""
    arms = gather(["fast: vanilla", "slow: vanilla generator.hidden=[16]"], (), {"data": "glyphs", "images": 6400}, {})
    speeds, timed = {"fast": 200.0, "slow": 100.0}, []

    def fit(given: Sequence[Arm], seconds: float | None, workshop: Workshop, tag: str = "") -> Any:
        timed.append(tag)
        budget = seconds or given[0].recipe.images / speeds[given[0].name]
        fitted = [replace(arm, recipe=replace(arm.recipe, images=int(budget * speeds[arm.name]))) for arm in given]
        return fitted, {"seconds": budget}

    lengths: dict[str, int] = {}

    def tuned(given: Sequence[Arm], long: dict[str, int], *rest: Any) -> list[Arm]:
        lengths.update(long)
        return [replace(arm, recipe=arm.recipe.with_changes({"learning_rate": 0.01})) for arm in given]

    def pilot(baseline: Arm, *rest: Any) -> dict[str, Any]:
        assert baseline.recipe.players["generator"].learning_rate == 0.01
        return {"margin": 1.0, "margin_rule": "pilots"}

    quick.setattr(equal_seconds, "fit_budgets", fit)
    quick.setattr(tuning, "tune", tuned)
    quick.setattr(margin, "find_margin", pilot)
    settings = {
        "margin": None, "match": None, "equal": "seconds", "pilot_seeds": [1000], "tune": 2, "tune_images": None,
        "tune_seeds": [2000],
    }  # fmt: skip
    folder = RunFolder(tmp_path / "out")
    folder.path.mkdir()
    made = prepare(
        Design(tuple(arms), settings), PlanFile(folder, {"kernels": "plain"}), Workshop(folder.path, {}, print)
    )
    assert lengths == {"fast": 3200, "slow": 1600}
    assert [arm.recipe.images for arm in made] == [6400, 3200]
    assert timed == ["-as-it-stands", ""]


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": 0}, r"--tune 0: give 1 or more trials, e\.g\. --tune 8"),
        ({"tune": 19}, r"--tune 19: .* only 18 trials for 'vanilla', .* Give 1 to 18"),
        ({"tune": 10, "changes": {**SMALL, "game": "simultaneous"}}, r"only 9 trials for .* Give 1 to 9"),
        ({"tune": 2, "images": None, "rounds": 20}, "that of 'vanilla' is in rounds. Give --images"),
        ({"tune": 2, "tune_images": 640}, "--tune-images 640: accepted are 16 to 320 images"),
        ({"tune": 2, "tune_images": "few"}, "--tune-images few: 'few' is not a number"),
        ({"tune_images": 32}, "--tune-images only works together with --tune. Add e.g. --tune 8"),
        ({"tune_seeds": [5000]}, "--tune-seeds only works together with --tune. Add e.g. --tune 8"),
        ({"tune": 2, "tune_seeds": [0]}, r"seed 0 is in --tune-seeds, and also in --seeds.*--tune-seeds 2000"),
        ({"tune": 2, "tune_seeds": [1001]}, "The seed 1001 is in --tune-seeds"),
        ({"tune": 2, "tune_seeds": []}, r"tune seeds are \[\]\. Give whole numbers.* --tune-seeds 2000"),
        ({"tune": 2, "allow_few": [], "count": None, "reference": "test"}, "200 real images|200 fake|200 real"),
    ],
    ids=str,
)  # fmt: skip
def test_trials_that_cannot_be_are_refused_before_a_run_starts(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    def started(*given: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(jobs, "run_jobs", started)
    with pytest.raises(UserError, match=message):
        compare(ARMS, out=tmp_path / "out", **{**COMMON, **options})
    assert not (tmp_path / "out").exists()


def test_trials_within_an_averages_half_life_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    stop: Callable[..., NoReturn], reached: type[Exception],
) -> None:
    monkeypatch.setattr(jobs, "run_jobs", stop)
    changes = {**SMALL, "averages": {"generator": {"half_life": 70.0}}}
    options = {**COMMON, "changes": changes, "quiet": False, "tune": 4}
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "short", **options)
    assert "Trials of 40 images are too short: the averaged weights need 70" in capsys.readouterr().err
    with pytest.raises(reached):
        compare(ARMS, out=tmp_path / "longer", **{**options, "tune_images": 320})
    assert "half-life" not in capsys.readouterr().err


def test_runs_that_were_trained_beforehand_are_refused(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {key: COMMON[key] for key in ("data", "images", "changes", "batch_size", "device", "quiet")}
    train("vanilla", seed=0, out=tmp_path / "out/runs/vanilla/seed-0", **options)
    with pytest.raises(UserError, match=r"trained before \(runs/vanilla/seed-0\), but --tune must choose the settings"):
        compare(ARMS, out=tmp_path / "out", **{**COMMON, "seeds": (0,), "tune": 2})


def test_trials_of_another_table_are_not_mixed_with_those_of_this_one(tmp_path: Path) -> None:
    plan = PlanFile(RunFolder(tmp_path), {"tuning": {"space": "space-0", "arms": {}}})
    with pytest.raises(UserError, match=r"list of settings space-0; this version has space-3"):
        tuning.tune([], {}, {"tune": 2, "tune_seeds": [2000]}, plan, Workshop(tmp_path, {}, print))


@pytest.mark.parametrize("found", [False, True], ids=["no controls yet", "controls found"])
def test_failed_trials_are_trained_once_more_if_told_until_there_are_controls(tmp_path: Path, found: bool) -> None:
    mark = tmp_path / "tuning/thin/trial-1-seed-2000.failed.json"
    mark.parent.mkdir(parents=True)
    mark.write_text("{}")
    arms = {
        "thin": {"tried": [{"why": "the disk is full"}, {"why": None}], "chosen": 1},
        "other": {"tried": [{"why": None}, {"why": None}], "chosen": 1},
    }
    plan = PlanFile(RunFolder(tmp_path), {"tuning": {"arms": arms}, **({"controls": {"arms": []}} if found else {})})
    plan.forget_failures()
    assert mark.exists() == found
    assert {name: of.get("chosen") for name, of in arms.items()} == {"thin": 1 if found else None, "other": 1}
