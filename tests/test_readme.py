"""What the README says is so: commands parse, programs run, names, links and make targets exist."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frugan import cli, convs, recipes

ROOT = Path(__file__).resolve().parents[1]
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.name: path.read_text() for path in PATHS}
README = PAGES["README.md"]


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


COMMANDS = sorted(
    {
        line
        for page in PAGES.values()
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith("frugan ")
    }
)


def unplayed(of: Callable[..., None], seen: list[dict[str, Any]]) -> Callable[..., None]:
    """A verb that only takes note of how it was called."""

    @functools.wraps(of)
    def verb(*arguments: Any, **named: Any) -> None:
        seen.append({"arguments": arguments, **named})

    return verb


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_on_a_page_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    for verbs in (cli.VERBS, *(verbs for verbs, _ in cli.GROUPS.values())):
        for name, verb in list(verbs.items()):
            monkeypatch.setitem(verbs, name, unplayed(verb, seen))
    cli.main(shlex.split(line, comments=True)[1:])
    assert len(seen) == 1


def test_the_readme_has_commands() -> None:
    assert {line.split()[1] for line in COMMANDS if line in README} == {*cli.VERBS, *cli.GROUPS}


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_programs_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = 'images=32, batch_size=16, changes={"data.limit": 200, "discriminator.width": 0.1}'
    program = blocks(README, "python")[number].replace('images="60k"', small)
    exec(compile(program, "README.md", "exec"), {})


def test_every_recipe_and_family_is_listed_and_no_other() -> None:
    rows = README.partition("| recipe |")[2].partition("**Data**")[0]
    assert set(re.findall(r"`([\w-]+)`", rows)) == set(recipes.names())
    families = README.partition("**Convolution families**")[2].partition("see [")[0]
    assert set(re.findall(r"`(\w+)`", families)) == set(convs.names())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if (ROOT / page).is_file() else ROOT / "docs"
    missing = [target for target in links(PAGES[page]) if not (folder / target).exists()]
    assert not missing


def links(page: str) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page) if "://" not in target]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target for page in PAGES.values() for target in re.findall(r"(?:`|^ *)make ([a-z-]+)", page, flags=re.MULTILINE)
    }
    assert "test" in named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert links(README)  # which the test before this one looks for
