"""A user's own code in runs: written down by its hash, refused when it has changed, allowed before it is run."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frugan
from frugan import benching, costing, evaluation, nets, owncode, translating
from frugan.artefact import load
from frugan.comparison.planning.arms import Arm
from frugan.comparison.planning.plan_file import check_runs
from frugan.comparison.running.job import Job
from frugan.comparison.running.jobs import run_jobs
from frugan.engine.run import RunFolder
from frugan.owncode import CodeFile
from frugan.recipe import from_run
from frugan.registry import UserError
from frugan.reporting import report
from frugan.training import train

NET = """
import helper
from frugan import games, nets
from frugan.nets import Architecture

mlp = nets.find("mlp")
nets.add(helper.NAME, Architecture(helper.NAME, decoder=mlp.decoder, encoder=mlp.encoder))
games.add(helper.NAME, games.find("adversarial"))
"""
METRIC = """
from frugan import metrics
from frugan.metrics import Metric


def compute(*, pixels):
    return {"own": %s * float(pixels.float().mean())}


metrics.add("own", Metric("own", compute, ("pixels",), better="lower", headline="own", least=2))
"""
CHANGES = {
    "game": "own", "generator.architecture": "own", "discriminator.architecture": "own", "generator.hidden": [8],
    "discriminator.hidden": [8], "latents.size": 4, "data.size": 8, "batch_size": 4, "precision": "float32",
}  # fmt: skip
JUDGED: dict[str, Any] = {"metrics": ["own"], "view": "pixels", "count": 20, "device": "cpu"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data, code and a finished run of it: ``net.py``, which imports ``helper.py``, and ``more.py``."""
    folder = tmp_path_factory.mktemp("own")
    pictures = np.random.default_rng(0).integers(0, 255, (64, 8, 8), dtype=np.uint8)
    np.savez(folder / "noise.npz", images=pictures)
    (folder / "net.py").write_text(NET)
    (folder / "helper.py").write_text('NAME = "own"\n')
    (folder / "more.py").write_text("MORE = 1\n")
    (folder / "metric.py").write_text(METRIC % 1)
    trained(folder, images=8)
    owncode.forget()
    return folder


def trained(folder: Path, **given: Any) -> RunFolder:
    """The run, begun or continued."""
    given = {"code": [folder / "net.py", folder / "more.py"], **given}
    data = str(folder / "noise.npz")
    return train("vanilla", data=data, changes=CHANGES, out=folder / "run", device="cpu", quiet=True, **given)


@pytest.fixture
def here(kept: Path, tmp_path: Path) -> Path:
    """A copy of that folder; the run in it names the files in it."""
    folder = tmp_path / "here"
    shutil.copytree(kept, folder)
    for file in (folder / "run" / "run.json", folder / "run" / "recipe.json"):
        file.write_text(file.read_text().replace(str(kept), str(folder)))
    return folder


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This user has never run anything."""
    monkeypatch.setenv("FRUGAN_CONFIG", str(tmp_path / "config"))


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "run.json").read_text())


def append(path: Path, text: str = "# changed\n") -> None:
    path.write_text(path.read_text() + text)


# ------------------------------------------------------------------------------------------------------------- training


def test_a_run_keeps_every_code_file_with_its_hash_and_finds_them_again(here: Path) -> None:
    net, more = facts(here)["code"]
    assert (net["path"], more["path"]) == (str(here / "net.py"), str(here / "more.py"))
    assert list(net["beside"]) == ["helper.py"]
    assert net["hash"] == owncode.load(here / "net.py")[0].hash
    owncode.forget()
    assert "own" not in nets.names()
    assert load(here / "run").sample(2).shape == (2, 8, 8, 1)
    assert "own" in nets.names()


def test_a_run_is_continued_with_its_own_code_unasked(here: Path) -> None:
    before = facts(here)
    trained(here, images=16, code=None)
    assert facts(here)["code"] == before["code"]
    assert "code_changes" not in facts(here)


@pytest.mark.parametrize("changed", ["net.py", "helper.py"])
def test_a_run_is_not_continued_with_other_code_unless_that_is_allowed_and_written_down(
    changed: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = facts(here)
    append(here / changed)
    beside = r" \(beside it helper\.py\)" if changed == "helper.py" else ""
    with pytest.raises(UserError, match=rf"begun with other code: \S*net\.py has .*{beside}\. .*allow-changed-code"):
        trained(here, images=16)
    assert facts(here) == before
    trained(here, images=16, allow_changed_code=True)
    now = facts(here)
    assert now["code_changes"] == [{"images": 8, "changes": now["code_changes"][0]["changes"]}]
    assert before["code"][0]["hash"][:12] in now["code_changes"][0]["changes"][0]
    assert now["code"][0]["hash"] != before["code"][0]["hash"]
    assert now["code"][1] == before["code"][1]
    assert "continues with changed code" in capsys.readouterr().err
    trained(here, images=24)  # it is the run's code from now on
    assert facts(here)["code_changes"] == now["code_changes"]
    # Another file more is a change too, a file that moved is none.
    (here / "third.py").write_text("")
    with pytest.raises(UserError, match=r"third\.py is new"):
        trained(here, images=32, code=[here / "net.py", here / "more.py", here / "third.py"])
    (here / "moved").mkdir()
    (here / "more.py").rename(here / "moved" / "more.py")
    trained(here, images=32, code=[here / "net.py", here / "moved" / "more.py"])
    assert facts(here)["code"][1]["path"] == str(here / "moved" / "more.py")


def test_a_run_without_a_checkpoint_begins_anew_with_the_code_as_it_is(here: Path) -> None:
    shutil.rmtree(here / "run" / "checkpoints")
    append(here / "net.py")
    trained(here, images=8)
    assert facts(here)["code"][0]["hash"] == owncode.load(here / "net.py")[0].hash


def test_weights_of_a_run_with_code_of_its_own_bring_that_code(here: Path, strange: None) -> None:
    asked: dict[str, Any] = {"code": None, "init": here / "run", "out": here / "next", "images": 8}
    data = {"data": str(here / "noise.npz"), "changes": CHANGES, "device": "cpu", "quiet": True}
    with pytest.raises(UserError, match="--trust-code"):
        train("vanilla", **asked, **data)
    train("vanilla", **asked, **data, trust_code=True)
    assert [Path(one["path"]).name for one in json.loads((here / "next/run.json").read_text())["code"]] == [
        "net.py", "more.py",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- evaluating


def test_an_evaluation_runs_the_code_of_the_run_and_what_is_named_beside_it(here: Path) -> None:
    (value,) = evaluation.evaluate(here / "run", code=here / "metric.py", **JUDGED)
    protocol = value["protocol"]
    assert protocol["metric_code"] == owncode.load(here / "metric.py")[0].hash[:16]
    net = facts(here)["code"][0]["hash"][:16]
    assert protocol["generator_code"] == {"architecture own": net, "game own": net}


def test_a_changed_formula_is_measured_anew_and_shares_no_table(here: Path) -> None:
    (before,) = evaluation.evaluate(here / "run", code=here / "metric.py", **JUDGED)
    assert evaluation.evaluate(here / "run", code=here / "metric.py", **JUDGED) == [before]
    (here / "metric.py").write_text(METRIC % 2)  # in the same second, and as long
    (after,) = evaluation.evaluate(here / "run", code=here / "metric.py", **JUDGED)
    assert after["values"]["own"] == 2 * before["values"]["own"]
    assert after["floor"]["value"] == pytest.approx(2 * before["floor"]["value"])
    lines = evaluation.unequal([before["protocol"], after["protocol"]])
    assert len(lines) == 1
    assert lines[0].startswith("metric_code: ")


def test_a_changed_network_is_measured_anew_and_shares_no_table_with_itself(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = [here / "net.py", here / "metric.py"]
    (before,) = evaluation.evaluate(here / "run", code=code, **JUDGED)
    append(here / "net.py")
    owncode.forget()
    with pytest.raises(UserError, match=r"was made with other code: .*net\.py has .* --code"):
        evaluation.evaluate(here / "run", code=here / "metric.py", **JUDGED)
    (after,) = evaluation.evaluate(here / "run", code=code, **JUDGED)
    assert "was made with other code" in capsys.readouterr().err
    assert after["values"] == before["values"]
    kept = RunFolder(here / "run").lines(here / "run" / "metrics.jsonl")
    assert kept[-2:] == [before, after]
    lines = evaluation.unequal([before["protocol"], after["protocol"]])
    assert [line.partition(":")[0] for line in lines] == ["code of the architecture own", "code of the game own"]
    # Next to what has no code of its own, each has its row.
    plain = {key: value for key, value in before["protocol"].items() if key != "generator_code"}
    assert evaluation.unequal([plain, after["protocol"]]) == []


VIEW = """
from frugan import views
from frugan.views import Builder, Seen, View


def build(*, dataset, cache, device, announce):
    def look(images):
        return Seen(%s * images.flatten(1).float())

    return View("seen", "seen-1", images := 64, (8, 8), look, 0, {})


views.add("seen", Builder("seen", build, needs=("images",)))
"""


def test_features_of_a_view_whose_code_changed_are_not_taken_from_the_cache(here: Path) -> None:
    asked: dict[str, Any] = {"metrics": ["fid"], "view": "seen", "count": 60, "allow_few": ["fid"], "device": "cpu"}
    values = []
    for factor in (1, 3):  # the version that the view says stays the same
        (here / "view.py").write_text(VIEW % factor)
        values += evaluation.evaluate(here / "run", code=here / "view.py", **asked)
    one, other = (value for value in values if value["metric"] == "fid")
    assert other["values"]["fid"] == pytest.approx(9 * one["values"]["fid"], rel=1e-3)
    assert one["protocol"]["view_version"].startswith("seen-1-code-")
    assert evaluation.unequal([one["protocol"], other["protocol"]])


# ---------------------------------------------------------------------------------------------------------------- verbs


def benched(run: Path, **given: Any) -> None:
    """Opens the run, and measures nothing."""
    try:
        benching.bench(run, precisions=["none"], **given)
    except UserError as error:
        if "the precision 'none'" not in str(error):
            raise


def no_translator(run: Path, **given: Any) -> None:
    """Opens the run, and finds that it has no translator."""
    try:
        translating.translate(run, [run], out=run / "translated", **given)
    except UserError as error:
        if "ships no translator" not in str(error):
            raise


OPENING: dict[str, Callable[..., Any]] = {
    "load": lambda run, **given: load(run, **given).sample(1),
    "evaluate": lambda run, **given: evaluation.evaluate(run, metrics=["kid"], allow_few=["kid"], view="pixels",
                                                         count=40, device="cpu", **given),
    "translate": no_translator,
    "cost": lambda run, **given: costing.cost_of(run, **given),
    "bench": benched,
    "report": lambda run, **given: report(run, **given),
}  # fmt: skip


@pytest.mark.parametrize("verb", OPENING)
def test_every_verb_that_opens_a_run_asks_before_it_runs_the_code_of_others(
    verb: str, here: Path, strange: None
) -> None:
    with pytest.raises(UserError, match=r"code that you have never run on this machine: .*net\.py and, beside it, hel"):
        OPENING[verb](here / "run")
    assert "own" not in nets.names()
    OPENING[verb](here / "run", trust_code=True)
    assert "own" in nets.names()
    owncode.forget()
    OPENING[verb](here / "run")


def test_every_strange_file_is_named_before_one_word_allows_them_all(tmp_path: Path) -> None:
    listed = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.py"
        path.write_text(f"NUMBER = '{name}'\n")
        listed.append({"path": str(path), "hash": hashlib.sha256(path.read_bytes()).hexdigest(), "beside": {}})
    (tmp_path / "run.json").write_text(json.dumps({"code": listed}))
    with pytest.raises(UserError, match=r"one\.py, SHA-256 [0-9a-f]{64}; .*two\.py, SHA-256"):
        owncode.load_of(tmp_path)
    assert len(owncode.load_of(tmp_path, trust_code=True)) == 2
    owncode.forget()
    assert len(owncode.load_of(tmp_path)) == 2


def test_the_command_line_names_several_files_and_allows_those_of_others(
    typed: Callable[[str], int], here: Path, strange: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = here / "run", here / "grid.png"
    assert typed(f"sample {run} --out {out}") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(here / "net.py") in said
    assert "--trust-code" in said
    judged = f"evaluate {run} --metrics own --view pixels --count 20 --device cpu --code {here}/metric.py"
    assert typed(judged) == 2
    assert typed(f"{judged} --trust-code --json") == 0
    assert json.loads(capsys.readouterr().out)[0]["metric"] == "own"
    owncode.forget()
    assert typed(f"sample --code {here}/net.py {run} --code={here}/more.py --out {out}") == 0
    small = "generator.hidden=[8] discriminator.hidden=[8] batch_size=4 data.size=8 data.channels=1"
    kinds = "generator.architecture=own discriminator.architecture=own"
    again = f"train vanilla --code {here}/net.py {small} --code {here}/metric.py {kinds} --data {here}/noise.npz"
    owncode.forget()
    assert typed(f"{again} --images 8 --device cpu --out {here}/again") == 0
    assert [Path(one["path"]).name for one in json.loads((here / "again/run.json").read_text())["code"]] == [
        "net.py", "metric.py",
    ]  # fmt: skip
    append(here / "metric.py")
    assert typed(f"{again} --images 16 --device cpu --out {here}/again") == 2
    assert "--allow-changed-code" in capsys.readouterr().err
    assert typed(f"{again} --images 16 --device cpu --out {here}/again --allow-changed-code") == 0
    assert typed(f"recipes vanilla --code {here}/net.py --code {here}/more.py") == 0
    assert typed(f"cost vanilla {kinds} --code {here}/more.py --code {here}/net.py") == 0


def test_a_moved_run_whose_code_is_not_there_says_what_to_give(here: Path) -> None:
    (here / "elsewhere").mkdir()
    for name in ("net.py", "helper.py", "more.py"):
        (here / name).rename(here / "elsewhere" / name)
    with pytest.raises(UserError, match=r"run needs the code file \S*here/net\.py, but it is not there.*--code FILE"):
        load(here / "run")
    assert load(here / "run", code=here / "elsewhere" / "net.py").sample(1).shape == (1, 8, 8, 1)


def test_a_run_of_before_this_was_kept_asks_for_its_one_file(here: Path, strange: None) -> None:
    kept = facts(here)
    (here / "run" / "run.json").write_text(json.dumps({**kept, "code": str(here / "net.py")}))
    with pytest.raises(UserError, match="--trust-code"):
        load(here / "run")
    assert load(here / "run", trust_code=True).sample(1).shape == (1, 8, 8, 1)


def test_an_artefact_runs_nothing_and_says_which_code_it_was_made_with(
    here: Path, strange: None, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = load(here / "run", trust_code=True).save(here / "artefact")
    made = json.loads((saved / "config.json").read_text())["own_code"]
    assert made == dict.fromkeys(["architecture own", "game own"], facts(here)["code"][0]["hash"][:16])
    (saved / "run.json").write_text((here / "run" / "run.json").read_text())  # which an artefact has not
    owncode.forget()
    with pytest.raises(UserError, match=r"no architecture called 'own'.*--code FILE"):
        load(saved)
    load(saved, code=here / "net.py")
    assert capsys.readouterr().err == ""
    append(here / "net.py")
    load(saved, code=here / "net.py")
    assert "artefact was made with other code: {'architecture own': " in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- in one process


def test_in_a_notebook_a_changed_file_is_what_trains_next(here: Path) -> None:
    asked = {"data": str(here / "noise.npz"), "changes": CHANGES, "images": 8, "device": "cpu", "quiet": True}
    first = frugan.train("vanilla", code=here / "net.py", out=here / "first", **asked)
    (here / "helper.py").write_text('NAME = "other"\n')
    with pytest.raises(UserError, match="There is no game called 'own'"):
        frugan.train("vanilla", code=here / "net.py", out=here / "second", **asked)
    (here / "helper.py").write_text('NAME = "own"\nLATER = True\n')
    third = frugan.train("vanilla", code=here / "net.py", out=here / "third", **asked)
    hashes = [json.loads(run.facts.read_text())["code"][0]["hash"] for run in (first, third)]
    assert hashes[0] != hashes[1]
    # The first was made with other code than is there and known now.
    with pytest.raises(UserError, match="was made with other code"):
        frugan.load(first.path)
    assert frugan.load(third.path).sample(1).shape == (1, 8, 8, 1)


def test_what_was_run_with_the_hash_of_a_run_serves_it_though_the_file_has_changed(here: Path) -> None:
    (code, _) = owncode.load_of(here / "run")
    assert isinstance(code, CodeFile)
    append(here / "net.py")
    assert load(here / "run").sample(1).shape == (1, 8, 8, 1)


def test_no_run_of_a_comparison_is_begun_once_a_file_has_changed(here: Path) -> None:
    own = owncode.load(here / "more.py")
    scripts = [f"open({str(here / 'more.py')!r}, 'a').write('MORE = 2')", "pass"]
    planned = [
        Job(f"job {number}", here / "runs" / f"seed-{number}", (sys.executable, "-c", script), 1)
        for number, script in enumerate(scripts)
    ]
    for job in planned:
        job.folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"changed while runs were trained: \S*more\.py has .*Run the same"):
        run_jobs(planned, 1, 1, True, own)
    assert [job.output.exists() for job in planned] == [True, False]


def test_runs_laid_into_a_comparison_have_its_code(here: Path) -> None:
    arm = Arm("own", from_run(RunFolder(here / "run")))
    place = here / "comparison" / "runs" / "own" / "seed-0"
    place.parent.mkdir(parents=True)
    (here / "run").rename(place)
    plan = {"code": json.loads((place / "run.json").read_text())["code"]}
    check_runs(here / "comparison", [arm], [0], plan)
    (here / "helper.py").write_text('NAME = "own"\nLATER = True\n')
    code = owncode.load([here / "net.py", here / "more.py", here / "metric.py"])  # one more is no matter
    other = {"code": [one.as_dict() for one in code]}
    with pytest.raises(UserError, match=r"seed-0 was trained with other code than this comparison uses \(\S*net"):
        check_runs(here / "comparison", [arm], [0], other)
    check_runs(here / "comparison", [arm], [0], {**other, "code_changes": [{"changes": ["..."]}]})
