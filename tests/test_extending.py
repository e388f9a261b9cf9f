"""docs/extending.md is run: every file of one's own on it, by every way that the page says it can be used."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from frugan import (
    augment,
    cli,
    convs,
    games,
    kernels,
    losses,
    metrics,
    nets,
    optimisers,
    owncode,
    penalties,
    recipes,
    schedules,
    views,
)
from frugan.data import readers
from frugan.engine import observers
from frugan.registry import UserError
from frugan.reporting import report

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
# What makes a run of the page a matter of a second.
SMALL = {"data.limit": 200, "architecture.width": 0.1, "discriminator.width": 0.1, "batch_size": 16}
SMALL_KEYS = " ".join(f"{key}={value}" for key, value in SMALL.items())


@dataclass(frozen=True)
class Topic:
    """One section of the page: the user's file, the commands, the use from Python."""

    name: str
    code: str
    commands: list[str]
    python: str


def topics() -> dict[str, Topic]:
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        title = re.sub("^An? ", "", section.splitlines()[0])
        blocks = re.findall(r"```(\w+)\n(.*?)```", section, flags=re.DOTALL)
        python = [text for kind, text in blocks if kind == "python"]
        shell = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
        if python:
            assert len(python) == 2, f"'{title}': the file and its use from Python"
            found[title] = Topic(title, python[0], shell, python[1])
    return found


TOPICS = topics()
ADDED = {
    "convolution family": (convs, "squeezed"), "network": (nets, "brief"), "rule for first weights": (nets.rules, "he"),
    "game": (games, "patient"),
    "loss": (losses, "tempered"), "penalty": (penalties, "steady"), "augmentation": (augment, "noise"),
    "optimiser": (optimisers, "lion"), "schedule": (schedules, "warm_up"), "observer": (observers, "contrast"),
    "metric": (metrics, "brightness"), "view": (views, "edges"), "data reader": (readers, "stripes"),
    "recipe": (recipes, "thin-digits"), "kernel": (kernels, "shifted"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def quick(text: str) -> str:
    """A command or program of the page with a tiny budget."""
    text = text.replace('images="60k"', f'images=32, changes={SMALL}').replace("--count 10k", "--count 1000")
    text = re.sub(r'changes=({[^}]*}), (.*), changes=({[^}]*})', r"changes={**\1, **\3}, \2", text)
    return text.replace("--images 60k", f"--images 32 {SMALL_KEYS}").replace("count=10_000", "count=100")


def type_in(line: str) -> None:
    """What the page says to type after ``frugan``."""
    program, *rest = shlex.split(quick(line))
    assert program == "frugan"
    cli.main(rest)


def write(topic: str) -> Topic:
    Path("my.py").write_text(TOPICS[topic].code)
    return TOPICS[topic]


def use_from_python(topic: Topic) -> None:
    exec(compile(quick(topic.python), f"docs/extending.md, {topic.name}", "exec"), {})


def test_the_page_has_every_kind() -> None:
    assert set(TOPICS) == set(ADDED)
    for topic in TOPICS.values():
        assert len(topic.code.splitlines()) <= 60
        assert topic.commands


@pytest.mark.parametrize("topic", TOPICS)
def test_without_its_file_the_name_is_unknown_and_with_it_known(topic: str) -> None:
    axis, name = ADDED[topic]
    assert name not in axis.names()
    with pytest.raises(UserError, match=f"'{name}'"):
        axis.check(name, {}) if axis in (optimisers, observers) else axis.find(name)
    write(topic)
    owncode.load("my.py")
    assert name in axis.names()
    if axis not in (optimisers, observers):  # which are made of weights, and of a run
        assert axis.find(name) is not None


@pytest.mark.parametrize("topic", [name for name in TOPICS if name not in ("metric", "view", "convolution family")])
def test_the_commands_and_the_program_of_the_page_run(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = write(topic)
    for line in page.commands:
        type_in(line)
    use_from_python(page)
    assert "Traceback" not in capsys.readouterr().err


def test_a_family_of_ones_own_is_counted_trained_swapped_and_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    page = write("convolution family")
    cost, train, compare = page.commands
    type_in(cost)
    printed = capsys.readouterr().out
    assert "squeezed declined" not in printed  # only layers with few channels are
    assert "squeezed" in printed
    type_in("frugan recipes --code my.py")
    assert "|squeezed|" in capsys.readouterr().out
    type_in(train)
    use_from_python(page)
    assert "2 of 2 rewritten" not in (printed := capsys.readouterr().out)  # the first has 3 channels, too few
    assert "1 of 2 rewritten" in printed
    assert compare.startswith("frugan compare ")


def test_without_code_a_shipped_network_of_ones_own_names_what_is_missing() -> None:
    import frugan

    page = write("convolution family")
    type_in(page.commands[1])
    frugan.load("runs/squeezed").save("artefact")
    owncode.forget()
    with pytest.raises(UserError, match=r"no convolution family called 'squeezed'.*--code FILE"):
        frugan.load("artefact")
    assert frugan.load("artefact", code="my.py").sample(2).shape == (2, 28, 28, 1)

    # A run remembers its file; where that has moved, the one given counts.
    owncode.forget()
    Path("elsewhere").mkdir()
    Path("my.py").rename("elsewhere/my.py")
    with pytest.raises(UserError, match=r"is not there\. Say where it is now: --code FILE"):
        frugan.load("runs/squeezed")
    assert frugan.load("runs/squeezed", code="elsewhere/my.py").sample(2).shape == (2, 28, 28, 1)


def test_a_comparison_hands_the_file_to_every_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write("convolution family")
    tiny = "--seeds 0 --count 1000 --view pixels --metrics fid"
    tiny += " discriminator.width=0.1"
    command = page.commands[2].replace("--seeds 0,1", tiny).replace("data.limit=200", "data.limit=1000")
    type_in(command)
    assert "squeezed" in Path("runs/squeezed-twins/comparison.json").read_text()

    (code,) = json.loads(Path("runs/squeezed-twins/plan.json").read_text())["code"]
    assert code == owncode.load("my.py")[0].as_dict()
    runs = list(Path("runs/squeezed-twins/runs").glob("*/*/run.json"))
    assert [json.loads(run.read_text())["code"] for run in runs] == [[code], [code]]
    assert f"my.py ({code['hash'][:12]})" in Path("runs/squeezed-twins/report.html").read_text()

    # The plan knows the file, and refuses another one.
    owncode.forget()
    with pytest.raises(SystemExit):
        type_in(command.replace("--code my.py ", "").replace("--seeds 0", "--seeds 1"))
    assert "another plan (seeds: [0] -> [1])" in capsys.readouterr().err
    Path("my.py").write_text(page.code + "# changed\n")
    with pytest.raises(SystemExit):
        type_in(command)
    said = capsys.readouterr().err
    assert "was begun with other code" in said
    assert code["hash"][:12] in said
    type_in(f"{command} --allow-changed-code")
    plan = json.loads(Path("runs/squeezed-twins/plan.json").read_text())
    assert plan["code"] != [code]
    assert code["hash"][:12] in plan["code_changes"][0]["changes"][0]
    assert "own code has changed" in Path("runs/squeezed-twins/report.html").read_text()
    line = Path("runs/squeezed-twins/runs/squeezed/seed-0/metrics.jsonl").read_text().splitlines()[-1]
    now = {"convolution family squeezed": plan["code"][0]["hash"][:16]}
    assert json.loads(line)["protocol"]["generator_code"] == now

    # Who has never run the file is asked, also for the report.
    monkeypatch.setenv("FRUGAN_CONFIG", "config")
    owncode.forget()
    with pytest.raises(UserError, match="--trust-code"):
        report("runs/squeezed-twins")
    report("runs/squeezed-twins", trust_code=True)


def test_a_metric_of_ones_own_is_evaluated_with_its_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    type_in("frugan train mnist --data glyphs --images 60k --out runs/first")
    page = write("metric")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "runs/first", "--metrics", "brightness", "--view", "pixels"])
    assert "no metric called 'brightness'" in capsys.readouterr().err
    type_in(page.commands[1].replace("brightness,fid --count 10k", "brightness --view pixels --count 200"))
    assert "\nbrightness " in capsys.readouterr().out
    use_from_python(Topic("metric", "", [], page.python.replace("code=", 'view="pixels", code=')))
    assert "glyphs" in capsys.readouterr().out


def test_a_view_of_ones_own_stands_in_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    type_in("frugan train mnist --data glyphs --images 60k --out runs/first")
    page = write("view")
    type_in(page.commands[0].replace("--count 10k", "--count 200 --allow-few kid"))
    assert "\nkid " in capsys.readouterr().out
    use_from_python(Topic("view", "", [], page.python.replace("code=", 'allow_few=["kid"], code=')))
    assert "edges" in capsys.readouterr().out
    assert "edges-6" in Path("runs/first/metrics.jsonl").read_text()


def test_an_installed_package_is_known_without_code(tmp_path: Path) -> None:
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "my.py").write_text(TOPICS["convolution family"].code)
    about = tmp_path / "site" / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    toml = re.search(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert toml is not None
    header, line = toml[1].splitlines()
    assert header == "[project.entry-points.frugan]"
    broken = 'broken = "no_such_module"'
    (about / "entry_points.txt").write_text(f"[frugan]\n{line}\n{broken}\n".replace('"', ""))
    done = subprocess.run(
        [sys.executable, "-m", "frugan", "cost", "mnist", "--family", "squeezed"], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "squeezed" in done.stdout
    assert "the plugin 'broken' could not be loaded" in done.stderr
