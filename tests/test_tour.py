"""docs/tour.md names what there is: every name and file on it exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "frugan"
PAGE = (ROOT / "docs" / "tour.md").read_text()
TEXT = "\n".join(path.read_text() for path in sorted(SOURCE.rglob("*.py")))
MODULES = {path.stem for path in SOURCE.rglob("*.py")} | {path.name for path in SOURCE.rglob("*") if path.is_dir()}
WORDS = re.findall(r"`([^`]+)`", PAGE)
FILES = sorted({word.partition(":")[0] for word in WORDS if re.match(r"[\w/]+\.py\b", word)})
# A dotted name, an argument list behind it or a file before it left out; names of files are no such names.
NAMES = [re.match(r"(?:[\w/]+\.py: )?([A-Za-z_]\w*(?:\.\w+)+)(?:\(|$)", word) for word in WORDS]
ENDS = (".py", ".json", ".jsonl", ".safetensors")
DOTTED = sorted({name[1] for name in NAMES if name and not name[1].endswith(ENDS)})


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_the_tour_exists(file: str) -> None:
    assert (SOURCE / file).is_file() or (ROOT / file).is_file()


@pytest.mark.parametrize("name", DOTTED)
def test_a_name_of_the_tour_exists(name: str) -> None:
    for part in name.split("."):
        defined = re.search(rf"(?:def|class) {part}\b|\b{part}\s*[:=]", TEXT)
        assert part in MODULES or defined, f"{part} of {name}"


def test_the_tour_lists_every_module_with_its_level() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.*?) \|", PAGE, flags=re.MULTILINE))
    listed = {module for modules in rows.values() for module in re.findall(r"`(\w+)`", modules)}
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert listed == there - {"__init__", "__main__"}
