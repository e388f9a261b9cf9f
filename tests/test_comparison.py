from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frugan import evaluation, files, kernels, memory
from frugan.comparison import Comparison, compare
from frugan.comparison.launchers import local
from frugan.comparison.planning.arms import gather, parse
from frugan.comparison.running import jobs, watch
from frugan.comparison.running.job import Job, make_job
from frugan.comparison.running.tasks import Task
from frugan.engine.run import RunFolder
from frugan.kernels import _compiler
from frugan.registry import UserError

SMALL = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 96, "changes": SMALL, "metrics": ["fid", "density_coverage"], "view": "pixels",
    "count": 1000, "device": "cpu", "quiet": True,
}  # fmt: skip
THIN = "thin: vanilla generator.hidden=[4]"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, in_this_process: Callable[..., None]) -> Comparison:
    out = tmp_path_factory.mktemp("comparison") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_jobs", in_this_process)
        return compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)


# --------------------------------------------------------------------------------------------------------------- arms


def test_an_arm_is_a_recipe_with_changes_named_if_wished() -> None:
    arm = parse("thin one: mnist --family factorised architecture.width=0.7 loss=hinge", {"images": "60k"}, {})
    assert (arm.name, arm.folder, arm.recipe.images) == ("thin one", "thin-one", 60_000)
    assert arm.recipe.networks["generator"].options["width"] == 0.7
    assert arm.recipe.networks["generator"].families == arm.recipe.networks["generator"].tables["factorised"]
    assert arm.recipe.loss.name == "hinge"
    same = parse("mnist family=factorised discriminator-family=depthwise".replace("r-f", "r_f"), {}, {"batch_size": 32})
    assert same.name == "mnist factorised discriminator depthwise"
    assert same.recipe.networks["discriminator"].families[0].family == "depthwise"
    assert same.recipe.batch_size == 32
    assert parse("mnist --discriminator-family depthwise", {}, {}).recipe.networks["discriminator"].families
    assert parse("mnist architecture.width=0.5", {}, {}).name == "mnist width=0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--family factorised", "does not begin with a recipe"),
        ("mnits", "Did you mean 'mnist'"),
        ("mnist --family", "Add a name after it: --family NAME"),
        ("mnist --famly factorised", "Did you mean '--family'"),
        ("mnist factorised", "'factorised' is not understood.*--family NAME.*key=value"),
        ("mnist generator.widht=1 batchsize=3", "no key 'batchsize'"),
    ],
)
def test_a_mistyped_arm_is_explained(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text, {}, {})


def test_one_recipe_in_several_families_is_several_arms_called_by_them() -> None:
    arms = gather(["mnist"], ["standard", "factorised"], {}, {})
    assert [arm.name for arm in arms] == ["standard", "factorised"]
    assert arms[0].recipe.networks["generator"] != arms[1].recipe.networks["generator"]
    with pytest.raises(UserError, match="2 recipes are given"):
        gather(["mnist", "vanilla"], ["standard"], {}, {})


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="two arms or more"):
        gather(["mnist"], [], {}, {})
    with pytest.raises(UserError, match="Two arms are called 'mnist'"):
        gather(["mnist", "mnist"], [], {}, {})
    with pytest.raises(UserError, match=r"different data .*data\.source"):
        gather(["mnist", "cifar10-frog"], [], {}, {})
    with pytest.raises(UserError, match="whole numbers from 0, none of them twice"):
        compare("mnist", families=["standard", "factorised"], seeds=[0, 0], out="unused")
    with pytest.raises(UserError, match=r"seed 3 is in --seeds and in --pilot-seeds"):
        compare("mnist", families=["standard", "factorised"], pilot_seeds=[3, 1000], out="unused")
    with pytest.raises(UserError, match=r"no --match mac. Did you mean 'macs'"):
        compare("mnist", families=["standard", "factorised"], match="mac", out="unused", data="glyphs", quiet=True)
    with pytest.raises(UserError, match=r"accepted are images, seconds .*600s"):
        compare("mnist", families=["standard", "factorised"], equal="time", out="unused", data="glyphs", quiet=True)
    with pytest.raises(UserError, match=r"needs budgets in images, but that of 'standard' is in rounds"):
        compare(
            "mnist", families=["standard", "factorised"], equal="60s", rounds=5, out="unused", data="glyphs", quiet=True
        )
    with pytest.raises(UserError, match=r"--baseline x: no arm has this name\. Choose from: factorised, standard"):
        compare("mnist", families=["standard", "factorised"], baseline="x", out="unused")


# --------------------------------------------------------------------------------------------------------- the result


def test_the_result_holds_every_raw_value_cost_and_paired_difference(finished: Comparison) -> None:
    data = json.loads((finished.folder / "comparison.json").read_text())
    assert data["baseline"] == "vanilla"
    assert data["seeds"] == [0, 1]
    assert data["primary"] == "fid"
    plain, thin = data["arms"]
    assert plain["generator"]["parameters"] > thin["generator"]["parameters"]
    assert set(thin["latency"]) == {"1", "64"}
    assert thin["latency"]["64"]["median_ms"] > 0
    by_seed = [[arm["runs"][seed]["values"]["fid"]["values"]["fid"] for seed in ("0", "1")] for arm in (plain, thin)]
    found = data["differences"]["fid"]["thin"]
    assert found["differences"] == [pytest.approx(t - p) for p, t in zip(*by_seed, strict=True)]
    assert found["mean"] == pytest.approx(sum(found["differences"]) / 2)
    assert found["n"] == 2
    assert found["kind"] == "direction"
    assert found["interval_95"][0] < found["mean"] < found["interval_95"][1]
    assert plain["summary"]["density_coverage"]["n"] == 2
    assert data["metrics"]["fid"]["protocol"]["view"] == "pixels"
    assert data["margin"] == pytest.approx(0.05 * plain["summary"]["fid"]["mean"], rel=5e-3)
    assert thin["differences"] == ["generator.hidden: [16] -> [4]"]
    assert (plain["runs"]["0"]["folder"], plain["runs"]["0"]["images"]) == ("runs/vanilla/seed-0", 96)


def test_pairs_share_their_data_and_nothing_else_differs(finished: Comparison) -> None:
    paths = [finished.folder / f"runs/{arm}/seed-1/recipe.json" for arm in ("vanilla", "thin")]
    recipes = [json.loads(path.read_text()) for path in paths]
    assert recipes[0].pop("networks") != recipes[1].pop("networks")
    assert recipes[0] == recipes[1]
    assert recipes[0]["seed"] == 1


def test_the_table_and_the_report_are_there(finished: Comparison) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(finished.table())
    text = console.export_text()
    assert all(word in text for word in ("FID", "(pixels)", "MACs", "thin", "baseline"))
    assert max(map(len, text.splitlines())) <= 80
    console.print(finished.metrics_table())
    assert "density coverage" in console.export_text()
    assert "thin: " in finished.words()[0]
    assert "direction only" in finished.words()[0]
    assert "glyphs-digits" in finished.words()[-1]
    assert "1,000 fakes" in finished.words()[-1]
    assert finished.report.stat().st_size > 10_000


@pytest.mark.usefixtures("unreported")
def test_the_same_call_again_trains_and_measures_nothing(finished: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(planned: Sequence[Job], *rest: Any) -> None:
        assert all(job.finished() for job in planned)

    monkeypatch.setattr(jobs, "run_jobs", none_left)
    times = {path: path.stat().st_mtime_ns for path in finished.folder.glob("runs/*/*/metrics.jsonl")}
    assert len(times) == 4
    compare(["vanilla", THIN], seeds=(0, 1), out=finished.folder, **COMMON)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_the_result_is_printed_before_the_report_is_written(
    finished: Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path) -> None:
        raise UserError("The report cannot be written.")

    monkeypatch.setattr(jobs, "run_jobs", lambda *given: None)
    monkeypatch.setattr("frugan.reporting.report", refused)
    with pytest.raises(UserError, match="report cannot be written"):
        compare(["vanilla", THIN], seeds=(0, 1), out=finished.folder, **{**COMMON, "quiet": False})
    assert "minus vanilla" in capsys.readouterr().out


def test_another_plan_in_the_same_folder_is_refused_with_the_differences(finished: Comparison, tmp_path: Path) -> None:
    changed = "thin: vanilla generator.hidden=[8]"
    with pytest.raises(UserError, match=r"thin: generator.hidden: \[4\] -> \[8\]; seeds: \[0, 1\] -> \[0\]"):
        compare(["vanilla", changed], seeds=(0,), out=finished.folder, **COMMON)
    with pytest.raises(UserError, match="arms: vanilla, thin -> vanilla, slim"):
        compare(["vanilla", "slim: vanilla generator.hidden=[4]"], seeds=(0, 1), out=finished.folder, **COMMON)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="do not belong to a comparison"):
        compare(["vanilla", THIN], seeds=(0, 1), out=tmp_path, **COMMON)


def test_runs_trained_beforehand_are_evaluated_and_their_plan_says_so(
    finished: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    def none_left(planned: Sequence[Job], *rest: Any) -> None:
        assert all(job.finished() for job in planned)

    monkeypatch.setattr(jobs, "run_jobs", none_left)
    out = tmp_path / "out"
    shutil.copytree(finished.folder / "runs", out / "runs")
    for arms, seeds, message in (
        (["vanilla", THIN], range(5), r"the plan must come first: give another --out\. Or give fewer than five"),
        (["vanilla", THIN], (0,), r"vanilla/seed-1|thin/seed-1.* is not a run of this comparison"),
        (["vanilla", "thin: vanilla generator.hidden=[8]"], (0, 1), r"thin/seed-0 .*generator.hidden: \[8\] -> \[4\]"),
    ):
        with pytest.raises(UserError, match=message):
            compare(arms, seeds=seeds, out=out, **COMMON)
    with pytest.raises(UserError, match=r"images: 48 -> 96.* Move it away"):
        compare(["vanilla", THIN], seeds=(0, 1), out=out, **{**COMMON, "images": 48})
    assert not (out / "plan.json").exists()

    made = compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)
    there = ["runs/thin/seed-0", "runs/thin/seed-1", "runs/vanilla/seed-0", "runs/vanilla/seed-1"]
    assert json.loads((out / "plan.json").read_text())["trained_before"] == made.data["trained_before"] == there
    assert made.data["differences"]["fid"]["thin"]["mean"] == finished.data["differences"]["fid"]["thin"]["mean"]
    assert "4 of 4 runs were trained before the plan was written." in made.words()
    assert "written after some runs were already there" in made.report.read_text()

    shutil.rmtree(out / "runs/thin/seed-1")
    shutil.copytree(out / "runs/vanilla/seed-1", out / "runs/thin/seed-1")
    with pytest.raises(UserError, match=r"thin/seed-1 was trained with other settings than the arm 'thin' has"):
        compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)


@pytest.mark.usefixtures("unreported")
def test_runs_trained_beforehand_decide_how_all_arms_are_computed_and_must_agree(
    finished: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(_compiler, "compiler", lambda: ("c++", "c++ 12"))
    monkeypatch.setattr(kernels, "LEAST_ROUNDS", 0)  # so that a comparison which began now would measure
    out = tmp_path / "out"
    shutil.copytree(finished.folder / "runs", out / "runs")
    facts = RunFolder(out / "runs/thin/seed-1").facts
    before = facts.read_text()
    facts.write_text(json.dumps({**json.loads(before), "kernels": "measured"}))
    apart = r"not computed in the same way, .*kernels=plain, .*thin/seed-1 with kernels=measured"
    with pytest.raises(UserError, match=apart):
        compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)
    facts.write_text(before)
    compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)
    assert json.loads((out / "plan.json").read_text())["kernels"] == "plain"
    assert json.loads((out / "arms/thin.json").read_text())["kernels"] == "plain"


@pytest.mark.usefixtures("unreported")
def test_unequal_protocols_share_no_table(
    finished: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished.folder, out)
    folder = RunFolder(out / "runs/thin/seed-1")
    lines = folder.lines(folder.metrics)

    def other(run: Any, **given: Any) -> list[dict[str, Any]]:
        own = RunFolder(run.path)
        values = own.lines(own.metrics)
        if run.path == folder.path:
            values = [{**line, "protocol": {**line["protocol"], "weights": "averaged"}} for line in lines]
        return values

    monkeypatch.setattr(evaluation, "evaluate", other)
    with pytest.raises(UserError, match=r"measured differently, .*: weights: live \| averaged"):
        compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON)


def test_a_failed_run_is_counted_named_and_stands_for_the_worst(finished: Comparison, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(finished.folder, out)
    (out / "runs/thin/seed-1.failed.json").write_text(json.dumps({"code": 2, "why": "loss is not finite"}))
    data = compare(["vanilla", THIN], seeds=(0, 1), out=out, **COMMON).data
    thin = data["arms"][1]
    assert thin["runs"]["1"]["failed"] == "loss is not finite"
    assert (thin["summary"]["fid"]["n"], thin["summary"]["fid"]["failed"]) == (1, 1)
    assert thin["summary"]["fid"]["mean"] == thin["runs"]["0"]["values"]["fid"]["values"]["fid"]
    values = [arm["runs"][seed]["values"]["fid"]["values"]["fid"] for arm, seed in
              ((data["arms"][0], "0"), (data["arms"][0], "1"), (thin, "0"))]  # fmt: skip
    assert data["differences"]["fid"]["thin"]["differences"][1] == pytest.approx(max(values) - values[1])
    assert "thin, seed 1 failed: loss is not finite" in (out / "report.html").read_text()


# ----------------------------------------------------------------------------------------------------------- processes


def scripted(folder: Path, name: str, code: str) -> Job:
    """A job that runs a small program instead of a training."""
    own = folder / name
    return Job(name, own, (sys.executable, "-c", f"import os, signal, sys, time\n{code}"), 100)


def test_a_failure_is_marked_with_its_reason_and_not_repeated(tmp_path: Path) -> None:
    job = scripted(tmp_path, "seed-0", "print('first'); print('frugan: no such family', file=sys.stderr); sys.exit(2)")
    jobs.run_jobs([job], 1, 1, quiet=True)
    assert job.why_failed() == "frugan: no such family"
    jobs.run_jobs([job], 1, 1, quiet=True)
    assert job.output.read_text().count("no such family") == 1


def test_a_run_that_is_trained_again_is_known_to_have_failed(tmp_path: Path) -> None:
    job = scripted(tmp_path, "seed-0", "print('loss is not finite', file=sys.stderr); sys.exit(2)")
    job.retry()
    assert job.why_retried() is None
    jobs.run_jobs([job], 1, 1, quiet=True)
    job.retry()
    assert (job.why_failed(), job.why_retried()) == (None, "loss is not finite")


TOO_LITTLE = r"too little memory for seed-0.*fewer --jobs.*same command again"
NO_SPACE = "print('frugan: No space left', file=sys.stderr)"


@pytest.mark.parametrize(("end", "said"), [
    ("os.kill(os.getpid(), signal.SIGKILL)", TOO_LITTLE), (f"sys.exit({memory.TooLittleError.code})", TOO_LITTLE),
    (f"{NO_SPACE}; sys.exit({files.REFUSED})", r"Not everything could be saved\. seed-0: frugan: No space left"),
])
def test_a_run_killed_or_without_memory_or_space_has_not_failed_and_is_continued(
    tmp_path: Path, end: str, said: str
) -> None:
    once = f"f = 'once'\nif not os.path.exists(f):\n    open(f, 'w'); {end}\n"
    job = scripted(tmp_path, "seed-0", f"os.chdir({str(tmp_path)!r})\n{once}print('done')")
    with pytest.raises(UserError, match=said):
        jobs.run_jobs([job], 1, 1, quiet=True)
    assert job.why_failed() is None
    jobs.run_jobs([job], 1, 1, quiet=True)
    assert job.output.read_text().splitlines()[-1] == "done"


def test_only_a_run_of_a_comparison_ends_otherwise_where_a_place_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.PlaceError("full").code == UserError.code
    for name, value in jobs.environment_of_run(1).items():
        monkeypatch.setenv(name, value)
    assert files.PlaceError("full").code == files.REFUSED


def test_threads_are_divided_and_no_more_run_at_once_than_asked(tmp_path: Path) -> None:
    code = "print(os.environ['OMP_NUM_THREADS'], time.monotonic()); time.sleep(0.4); print(time.monotonic())"
    planned = [scripted(tmp_path, f"seed-{number}", code) for number in range(4)]
    jobs.run_jobs(planned, 2, 3, quiet=True)
    printed = [job.output.read_text().split() for job in planned]
    assert {words[0] for words in printed} == {"3"}
    spans = [(float(words[1]), float(words[2])) for words in printed]
    overlapping = [sum(start <= at < end for start, end in spans) for at, _ in spans]
    assert max(overlapping) == 2


def test_progress_speaks_of_images_only_where_a_run_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.0)
    first, second = (scripted(tmp_path, f"seed-{number}", "") for number in range(2))
    shown = watch.Watch([first, second], quiet=False)
    shown.show({}, [first, second])
    assert capsys.readouterr().err == "0 of 2 runs done\n"
    shown.show({}, [second])  # the first one has ended, the other has not begun
    assert re.fullmatch(r"1 of 2 runs done, about \d+\.\d min left\n", capsys.readouterr().err)
    first.folder.mkdir()
    (first.folder / "log.jsonl").write_text('{"images": 40}\n')
    shown.show({first: None}, [second])
    said = capsys.readouterr().err
    assert re.fullmatch(r"0 of 2 runs done; seed-0 40 of 100 images, about \d+\.\d min left\n", said)


def test_a_part_of_the_way_is_told_as_a_part_of_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.0)
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    whole = [scripted(tmp_path, f"seed-{number}", "") for number in range(3)]
    told: list[str] = []

    def run(planned: list[Job], *rest: Any) -> None:
        nonlocal now
        shown, until = watch.Watch(planned, quiet=False), planned[0].images
        for job in planned[:2]:
            job.folder.mkdir(exist_ok=True)
            (job.folder / "log.jsonl").write_text(json.dumps({"images": until}) + "\n")
        files.write(planned[2].failure_file, '{"why": "it broke"}')
        now += 60
        shown.show([planned[1]], [])
        told.append(capsys.readouterr().err)

    monkeypatch.setattr(jobs, "run_jobs", run)
    monkeypatch.setattr(local, "measure_between", lambda *given: None)
    local.train(Task(whole, (0.5,)), SimpleNamespace(at_once=1, threads=1, quiet=False, own=()))  # pyrefly: ignore
    assert told == [
        "1 of 3 runs done; seed-1 50 of 100 images, about 0.5 min left\n",
        "2 of 3 runs done; seed-1 100 of 100 images, about 0.0 min left\n",
    ]


def test_what_has_ended_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of runs may have ended, and progress is shown twice a second."""
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.0)
    first, second = (scripted(tmp_path, f"seed-{number}", "") for number in range(2))
    shown, read = watch.Watch([first, second], quiet=False), []
    count = Job.images_shown
    monkeypatch.setattr(Job, "images_shown", lambda job: (read.append(job.title), count(job))[1])
    for _ in range(3):
        shown.show({second: None}, [])
    assert read.count("seed-0") == 1
    assert read.count("seed-1") == 3
    shown.show({first: None}, [second])  # it goes on
    shown.show({}, [second])
    assert read.count("seed-0") == 3


def test_runs_that_are_timed_are_trained_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(jobs, "run_jobs", lambda planned, at_once, threads, *rest: given.append((at_once, threads)))
    planned = [scripted(tmp_path, f"seed-{number}", "") for number in range(3)]
    for together in (False, True):
        local.train(
            Task(planned, together=together),
            SimpleNamespace(at_once=2, threads=4, quiet=True, own=()),  # pyrefly: ignore
        )
    assert given == [(2, 4), (1, 4)]


def test_what_was_trained_before_does_not_count_for_the_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.0)
    job = scripted(tmp_path, "seed-0", "")
    job.folder.mkdir()
    (job.folder / "log.jsonl").write_text('{"images": 60}\n')
    shown = watch.Watch([job], quiet=False)
    shown.show({job: None}, [])
    assert capsys.readouterr().err == "0 of 1 runs done; seed-0 60 of 100 images\n"


def test_ctrl_c_lets_the_jobs_save_and_says_how_to_continue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "def save(*_):\n    print('saved', flush=True); sys.exit(130)\nsignal.signal(signal.SIGTERM, save)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as in a program that a shell started in the background
        f"open({str(tmp_path / 'ready')!r}, 'w')\ntime.sleep(60)"
    )
    job = scripted(tmp_path, "seed-0", code)

    def press() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    # A suite that a shell runs in the background is begun with SIGINT ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pressing.start()
        with pytest.raises(SystemExit) as stopped:
            jobs.run_jobs([job], 1, 1, quiet=True)
    finally:
        signal.signal(signal.SIGINT, before)
    pressing.join()
    assert stopped.value.code == 130
    assert job.output.read_text() == "saved\n"
    assert "Run the same command again to continue" in capsys.readouterr().err
    assert job.why_failed() is None


def test_a_run_left_over_from_a_killed_comparison_is_waited_for(tmp_path: Path) -> None:
    job = scripted(tmp_path, "seed-0", "print('begun')")
    hold = (
        "import sys, time; from frugan.engine.run import RunFolder\n"
        f"with RunFolder({str(job.folder)!r}).locked():\n    print('held', flush=True); time.sleep(1.5)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        jobs.run_jobs([job], 1, 1, quiet=True)
        assert time.monotonic() - began > 1.0
    assert job.output.read_text() == "begun\n"


def test_runs_are_processes_of_their_own(tmp_path: Path) -> None:
    options = {**COMMON, "metrics": ["fid"]}
    made = compare(["vanilla", THIN], seeds=(0,), out=tmp_path / "out", jobs=2, **options)
    assert [arm["summary"]["fid"]["n"] for arm in made.data["arms"]] == [1, 1]
    assert "Finished" in (tmp_path / "out/runs/thin/seed-0.txt").read_text()
    facts = json.loads((tmp_path / "out/runs/thin/seed-0/run.json").read_text())
    assert facts["threads"] == made.data["threads"]


def test_a_file_of_the_current_folder_is_not_taken_for_a_module_of_python(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    recipe = parse("vanilla", {}, {}).recipe
    job = make_job(tmp_path / "arm.json", tmp_path / "run", "vanilla", recipe, 0, [])
    environment = {**os.environ, **jobs.environment_of_run(1)}
    came = subprocess.run(job.command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert "shadowed" not in came.stderr
    assert "arm.json" in came.stderr
