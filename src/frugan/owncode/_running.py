"""Running a user's files: each as a module of its own name, by the text that was hashed, and anew once it changed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from frugan import registry, terminal
from frugan.owncode._reading import CodeFile, Module, Read
from frugan.registry import Origin, UserError


class _Unit(NamedTuple):
    """A file that was run, and the modules that it consists of, by the names that Python knows them by."""

    read: Read
    modules: Mapping[str, Module]


_units: dict[Path, _Unit] = {}
_known: dict[str, Module] = {}
"""The modules of all units, which the finder serves."""


def run(code: Read) -> CodeFile:
    """Run a file, unless it was run before and has not changed; returns what it is.

    Of a file that changed, or imports one that did, everything is taken back first; also of every other file that
    shares a module with it, which has to be named again to be known. Raises UserError if the file fails or a name is
    taken; nothing is left of it then.
    """
    path = code.file.path
    before = _units.get(path)
    if before is not None and before.read.file.hash == code.file.hash:
        return before.read.file
    _refuse_taken(code)
    name = _module_name(path)
    modules = {**code.beside, name: code.main}
    if before is not None:
        tell(f"{path} has changed since it was run here; it is run again.")
    _drop(_touched(path, modules))
    # What a notebook imported by itself may be older than the text that was hashed.
    for one in modules.keys() - _known.keys():
        sys.modules.pop(one, None)
        registry.take_back([str(modules[one].path)])
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _known.update(modules)
    _units[path] = _Unit(code, modules)
    there = set(sys.modules)
    try:
        with registry.adding(Origin(str(path), code.file.hash)):
            importlib.import_module(name)
        _refuse_uncounted(path, set(sys.modules) - there - modules.keys())
    except BaseException as error:
        _drop([path])
        if isinstance(error, UserError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise UserError(f"--code {path} failed when it was run: {type(error).__name__}: {error}") from error
    return code.file


def ran(digest: str) -> Read | None:
    """The file of this hash that was run in this process, if any."""
    return next((unit.read for unit in _units.values() if unit.read.file.hash == digest), None)


def forget() -> None:
    """Take back everything that files named with ``code`` have added, as if none had been run in this process."""
    _drop(list(_units))


def tell(line: str) -> None:
    """Say a line to people, once if there are several processes."""
    if os.environ.get("RANK", "0") == "0":
        terminal.tell(f"frugan: {line}")


def _module_name(path: Path) -> str:
    """The file's own name, by which files beside it can import it; with a number if another module has that name."""
    name = path.stem
    reserved = not name.isidentifier() or name in sys.stdlib_module_names or name == "frugan"
    if not reserved and _taken_by(name, path) is None:
        return name
    return re.sub(r"\W", "_", name) + "_" + hashlib.sha256(str(path).encode()).hexdigest()[:8]


def _taken_by(name: str, place: Path) -> str | None:
    """What else than the file or folder `place` Python means by a module called `name`; None if nothing."""
    if name in _known:
        return None if _known[name].path == place else str(_known[name].path)
    module = sys.modules.get(name)
    spec = importlib.machinery.PathFinder.find_spec(name) if module is None else getattr(module, "__spec__", None)
    if spec is None:
        return None
    # A folder without a front page may lie in several places.
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return None if place in [Path(one).resolve() for one in places] else str(places[0] if places else name)


def _refuse_taken(code: Read) -> None:
    """Raise UserError if a module beside the file has the name of another one: Python keeps one of each name."""
    for name, module in code.beside.items():
        first = name.partition(".")[0]
        top = code.beside[first].path if first in code.beside else code.file.path.parent / first
        other = _taken_by(first, top) or (_taken_by(name, module.path) if name in _known else None)
        if other is not None:
            raise UserError(
                f"--code {code.file.path} imports {module.path}, but in Python '{first}' already means {other}, and "
                "there can be only one module of a name. Rename one of them."
            )


def _touched(path: Path, modules: Mapping[str, Module]) -> list[Path]:
    """The units that cannot stay: of that file, with another text of one of these modules, or sharing with such."""
    touched = {
        of for of, unit in _units.items()
        if of == path or any(modules.get(name, module) != module for name, module in unit.modules.items())
    }  # fmt: skip
    while True:
        shared = {name for of in touched for name in _units[of].modules}
        more = {of for of, unit in _units.items() if shared & unit.modules.keys()} - touched
        if not more:
            return [of for of in _units if of in touched]
        touched |= more


def _drop(paths: Sequence[Path]) -> None:
    """Take back what these units have added, and their modules, but for those that other units have too."""
    gone = [_units.pop(path) for path in paths]
    kept = {name for unit in _units.values() for name in unit.modules}
    for unit in gone:
        names = unit.modules.keys() - kept
        registry.take_back([str(unit.read.file.path), *(str(unit.modules[name].path) for name in names)])
        for name in names:
            _known.pop(name, None)
        # Folders without a front page are modules too, as long as there is anything in them.
        parts = [name.split(".") for name in names]
        for name in {".".join(part[:count]) for part in parts for count in range(1, len(part) + 1)}:
            if not any(f"{known}.".startswith(f"{name}.") for known in _known):
                sys.modules.pop(name, None)


def _refuse_uncounted(path: Path, imported: Iterable[str]) -> None:
    """Raise UserError if the file made Python import a file beside it by a name that is not written anywhere."""
    for name in sorted(imported):
        file, place = getattr(sys.modules.get(name), "__file__", None), path.parent.joinpath(*name.split("."))
        if file and Path(file).resolve() in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            raise UserError(
                f"--code {path} imports {file} by a name that it computes, so frugan cannot notice when that file "
                f"changes. Write in {path.name}: import {name}"
            )


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all units, before Python looks anywhere."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        module = _known.get(name)
        if module is not None:
            folder = [str(module.path.parent)] if module.is_package else None
            return importlib.util.spec_from_file_location(
                name, module.path, loader=_Loader(module), submodule_search_locations=folder
            )
        inside = next((known for known in _known if known.startswith(f"{name}.")), None)
        if inside is None:
            return None
        # A folder without a front page.
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        up = inside.removeprefix(name).count(".") - (0 if _known[inside].is_package else 1)
        spec.submodule_search_locations = [str(_known[inside].path.parents[up])]
        return spec


class _Loader(importlib.abc.InspectLoader):
    """Runs the text that was hashed, and never a compiled file, which may be of an earlier text."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def is_package(self, fullname: str) -> bool:
        return self.module.is_package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.module.text)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.module.text, str(self.module.path), "exec", dont_inherit=True)


_finder = _Finder()
