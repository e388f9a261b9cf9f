"""Find a variant by the name users type, check its options, list what there is.

Every axis (families, networks, games, metrics, views, recipes) is a package; each public file in it is one variant and
holds one object of the axis' record type under the name `variant`. The folder listing is therefore the list of choices,
read without importing anything. Users add their own from a file (`frugan ... --code my.py`) or from an installed
package's entry point in the group ``frugan``: both simply call the axis' ``add``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can mend: the message says what was found, what is accepted and what to type next."""


def suggest(wrong: str, accepted: Iterable[str]) -> str:
    """The tail of an error message: the nearest accepted name if one is close, then all of them."""
    names = sorted(accepted)
    near = difflib.get_close_matches(wrong, names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Accepted: {', '.join(names) if names else '(none)'}."


def unknown(kind: str, name: str, accepted: Iterable[str]) -> UserError:
    """The error for a name that is not there: a slip most likely, else something of the user's own."""
    tail = suggest(name, accepted)
    own = "" if tail.startswith("Did you mean") else " If it is your own, name its file: --code FILE, in Python code=."
    return UserError(f"There is no {kind} called '{name}'. {tail}{own}")


class Registry:
    """The variants of one axis: those in the package's folder and those that users added.

    Args:
        kind: what one variant is called in messages, e.g. ``"convolution family"``.
        package: the package whose public modules are the variants, e.g. ``"frugan.convs"``.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._added: dict[str, Any] = {}

    def names(self) -> list[str]:
        """Every known name, sorted; no variant is imported for it."""
        load_entry_points()
        folder = [str(Path(sys.modules[self.package].__path__[0]))]
        shipped = (module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))
        return sorted({*shipped, *self._added})

    def add(self, name: str, variant: Any) -> Any:
        """Make a variant of one's own known under `name`; returns it. Raises UserError if the name is taken."""
        if self._added.get(name, variant) is not variant:
            raise UserError(f"The {self.kind} '{name}' was added twice; give one of them another name.")
        if importlib.util.find_spec(f"{self.package}.{name}") is not None:
            raise UserError(f"'{name}' is a {self.kind} of frugan's own; give yours another name.")
        self._added[name] = variant
        return variant

    def find(self, name: str) -> Any:
        """The variant called `name`. Raises UserError with the nearest name if there is none."""
        if name not in self.names():
            raise unknown(self.kind, name, self.names())
        if name in self._added:
            return self._added[name]
        return importlib.import_module(f"{self.package}.{name}").variant


class Catalogue(Generic[T]):
    """Variants of a few lines, side by side in one file: functions that make a value, found by their names.

    Users add functions of their own with `add`. A function's keyword-only arguments with defaults are its options.

    Args:
        kind: what one is called in messages, e.g. ``"penalty"``.
        functions: those of frugan's own; each is called by its `__name__`.
        has: attributes that the made value must have, e.g. ``("name", "every")``. Left out, anything may be made.
    """

    def __init__(self, kind: str, *functions: Callable[..., T], has: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.has = has
        self._shipped = {function.__name__: function for function in functions}
        self._added: dict[str, Callable[..., T]] = {}

    def names(self) -> list[str]:
        """Every name that `find` knows, sorted."""
        load_entry_points()
        return sorted({*self._shipped, *self._added})

    def add(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        """Make a function of one's own known under `name`; returns it. Raises UserError if the name is taken."""
        if self._added.get(name, function) is not function:
            raise UserError(f"The {self.kind} '{name}' was added twice; give one of them another name.")
        if name in self._shipped:
            raise UserError(f"The {self.kind} '{name}' is frugan's own; give yours another name.")
        self._added[name] = function
        return function

    def options(self, name: str) -> dict[str, Any]:
        """The options of the one called `name` and their defaults. Raises UserError if there is none of that name."""
        return options_of(self._function(name))

    def check(self, name: str, given: Mapping[str, Any]) -> None:
        """Raise UserError for an unknown name, an unknown option, or an option's value of another kind."""
        check_options(f"The {self.kind} '{name}'", given, self.options(name))

    def find(self, name: str, /, *inputs: Any, **given: Any) -> T:
        """What the one called `name` makes of `inputs`, with options.

        Raises UserError for an unknown name or option, for a function that takes other arguments, and if the value
        lacks what one of its kind has.
        """
        self.check(name, given)
        function = self._function(name)
        try:
            inspect.signature(function).bind(*inputs, **given)
        except TypeError as error:
            raise UserError(
                f"The {self.kind} '{name}' cannot be made ({error}): its function is given {len(inputs)} positional "
                "arguments, and each option needs a name and a default. docs/extending.md has an example."
            ) from error
        made = function(*inputs, **given)
        lacking = [attribute for attribute in self.has if not hasattr(made, attribute)]
        if lacking:
            raise UserError(
                f"The {self.kind} '{name}' makes something without '{lacking[0]}' ({type(made).__name__}); it needs "
                f"{', '.join(self.has)}. docs/extending.md has an example."
            )
        return made

    def _function(self, name: str) -> Callable[..., T]:
        if name not in self.names():
            raise unknown(self.kind, name, self.names())
        return self._added[name] if name in self._added else self._shipped[name]


def options_of(function: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """The keyword-only options of a variant's function and their defaults, leaving out the names in `without`."""
    skipped = set(without)
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and parameter.default is not inspect.Parameter.empty
        and name not in skipped
    }


def check_options(owner: str, given: Mapping[str, Any], accepted: Mapping[str, Any]) -> None:
    """Raise UserError if `given` names an option that `owner` does not have, or gives one a value of another kind."""
    for name, value in given.items():
        if name not in accepted:
            raise UserError(f"{owner} has no option '{name}'. {suggest(name, accepted)}")
        default = accepted[name]
        if isinstance(default, bool) != isinstance(value, bool) and default is not None:
            raise UserError(f"{owner}: option '{name}' is {value!r}; it takes a value like {default!r}.")
        number = isinstance(default, (int, float)) and isinstance(value, (int, float))
        if default is not None and value is not None and not number and not isinstance(value, type(default)):
            if not (isinstance(default, (list, tuple)) and isinstance(value, (list, tuple))):
                raise UserError(f"{owner}: option '{name}' is {value!r}; it takes a value like {default!r}.")


def load_code(path: str | Path) -> None:
    """Run a user's own file so that the variants it adds become known. Raises UserError if it is not there or fails."""
    path = Path(path).resolve()
    if not path.is_file():
        raise UserError(f"--code {path}: there is no such file.")
    name = f"frugan_user_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--code {path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"--code {path} failed while it was read: {type(error).__name__}: {error}") from error


_entry_points_loaded = False


def load_entry_points() -> None:
    """Import what installed packages offer in the entry point group ``frugan``, once per process."""
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    for entry in importlib.metadata.entry_points(group="frugan"):
        try:
            entry.load()
        except Exception as error:
            print(f"frugan: the plugin '{entry.name}' could not be loaded: {error}", file=sys.stderr)
