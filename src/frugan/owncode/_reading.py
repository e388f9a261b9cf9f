"""What a user's file is, before it is run: its text, what it imports from its own folder, and the hash of both."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan.files import expanded
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.arguments import Code

SHORT = 12
"""Digits of a hash in what people read."""


@dataclass(frozen=True)
class CodeFile:
    """A user's own file: where it lies, the hash of it and of what it imports from its folder, and those files' own.

    `hash` and the values of `beside` are SHA-256 in hexadecimal; without any file beside it, that of the file alone. It
    is empty of a file that a run of before names, which kept none. The keys of `beside` are paths as seen from the
    file's folder.
    """

    path: Path
    hash: str
    beside: Mapping[str, str]

    @property
    def short(self) -> str:
        """The beginning of the hash, for people."""
        return self.hash[:SHORT]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": str(self.path), "hash": self.hash, "beside": dict(self.beside)}


class Module(NamedTuple):
    """The text of one module: what is hashed is what will be run, whatever happens to the file in between."""

    path: Path
    text: bytes

    @property
    def is_package(self) -> bool:
        """Whether it is the front page of a folder."""
        return self.path.name == "__init__.py"

    @property
    def hash(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text).hexdigest()


@dataclass(frozen=True)
class Read:
    """A file that was read and not run: it, its text, and the modules beside it that it imports, by dotted name."""

    file: CodeFile
    main: Module
    beside: Mapping[str, Module]


def paths_of(code: Code | None) -> list[Path]:
    """The files that were named, absolute, each once. Raises UserError for one that is not there, or no Python file."""
    listed = [] if code is None else [code] if isinstance(code, (str, os.PathLike)) else list(code)
    paths = list(dict.fromkeys(expanded(path).resolve() for path in listed))
    for path in paths:
        if not path.is_file():
            raise UserError(f"--code {path}: there is no such file.")
        if path.suffix != ".py":
            raise UserError(f"--code {path}: not a Python file; its name must end in .py.")
    return paths


def read(path: Path) -> Read:
    """A file, what it imports from its own folder, what those import from there, and so on. Nothing is run."""
    main = Module(path, _text(path))
    beside: dict[str, Module] = {}
    waiting: list[tuple[str, Module]] = [("", main)]
    while waiting:
        importer, module = waiting.pop()
        for wanted in _imports(importer, module):
            for name, file in _in_folder(path.parent, wanted):
                if name not in beside:
                    beside[name] = Module(file, _text(file))
                    waiting.append((name, beside[name]))
    hashes = {module.path.relative_to(path.parent).as_posix(): module.hash for module in beside.values()}
    hashes.pop(path.name, None)  # a file beside it may import it
    hashes = dict(sorted(hashes.items()))
    together = "\n".join([main.hash, *(f"{digest}  {name}" for name, digest in hashes.items())])
    digest = hashlib.sha256(together.encode()).hexdigest() if hashes else main.hash
    return Read(CodeFile(path, digest, hashes), main, beside)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"--code {path}: it cannot be read ({error.strerror}).") from None


def _imports(name: str, module: Module) -> Iterator[str]:
    """The dotted names that a module called `name` imports, in functions too, and whichever of them are modules.

    ``from a import b`` gives ``a.b``: who looks for that passes by ``a``. A text that is no Python imports nothing: it
    fails when it is run, and says why.
    """
    try:
        tree = ast.parse(module.text)
    except (SyntaxError, ValueError):
        return
    package = name if module.is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = _home(package, node)
            if home is not None:
                yield from (".".join(filter(None, (home, alias.name))) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called, literal = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if called in ("import_module", "__import__") and isinstance(literal, str):
                yield literal


def _home(package: str, node: ast.ImportFrom) -> str | None:
    """Where ``from ... import`` looks; None if its dots lead out of the folder, which Python refuses."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _in_folder(folder: Path, wanted: str) -> Iterator[tuple[str, Path]]:
    """The modules that importing `wanted` runs, if they lie in `folder`: every package on the way, then itself."""
    parts = wanted.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] == "frugan":
        return
    for count in range(1, len(parts) + 1):
        name, place = ".".join(parts[:count]), folder.joinpath(*parts[:count])
        file = place.with_name(f"{place.name}.py")
        if (place / "__init__.py").is_file():
            yield name, place / "__init__.py"
        elif file.is_file():
            yield name, file
            return
        elif not place.is_dir():
            return
