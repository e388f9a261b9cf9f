"""Launchers without their engines: what is handed over, and what comes of it. With them: test_slurm.py, test_ray.py."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from frugan import cli, evaluation
from frugan.comparison import compare, launchers
from frugan.comparison.launchers import LEFT, _spreading, read_options
from frugan.comparison.running import jobs, work
from frugan.comparison.running.job import Job
from frugan.comparison.running.tasks import Task
from frugan.comparison.running.work import Step, Work, Worker, make_works
from frugan.comparison.running.workshop import Workshop
from frugan.registry import UserError

SMALL = {"data.size": 12, "data.limit": 1200, "generator.hidden": [16], "discriminator.hidden": [16]}
COMMON: dict[str, Any] = {
    "data": "glyphs:digits", "images": 96, "changes": SMALL, "metrics": ["fid"], "view": "pixels", "count": 1000,
    "device": "cpu", "quiet": True,
}  # fmt: skip
ARMS = ["vanilla", "thin: vanilla generator.hidden=[4]"]


def judged(data: dict[str, Any]) -> dict[str, Any]:
    """Everything in a comparison that does not depend on the time, or on where it was trained."""
    runs = {
        arm["name"]: {
            seed: {key: run.get(key) for key in ("values", "way", "judges", "failed", "images")}
            for seed, run in arm["runs"].items()
        }
        for arm in data["arms"]
    }
    return {"runs": runs, **{key: data[key] for key in ("differences", "margin", "margin_rule", "failures", "slopes")}}


@pytest.fixture
def workers_in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Does the works in a file of commands, one after the other: processes need seconds to start."""

    def carry_out(self: Worker, step: Step, job: Job, environment: object) -> int:
        try:
            cli.main(step.command[2:])
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    monkeypatch.setattr(Worker, "_carry_out", carry_out)

    def run(commands: Path) -> None:
        for line in commands.read_text().splitlines():
            assert Worker(Path(line.split()[-1])).run() in (0, 1)

    return run


# -------------------------------------------------------------------------------------------------------------- choices


def test_every_launcher_is_found_and_says_what_it_takes() -> None:
    assert launchers.names() == ["files", "local", "ray", "slurm"]
    for name in launchers.names():
        assert read_options(name, None) == {}


def test_options_come_from_a_file_and_a_slip_is_answered_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "slurm.toml"
    file.write_text('partition = "gpu"\ncpus = 4\nsbatch = {nice = 100}\n')
    assert read_options("slurm", file) == {"partition": "gpu", "cpus": 4, "sbatch": {"nice": 100}}
    file.write_text('partiton = "gpu"\n')
    slip = r"slurm\.toml: The launcher 'slurm' has no option 'partiton'\. Did you mean 'partition'"
    with pytest.raises(UserError, match=slip):
        read_options("slurm", file)
    file.write_text("cpus = four\n")
    with pytest.raises(UserError, match=r"slurm\.toml cannot be read .*with lines like: cpus = 4"):
        read_options("slurm", file)
    with pytest.raises(UserError, match=r"none\.toml cannot be read"):
        read_options("slurm", tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"'cpus' is 'four'. Give a whole number, e.g. 1"):
        read_options("ray", {"cpus": "four"})


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}.*pip install 'frugan\[{name}\]'"):
        compare(ARMS, seeds=(0,), out="unused", launcher=name, **COMMON)
    assert not Path("unused/plan.json").exists()


def test_slurm_away_from_a_cluster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", sys)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"sbatch and squeue, which are not found here.*--launcher files"):
        launchers.find("slurm").check()


def test_an_unknown_launcher_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no launcher called 'slrum'. Did you mean 'slurm'"):
        compare(ARMS, seeds=(0,), out="unused", launcher="slrum", **COMMON)


# ---------------------------------------------------------------------------------------------------------------- works


def test_a_work_measures_a_run_where_a_comparison_here_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"metrics": ["fid", "kid"], "view": None, "count": 1000, "reference": None, "allow_few": (), "device": "cpu"}
    workshop = Workshop(tmp_path, how, print)
    train = (sys.executable, "-m", "frugan", "train", "x")
    job = Job("thin seed 0", tmp_path / "runs/thin/seed-0", train, 800)
    (made,) = make_works(Task([job], (0.75, 0.875), [{}, {"metrics": ["fid"], "view_seed": 1}]), workshop, 3)
    evaluate = ("-m", "frugan", "evaluate", str(job.folder), "--metrics")
    rest = ("--count", "1000", "--device", "cpu")
    assert [(step.command, step.before) for step in made.steps] == [
        (("-m", "frugan", "train", "x", "--images", "600"), 600), ((*evaluate, "fid", *rest), 700),
        (("-m", "frugan", "train", "x", "--images", "700"), 700), ((*evaluate, "fid", *rest), 800),
        (("-m", "frugan", "train", "x"), 800), ((*evaluate, "fid,kid", *rest), None),
        ((*evaluate, "fid", *rest, "--view-seed", "1"), None),
    ]  # fmt: skip
    assert made.environment["OMP_NUM_THREADS"] == "3"

    # The command line takes these words, and `evaluate` gets what a comparison here would give it.
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(evaluation, "evaluate", _recording(evaluation.evaluate, seen))
    monkeypatch.setattr("frugan.cli._judging._print_values", lambda values: None)
    for step in made.steps:
        if step.measures:
            cli.main(list(step.command[2:]))
    assert [(tuple(one["metrics"]), one.get("view_seed", 0)) for one in seen] == [
        (("fid",), 0), (("fid",), 0), (("fid", "kid"), 0), (("fid",), 1),
    ]  # fmt: skip


def _recording(of: Any, seen: list[dict[str, Any]]) -> Any:
    @functools.wraps(of)
    def evaluate(**given: Any) -> list[Any]:
        seen.append(given)
        return []

    return evaluate


def test_runs_that_are_timed_are_one_work(tmp_path: Path) -> None:
    timed = [Job(name, tmp_path / name, (sys.executable, "train", name), 80) for name in ("a", "b")]
    (made,) = make_works(Task(timed, together=True), Workshop(tmp_path, {}, print), 1)
    assert [step.command for step in made.steps] == [("train", "a"), ("train", "b")]


def scripted(folder: Path, code: str, *, name: str = "seed-0", **about: Any) -> Work:
    """A work of one small program."""
    job = Job(name, folder / name, (), 100)
    made = Work((job,), (Step(str(job.folder), ("-c", code), **about),), str(folder), {"HELLO": "there"})
    made.write()
    return made


def done(folder: Path, name: str = "seed-0") -> str:
    return f"import os; os.makedirs({str(folder / name)!r}, exist_ok=True); print(os.environ.get('HELLO'))"


def test_a_worker_ends_well_and_does_nothing_twice(tmp_path: Path) -> None:
    made = scripted(tmp_path, done(tmp_path))
    assert not made.is_done()
    assert subprocess.run(made.command()).returncode == 0
    assert made.is_done()
    assert made.jobs[0].output.read_text() == "there\n"
    shutil.rmtree(made.jobs[0].folder)
    assert not made.is_done()  # whoever deletes a run wants another one


def test_a_failed_run_is_marked_by_its_worker_and_a_killed_one_is_not(tmp_path: Path) -> None:
    made = scripted(tmp_path, "import sys; print('loss is not finite'); sys.exit(2)")
    assert Worker(made.file).run() == 1
    assert made.jobs[0].why_failed() == "loss is not finite"
    assert made.is_done()
    made = scripted(tmp_path, "import os; os.kill(os.getpid(), 9)", name="seed-1")
    assert Worker(made.file).run() == 130
    assert made.jobs[0].why_failed() is None
    assert not made.is_done()


def test_a_value_that_cannot_be_measured_is_no_failure_of_its_run(tmp_path: Path) -> None:
    made = scripted(tmp_path, f"{done(tmp_path)}; raise SystemExit(2)", measures=True)
    assert Worker(made.file).run() == 0
    assert made.jobs[0].why_failed() is None


def test_a_run_that_another_machine_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "AGAIN", 0.1)
    mark = tmp_path / "tried"
    held = f"import pathlib; p = pathlib.Path({str(mark)!r})\nif not p.exists(): p.touch(); raise SystemExit(75)\n"
    made = scripted(tmp_path, held + done(tmp_path))
    assert Worker(made.file).run() == 0
    assert made.is_done()


def test_a_worker_that_is_asked_to_stop_lets_its_run_save(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(130)))\n"
        f"open({str(tmp_path / 'ready')!r}, 'w')\ntime.sleep(60)"
    )
    made = scripted(tmp_path, code)
    with subprocess.Popen(made.command()) as process:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert made.jobs[0].output.read_text() == "saved\n"
    assert not made.is_done()


def test_a_folder_that_is_not_shared_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match=r"work\.json is not there on .*on a disk that all machines share"):
        Worker(tmp_path / "seed-0.work.json").run()
    made = scripted(tmp_path, "")
    made.file.write_text(json.dumps({**made.as_dict(), "directory": "/home/of/nobody"}))
    with pytest.raises(UserError, match=r"/home/of/nobody is not there on .*a folder that all machines share"):
        Worker(made.file).run()


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.usefixtures("unreported")
def test_works_give_what_a_comparison_here_gives_with_pilots_looks_and_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None],
    workers_in_this_process: Callable[[Path], None], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    asked: dict[str, Any] = {**COMMON, "seeds": range(5), "pilot_seeds": (1000,), "tune": 3, "no_damaged": True}
    local = compare(ARMS, out="local", **asked).data
    for part in ("tuning", "tuning", "pilots", "runs"):
        with pytest.raises(SystemExit) as left:
            compare(ARMS, out="files", launcher="files", **asked)
        assert left.value.code == LEFT
        lines = Path("files/jobs.txt").read_text().splitlines()
        assert all(f"/files/{part}/" in line for line in lines)
        workers_in_this_process(Path("files/jobs.txt"))
    assert len(lines) == 10
    assert "Then type the same frugan command again" in capsys.readouterr().err

    def known(run: Any, **how: Any) -> Any:
        before = run_lines(run)
        values = measure(run, **how)
        assert run_lines(run) == before, "a value was measured here that a worker should have measured"
        return values

    def run_lines(run: Any) -> str:
        return (Path(getattr(run, "path", run)) / "metrics.jsonl").read_text()

    from frugan import evaluation

    measure = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", known)
    spread = compare(ARMS, out="files", launcher="files", **asked).data
    assert judged(spread) == judged(local)
    assert not Path("files/jobs.txt").exists()


@pytest.mark.usefixtures("unreported")
def test_xargs_interrupted_and_continued_gives_the_table_of_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., None]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "run_jobs", in_this_process)
    asked: dict[str, Any] = {**COMMON, "seeds": (0,), "images": 3000}
    with pytest.raises(SystemExit):
        compare(ARMS, out="files", launcher="files", **asked)
    xargs = ["xargs", "-a", "files/jobs.txt", "-d", "\n", "-n", "1", "-P", "2", "sh", "-c"]
    with subprocess.Popen(xargs, start_new_session=True) as first:
        logs = [tmp_path / f"files/runs/{arm}/seed-0/log.jsonl" for arm in ("vanilla", "thin")]
        while not any(log.exists() for log in logs):
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGTERM)
    assert not list(tmp_path.glob("files/runs/*/*.worked.json"))
    subprocess.run(xargs, check=True)
    spread, local = (compare(ARMS, out=out, launcher=out, **asked).data for out in ("files", "local"))
    assert judged(spread) == judged(local)


# ------------------------------------------------------------------------------------------------------------ spreading


class Made:
    """An engine that is told what to do: `does` gets each work that is submitted."""

    title, stays = "the engine", True

    def __init__(self, does: Callable[[Work], bool]) -> None:
        self.does, self.chunks, self.alive, self.cancelled = does, [], set(), []

    def submit(self, works: Sequence[Work]) -> list[str]:
        self.chunks.append(len(works))
        names = [f"{sum(self.chunks)}-{work.title}" for work in works]
        self.alive |= {name for name, work in zip(names, works, strict=True) if self.does(work)}
        return names

    def find_alive(self, handles: Collection[str]) -> set[str]:
        return self.alive & set(handles)

    def cancel(self, handles: Collection[str]) -> None:
        self.cancelled += handles


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LOOK", "ASK", "LATE"):
        monkeypatch.setattr(_spreading, name, 0.01)
    return


def ends(work_: Work) -> bool:
    assert Worker(work_.file).run() in (0, 1)
    return False


def five(folder: Path, code: Callable[[str], str] = lambda name: "") -> Task:
    names = [f"seed-{number}" for number in range(5)]
    return Task([
        Job(name, folder / name, (sys.executable, "-c", f"{done(folder, name)}\n{code(name)}"), 100, rounds=10)
        for name in names
    ])  # fmt: skip


@pytest.mark.usefixtures("quickly")
def test_works_are_submitted_in_chunks_and_failures_are_told_with_their_last_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = "print('first'); print('loss is not finite'); raise SystemExit(2)"
    task = five(tmp_path, lambda name: failing if name == "seed-3" else "")
    engine = Made(ends)
    _spreading.spread(task, Workshop(tmp_path, {}, print), engine, threads=1, chunk=2)
    assert engine.chunks == [2, 2, 1]
    assert [job.why_failed() for job in task.jobs] == [None, None, None, "loss is not finite", None]
    told = capsys.readouterr().err
    assert "5 of 5 runs were handed to the engine" in told
    assert "seed-3 failed (to train it again, use --retry-failed): loss is not finite\n" in told
    assert "\nfirst\nloss is not finite\n" in told
    _spreading.spread(task, Workshop(tmp_path, {}, print), Made(pytest.fail), threads=1, chunk=2)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_goes_on_is_submitted_although_the_engine_still_knows_its_first_part(
    tmp_path: Path, watched: bool
) -> None:
    """An engine forgets what has ended only after a while."""

    def stays_known(work_: Work) -> bool:
        ends(work_)
        return True

    engine, workshop = Made(stays_known), Workshop(tmp_path, {}, print, quiet=True)
    if watched:
        _spreading.spread(five(tmp_path), workshop, engine, threads=1, chunk=9)
    else:  # the first command had left; the second one finds that everything is done
        works = make_works(five(tmp_path), workshop, 1)
        for made in works:
            made.write()
        _spreading._Launched(tmp_path / "launched.json", engine.title).add(works, engine.submit(works))
        _spreading.spread(five(tmp_path), workshop, engine, threads=1, chunk=9)
    _spreading.spread(five(tmp_path, lambda name: "'further'"), workshop, engine, threads=1, chunk=9)
    assert engine.chunks == [5, 5]


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(("printed", "told"), [
    ("", "nothing: is .* on a disk that its mach"), ("first\nsecond\n", r"last: first \| second "),
])  # fmt: skip
def test_a_work_that_disappears_is_submitted_again_and_named_at_last(tmp_path: Path, printed: str, told: str) -> None:
    tried: dict[str, int] = {}

    def unlucky(work_: Work) -> bool:
        tried[work_.title] = tried.get(work_.title, 0) + 1
        work_.jobs[0].output.parent.mkdir(parents=True, exist_ok=True)
        work_.jobs[0].output.write_text(printed)
        if work_.title == "seed-1" or (work_.title == "seed-2" and tried["seed-2"] == 1):
            return False
        return ends(work_)

    task = five(tmp_path)
    with pytest.raises(UserError, match=f"ended 1 runs 3 times .*seed-1.*{told}"):
        _spreading.spread(task, Workshop(tmp_path, {}, print, quiet=True), Made(unlucky), threads=1, chunk=9)
    assert tried == {"seed-0": 1, "seed-1": 3, "seed-2": 2, "seed-3": 1, "seed-4": 1}
    assert task.jobs[1].why_failed() is None


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("typed", "code", "told"), [("c", 130, "Cancelled 5 runs"), ("", LEFT, "5 runs go on at the engine")]
)
def test_ctrl_c_offers_to_leave_or_to_cancel_and_what_was_left_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, code: int,
    told: str,
) -> None:  # fmt: skip
    engine = Made(lambda work_: True)
    find = engine.find_alive

    def asked(handles: Collection[str]) -> set[str]:
        if engine.chunks:
            os.kill(os.getpid(), signal.SIGINT)
        return find(handles)

    monkeypatch.setattr(engine, "find_alive", asked)
    monkeypatch.setattr(_spreading, "_wants_to_cancel", lambda count, engine: typed == "c")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stopped:
            _spreading.spread(five(tmp_path), Workshop(tmp_path, {}, print), engine, threads=1, chunk=9)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.code == code
    assert told in capsys.readouterr().err
    assert len(engine.cancelled) == (5 if typed else 0)
    if not typed:  # the second command waits for what the first one submitted
        later = Made(pytest.fail)
        later.alive = set(engine.alive)
        for made in make_works(five(tmp_path), Workshop(tmp_path, {}, print), 1):
            ends(made)
        _spreading.spread(five(tmp_path), Workshop(tmp_path, {}, print), later, threads=1, chunk=9)


def test_without_a_terminal_nothing_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("c\n"))
    assert not _spreading._wants_to_cancel(3, "SLURM")
