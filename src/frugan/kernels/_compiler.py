"""Compiles C++ to a library in the cache, once for each machine, compiler and version of the source."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from frugan import cache, terminal

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")
COMPILERS = ("c++", "g++", "clang++")


@functools.cache
def compiler() -> tuple[str, str] | None:
    """The C++ compiler (``$CXX`` or a usual name) and the first line of its ``--version``; None if there is none."""
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else COMPILERS:
        path = shutil.which(name)
        if path is None:
            continue
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout:
            return path, answer.stdout.splitlines()[0]
    return None


@functools.cache
def fingerprint() -> str:
    """A hash of what all compiled libraries depend on: sources, flags, compiler and processor."""
    texts = [path.read_text() for path in sorted([*HERE.glob("*.cpp"), *HERE.glob("*.h")])]
    return hashlib.sha256("\0".join([*texts, *FLAGS, str(compiler()), _processor()]).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor with its instruction sets: what ``-march=native`` looks at."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return "\n".join([platform.machine(), platform.processor(), *named])


@functools.cache
def load(source: str, **defines: int) -> ctypes.CDLL | None:
    """The library of ``source.cpp`` compiled with these macros, from the cache or compiled now; None if that fails.

    Compiling takes a few seconds. Then a line is printed; if it failed, only the first time.
    """
    cxx = compiler()
    if cxx is None or os.name != "posix":
        return None
    title = "-".join([source, *map(str, defines.values())])
    folder, name = cache.cache_root() / "kernels", f"{title}-{fingerprint()}"
    try:
        for path in folder.glob(f"{name}-*.so"):
            library = path.read_bytes()
            if path.stem == _named(name, library):
                return ctypes.CDLL(str(path))
            terminal.tell(f"frugan: {path} is damaged and is compiled again.")
            with contextlib.suppress(OSError):
                path.unlink()
        with tempfile.TemporaryDirectory() as away:
            began, made = time.monotonic(), Path(away) / f"{name}.so"
            macros = [f"-D{macro}={value}" for macro, value in defines.items()]
            command = [cxx[0], *FLAGS, *macros, str(HERE / f"{source}.cpp"), "-o", str(made)]
            # A session of its own: Ctrl-C in the terminal must not leave the run without this library.
            done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
            if done.returncode:
                raise OSError((done.stderr.splitlines() or ["the compiler gave no reason"])[0])
            seconds = time.monotonic() - began
            terminal.tell(f"frugan: compiled {title} in {seconds:.1f} s (once on this machine)")
            library = made.read_bytes()
            cache.keep(folder / f"{_named(name, library)}.so", library)
            return ctypes.CDLL(str(made))  # as long as it is used, the system keeps the file
    except OSError as error:
        terminal.tell(f"frugan: {title} could not be compiled ({error}); torch's own functions are used.")
        return None


def _named(name: str, library: bytes) -> str:
    """The name of a library in the cache, which ends in a hash of its content: a damaged one would end the program."""
    return f"{name}-{hashlib.sha256(library).hexdigest()[:16]}"
