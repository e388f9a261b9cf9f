"""Memory: what is refused in time, and how much a process may still use."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from frugan import memory
from frugan.registry import UserError

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux promises memory that it lacks")


def child(code: str) -> str:
    """What a process says, or the signal that ended it."""
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=one)
    return f"{done.returncode} {done.stdout}{done.stderr.strip().splitlines()[-1:]}"


@LINUX
@pytest.mark.parametrize("size", [100_000_000_000, 400_000_000])
def test_memory_beyond_what_is_left_is_refused_instead_of_promised(size: int) -> None:
    """Piece by piece too, as layers are built: each piece is small."""
    held = child(
        "from frugan import memory; memory.DRIVERS = (); memory.free = lambda: 10**9; memory.hold()\n"
        "import torch\n"
        "kept = []\n"
        "with memory.enough():\n"
        f"    for _ in range(20): kept.append(torch.empty({size}, dtype=torch.uint8).fill_(1))\n"
    )
    assert "Error: There is too little memory: " in held


@LINUX
def test_what_is_left_is_enough_for_what_needs_little() -> None:
    assert child(
        "from frugan import memory; memory.DRIVERS = (); memory.hold()\n"
        "import torch; print(int(torch.ones(10_000_000).sum()))"
    ).startswith("0 10000000")


SIZE = 2**40
"""Bytes of a file that is larger than the memory of any machine that runs tests, with nothing in it."""


@LINUX
@pytest.mark.parametrize("opened", ["pack.mapped(path)", "_store._mapped(path.open('rb'), (2**18, 2**20))"])
def test_a_file_larger_than_the_memory_is_opened(opened: str, tmp_path: Path) -> None:
    """Before memory is limited, and again and again afterwards; but other memory is refused as it was."""
    path = tmp_path / "images.npy"
    with path.open("wb") as file:
        if opened.startswith("pack"):
            about = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20)}
            np.lib.format.write_array_header_1_0(file, about)
        file.truncate(file.tell() + SIZE)
    held = child(
        "from pathlib import Path; from resource import RLIMIT_DATA, getrlimit; import torch\n"
        "from frugan import memory; from frugan.data import pack; from frugan.views import _store\n"
        f"memory.DRIVERS = (); memory.free = lambda: 10**9; path = Path({str(path)!r})\n"
        "def read():\n"
        f"    rows = {opened}; rows[-1, -1] += 1; print(int(rows[-1, -1]), int(rows[0, 0]), end=' ')\n"
        f"read(); memory.hold(); most = getrlimit(RLIMIT_DATA)[0] + {SIZE}; read(); read(); read()\n"
        "print(getrlimit(RLIMIT_DATA)[0] < most + 2**32)\n"
        "with memory.enough(): torch.empty(2 * most, dtype=torch.uint8)\n"
    )
    assert held.startswith("1 1 0 1 0 1 0 1 0 True\n")
    assert "There is too little memory" in held
    with path.open("rb") as file:  # what was written was a copy
        file.seek(-1, os.SEEK_END)
        assert file.read() == b"\0"


@LINUX
def test_a_machine_with_a_gpu_is_left_alone(tmp_path: Path) -> None:
    assert child(
        "import resource; from frugan import memory\n"
        f"memory.DRIVERS = (__import__('pathlib').Path({str(tmp_path)!r}),); memory.hold()\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    ).startswith("0 -1")


@LINUX
@pytest.mark.parametrize("version", ["", "memory"])
def test_a_group_of_processes_has_less_than_its_machine(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's limit, less what it uses already; pages of files that it keeps can be had back."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "none")
    machine = memory.free()
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == version), None)
    if own is None:
        pytest.skip("this system has the other version of control groups")
    folder = tmp_path / "groups" / version / own.lstrip("/")
    folder.mkdir(parents=True)
    limit, usage, kept = memory._VERSIONS[version]
    (folder / limit).write_text("3000000\n")
    (folder / usage).write_text("2500000\n")
    (folder / "memory.stat").write_text(f"anon 2000000\n{kept} 400000\nactive_file 100000\n")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    assert memory.free() == 900_000 < machine
    assert memory._whole() == 3_000_000
    (folder / limit).write_text("max\n")
    assert memory.free() > 900_000


@pytest.mark.parametrize("text", [
    "you tried to allocate 5368709120 bytes", "Unable to allocate 5.00 GiB for an array", "Tried to allocate 5 GiB",
])  # fmt: skip
def test_what_the_machine_never_has_is_a_mistake_and_what_others_hold_is_not(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for whole, kind in ((4e9, UserError), (6e9, memory.TooLittleError)):
        monkeypatch.setattr(memory, "_whole", lambda whole=whole: whole)
        with pytest.raises(UserError, match=r"memory: 5\.4 GB more") as told, memory.enough():
            raise MemoryError(text)
        assert told.type is kind


def test_a_card_that_is_full_is_a_mistake_and_small_numbers_have_units() -> None:
    text = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139 GiB"
    with pytest.raises(UserError, match=r"memory: 21\.0 MB more") as told, memory.enough():
        raise torch.OutOfMemoryError(text)
    assert told.type is UserError


def test_errors_that_are_not_of_memory_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory.enough():
        raise RuntimeError("shapes differ")
    with pytest.raises(UserError, match=r"There is too little memory: 5\.0 GB more"), memory.enough():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5000000000 bytes.")
    with pytest.raises(UserError, match=r"There is too little memory\. Smaller"), memory.enough():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    with pytest.raises(FileNotFoundError), memory.enough():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "out of memory")
