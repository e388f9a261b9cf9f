"""Importing frugan: silent, quick where torch is not needed, and no module takes a public function's place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


EVERY_MODULE_THEN_EVERY_NAME = """
import importlib, pkgutil
import frugan

for module in pkgutil.walk_packages(frugan.__path__, "frugan."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from torch import nn
from frugan.registry import UserError

for name in frugan.__all__:
    assert callable(getattr(frugan, name)), f"frugan.{name} is {getattr(frugan, name)!r}"

assert frugan.cost(nn.Linear(2, 3), (1, 2)).parameters == 9
assert frugan.Recipe.__name__ == "Recipe"
calls = {
    "train": lambda: frugan.train("no-such-recipe"),
    "evaluate": lambda: frugan.evaluate("no-such-run"),
    "compare": lambda: frugan.compare(["no-such-recipe", "nor-this"], out="nowhere"),
    "check": lambda: frugan.check("no-such-file.py"),
    "classify": lambda: frugan.classify("no-such-run", "no-such-images"),
    "export": lambda: frugan.export("no-such-run", out="nowhere"),
    "fit": lambda: frugan.fit("no-such-recipe", max_latency="5ms"),
    "load": lambda: frugan.load("no-such-artefact"),
    "probe": lambda: frugan.probe("no-such-run"),
    "swap": lambda: frugan.swap(nn.Sequential(nn.Conv2d(3, 4, 3)), "no-such-family"),
}
assert {*calls, "cost", "Recipe"} == set(frugan.__all__)
for name, call in calls.items():
    try:
        call()
    except UserError as error:
        assert "\\n" not in str(error).strip() or name == "compare", f"{name}: {error}"
    else:
        raise AssertionError(f"frugan.{name} took a name that does not exist")
"""


def test_every_module_imports_without_a_warning_and_every_public_name_can_still_be_called(tmp_path: Path) -> None:
    done = python(f"import os; os.chdir({str(tmp_path)!r})\n{EVERY_MODULE_THEN_EVERY_NAME}", "-W", "error")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", ["--help", "train --help", "train mnist --help", "compare --help"])
def test_the_command_line_answers_without_torch(arguments: str) -> None:
    code = f"""
import sys
from frugan.cli import main
sys.argv = ["frugan", *{arguments.split()!r}]
try:
    code = main()
except SystemExit as end:
    code = end.code
assert not code, code
assert "torch" not in sys.modules, "torch was imported"
"""
    done = python(code, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_the_package_itself_imports_neither_torch_nor_numpy() -> None:
    done = python("import sys, frugan; print('torch' in sys.modules or 'numpy' in sys.modules, 'train' in dir(frugan))")
    assert done.stdout == "False True\n", done.stderr


def test_a_name_that_frugan_does_not_have_is_an_attribute_error() -> None:
    import frugan

    with pytest.raises(AttributeError, match="module 'frugan' has no attribute 'trian'"):
        _ = frugan.trian
