"""What all tests share: the real data sets where they are, a cache of their own, one thread."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Set before torch is imported, and inherited by the programs that tests start: with one thread a test gives the same
# numbers beside others as alone, and workers do not take cores from one another.
os.environ["OMP_NUM_THREADS"] = "1"


FOLDERS = ("FRUGAN_CACHE", "FRUGAN_CONFIG")


def pytest_configure(config: pytest.Config) -> None:
    """One cache and one folder of decisions a session, shared by its workers; never those of the user."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for name in FOLDERS:
            os.environ[name] = tempfile.mkdtemp(prefix="frugan-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for name in FOLDERS:
            shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_code_of_other_tests() -> Iterator[None]:
    """Whatever a test's own files have added is forgotten after it, as if each test had a process of its own."""
    yield
    owncode = sys.modules.get("frugan.owncode")
    if owncode is not None:
        owncode.forget()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets (``mnist``, ``cifar10``, ...), which is beside the repository or nowhere."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def in_this_process() -> Callable[..., None]:
    """Stands for `jobs.run_jobs` of a comparison where processes are not what is tested: they need seconds to start."""
    from frugan.training import train

    def run_jobs(planned: Any, *rest: Any) -> None:
        for job in planned:
            given = dict(zip(job.command[5::2], job.command[6::2], strict=True))
            if job.why_failed() is None and not job.finished():
                rounds = given.get("--rounds")
                train(
                    job.command[4], seed=int(given["--seed"]), out=given["--out"], images=given.get("--images"),
                    rounds=None if rounds is None else int(rounds), evaluate_every=given.get("--evaluate-every"),
                    holdout=given.get("--holdout"), device="cpu", quiet=True,
                )

    return run_jobs


@pytest.fixture(scope="session")
def typed() -> Callable[[str], int]:
    """The exit code of what is typed after ``frugan``."""
    from frugan import cli

    def typing(line: str) -> int:
        try:
            cli.main(shlex.split(line))
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return typing


class ReachedError(Exception):
    """Raised where a test needs no more of what it called."""


@pytest.fixture(scope="session")
def reached() -> type[ReachedError]:
    return ReachedError


@pytest.fixture(scope="session")
def stop(reached: type[ReachedError]) -> Callable[..., NoReturn]:
    """Stands for a function that is not to be run: whoever calls it gets `reached`."""

    def raising(*given: Any, **named: Any) -> NoReturn:
        raise reached

    return raising


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons write no page: its pictures take seconds."""
    monkeypatch.setattr("frugan.reporting.report", lambda folder: None)


@pytest.fixture
def packing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is packed yet, and every step of what takes long is told at once."""
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path / "empty cache"))
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
