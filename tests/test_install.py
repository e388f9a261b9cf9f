"""What installing frugan brings, and what it must not."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import torch

from frugan import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named_in(requirements: list[str]) -> set[str]:
    """The projects that requirements name, without those that belong to an extra."""
    plain = [line for line in requirements if "extra" not in line.partition(";")[2]]
    return {canonical(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in plain}


def brought_by(requirements: list[str]) -> set[str]:
    """Every installed project that requirements lead to, except what torch brings for itself."""
    found: set[str] = set()
    waiting = named_in(requirements)
    while waiting:
        name = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        if name != "torch":
            waiting |= named_in(distribution.requires or []) - found
    return found


def unwanted(names: set[str]) -> list[str]:
    return sorted(name for name in names if name == "torchvision" or name.startswith("nvidia-"))


def test_we_bring_neither_torchvision_nor_nvidia_packages() -> None:
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    brought = brought_by(PROJECT["dependencies"] + extras)
    assert {"torch", "numpy", "pytest"} <= brought
    assert unwanted(brought) == []


def test_this_environment_has_no_torchvision_and_no_nvidia_package_without_a_gpu_build() -> None:
    installed = {canonical(one.metadata["Name"]) for one in importlib.metadata.distributions()}
    bad = unwanted(installed)
    if torch.version.cuda is not None:  # then torch itself brought its nvidia packages
        bad = [name for name in bad if name == "torchvision"]
    assert bad == []


def test_the_core_leaves_out_what_belongs_to_extras() -> None:
    heavy = {"pyarrow", "pandas", "datasets", "scipy", "scikit-learn", "torchmetrics"}
    assert brought_by(PROJECT["dependencies"]) & heavy == set()


def test_the_constraints_pin_every_requirement() -> None:
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    wanted = named_in(PROJECT["dependencies"] + extras)
    assert wanted - {canonical(name) for name in PINS} == set()
    assert PINS["torch"] == "2.13.0"


def test_the_version_is_stated_once() -> None:
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_on_windows_the_first_import_says_where_it_runs():
    program = "import sys; sys.platform = 'win32'; import frugan"
    came = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert came.returncode == 1
    assert came.stderr.strip().splitlines()[-1].startswith("ImportError: frugan runs on Linux and macOS")
