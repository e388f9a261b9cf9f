"""What all tests share: the real data sets where they are, a cache of their own, one thread."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Set before torch is imported, and inherited by the programs that tests start: with one thread a test gives the same
# numbers beside others as alone, and workers do not take cores from one another.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """One cache folder a session, shared by its workers (a packed data set or a classifier is made once)."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["FRUGAN_CACHE"] = tempfile.mkdtemp(prefix="frugan-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["FRUGAN_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets (``mnist``, ``cifar10``, ...), which is beside the repository or nowhere."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets in ../shared/data")
    return folder
