"""The pages of the tour name what there is: every name and file on them exists, and the folders that they list."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "frugan"
PAGE = (ROOT / "docs" / "tour.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("tour*.md"))}
BLOCKS = {name: re.findall(r"^```\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL) for name, page in PAGES.items()}
PLAIN = re.sub(r"^```.*?^```", "", "\n".join(PAGES.values()), flags=re.MULTILINE | re.DOTALL)
WORDS = re.findall(r"`([^`]+)`", PLAIN)
FILES = sorted({word.partition(":")[0] for word in WORDS if re.match(r"[\w/]+\.py\b", word)})
# A dotted name, an argument list behind it or a file before it left out; names of files are no such names.
NAMES = [re.match(r"(?:[\w/]+\.py: )?([A-Za-z_]\w*(?:\.\w+)+)(?:\(|$)", word) for word in WORDS]
ENDS = (".py", ".json", ".jsonl", ".safetensors")
DOTTED = sorted({name[1] for name in NAMES if name and not name[1].endswith(ENDS)})


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_the_tour_exists(file: str) -> None:
    assert (SOURCE / file).is_file() or (ROOT / file).is_file()


def modules(name: str) -> Iterator[ModuleType]:
    """Every module of frugan that is called so."""
    for path in [*SOURCE.rglob(f"{name}.py"), *(path.parent for path in SOURCE.rglob(f"{name}/__init__.py"))]:
        yield importlib.import_module(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts))


def classes(name: str) -> Iterator[type]:
    """Every class of frugan that is called so, or whose objects are: `batches` are Batches."""
    named = name if name[0].isupper() else name.capitalize()
    for path in SOURCE.rglob("*.py"):
        if re.search(rf"^class {named}\b", path.read_text(), flags=re.MULTILINE):
            module = importlib.import_module(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts))
            yield getattr(module, named)


def part(of: object, name: str) -> object:
    """What `of` has by that name, be it what its objects are given when they are made; None if it has nothing."""
    if hasattr(of, "__path__") and importlib.util.find_spec(f"{of.__name__}.{name}"):  # type: ignore[attr-defined]
        return importlib.import_module(f"{of.__name__}.{name}")  # type: ignore[attr-defined]
    given = rf"\bself\.{name}\b.* = |^    {name}: "
    if inspect.isclass(of) and re.search(given, inspect.getsource(of), flags=re.MULTILINE):
        return getattr(of, name, name)
    return getattr(of, name, None)


def exists(name: str) -> bool:
    first, *rest = name.split(".")
    return any(functools.reduce(part, rest, start) is not None for start in [*modules(first), *classes(first)])


@pytest.mark.parametrize("name", DOTTED)
def test_a_name_of_the_tour_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize("name", ["cli.mian", "batches.takes", "Update._moved", "engine.average.Mean", "nothing.at"])
def test_a_name_that_is_no_longer_there_would_be_noticed(name: str) -> None:
    assert not exists(name)


def test_the_tour_lists_every_module_with_its_level() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.*?) \|", PAGE, flags=re.MULTILINE))
    listed = {module for modules in rows.values() for module in re.findall(r"`(\w+)`", modules)}
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert listed == there - {"__init__", "__main__"}


@pytest.mark.parametrize("page", ["tour-evaluating.md", "tour-comparing.md"])
def test_a_listing_of_the_tour_is_the_folder_in_its_own_order(page: str) -> None:
    """So that a stranger who lists the folder reads the work in its order."""
    (block,) = BLOCKS[page]
    home, *lines = block.splitlines()
    listed = [line.split()[0] for line in lines]
    expected = []
    for path in sorted((ROOT / home).iterdir()):
        if path.is_dir() and (path / "__init__.py").is_file():
            expected += [f"{path.name}/", *(one.name for one in sorted(path.glob("[!_]*.py")))]
        elif path.suffix == ".py":
            expected.append(path.name)
    assert sorted(listed) == sorted(expected)
    tops = [line.split()[0] for line in lines if not line.startswith("   ")]
    assert tops == sorted(tops)
