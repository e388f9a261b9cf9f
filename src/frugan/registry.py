"""Find a variant by the name users type, check its options, list what there is.

Every axis (families, networks, games, metrics, views, recipes) is a package; each public file in it is one variant and
holds one object of the axis' record type under the name `variant`. The folder listing is therefore the list of choices,
read without importing anything. Users add their own from a file (`frugan ... --code my.py`, see `frugan.owncode`) or
from an installed package's entry point in the group ``frugan``: both simply call the axis' ``add``. Of every variant
that was added it is known where it came from: its `Origin`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import linecache
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from frugan import terminal
from frugan.ranges import Unfit, fitted

T = TypeVar("T")


class UserError(Exception):
    """Something the user can mend: the message says what was found, what is accepted and what to type next.

    `code` is the exit code of a command that ends with it.
    """

    code = 2


def suggest(wrong: Any, accepted: Iterable[str]) -> str:
    """The end of an error message: the nearest accepted name if one is close, then all accepted names."""
    names = sorted(set(accepted))
    near = difflib.get_close_matches(str(wrong), names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}{'Choose from: ' + ', '.join(names) if names else 'There is nothing to choose from'}."


def unknown(kind: str, name: Any, accepted: Iterable[str]) -> UserError:
    """The error for an unknown name: most likely it is misspelt, or else something of the user's own."""
    accepted = list(accepted)
    misspelt = difflib.get_close_matches(str(name), accepted, n=1, cutoff=0.75)
    own = "" if misspelt else " If it is your own, name its file: --code FILE (in Python code=)."
    return UserError(f"There is no {kind} called '{name}'. {suggest(name, accepted)}{own}")


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
        if importlib.util.find_spec(f"{self.package}.{name}") is not None:
            raise UserError(f"frugan itself has the {self.kind} '{name}'. Give yours another name.")
        record(self.kind, self._added, name, variant)
        return variant

    def origin(self, name: str) -> Origin | None:
        """Where the variant called `name` comes from; None for one of frugan's own."""
        return origin_of(self._added, name)

    def find(self, name: str) -> Any:
        """The variant called `name`. Raises UserError with the nearest name if there is none."""
        if not isinstance(name, str):
            raise unknown(self.kind, name, self.names())
        path = f"{self.package}.{name}"
        # What was found before needs no look at the folder: every layer asks for its kernel in every call.
        known = self._added.get(name, getattr(sys.modules.get(path), "variant", None))
        if known is not None:
            return known
        if name not in self.names():
            raise unknown(self.kind, name, self.names())
        return self._added[name] if name in self._added else importlib.import_module(path).variant


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
        if name in self._shipped:
            raise UserError(f"frugan itself has the {self.kind} '{name}'. Give yours another name.")
        record(self.kind, self._added, name, function)
        return function

    def origin(self, name: str) -> Origin | None:
        """Where the one called `name` comes from; None for one of frugan's own."""
        return origin_of(self._added, name)

    def options(self, name: str) -> dict[str, Any]:
        """The options of the one called `name` and their defaults. Raises UserError if there is none of that name."""
        return options_of(self._function(name))

    def check(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the function takes them, see `check_options`. Raises UserError, also for an unknown name."""
        return check_options(f"The {self.kind} '{name}'", given, declared(self._function(name)))

    def find(self, name: str, /, *inputs: Any, **given: Any) -> T:
        """What the one called `name` makes of `inputs`, with options.

        Raises UserError for an unknown name or option, for a function that takes other arguments, and if the value
        lacks what one of its kind has.
        """
        given = self.check(name, given)
        function = self._function(name)
        try:
            inspect.signature(function).bind(*inputs, **given)
        except TypeError as error:
            raise UserError(
                f"The {self.kind} '{name}' cannot be made ({error}). Its function gets {len(inputs)} positional "
                "arguments; every other argument is an option and needs a name and a default. docs/extending.md has "
                "an example."
            ) from error
        made = function(*inputs, **given)
        lacking = [attribute for attribute in self.has if not hasattr(made, attribute)]
        if lacking:
            raise UserError(
                f"The {self.kind} '{name}' makes a {type(made).__name__} without '{lacking[0]}', but it needs "
                f"{', '.join(self.has)}. docs/extending.md has an example."
            )
        return made

    def _function(self, name: str) -> Callable[..., T]:
        if name not in self.names():
            raise unknown(self.kind, name, self.names())
        return self._added[name] if name in self._added else self._shipped[name]


def declared(function: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, inspect.Parameter]:
    """The keyword-only options of a variant's function as it declares them, leaving out the names in `without`."""
    skipped = set(without)
    return {
        name: parameter.replace(annotation=_known(parameter.annotation, function))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and parameter.default is not inspect.Parameter.empty
        and name not in skipped
    }


def options_of(function: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a variant's function and their defaults, leaving out the names in `without`."""
    return {name: option.default for name, option in declared(function, without).items()}


def check_options(
    owner: str, given: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """The given options as their owner takes them: whole numbers that were typed as 1e3 become whole numbers.

    `accepted` are options as `declared` returns them; one without an annotation is of its default's kind. Raises
    UserError for an option that `owner` does not have, and for a value of another type or outside its range.
    """
    values = {}
    for name, value in given.items():
        if name not in accepted:
            raise UserError(f"{owner} has no option '{name}'. {suggest(name, accepted)}")
        default = accepted[name].default
        try:
            values[name] = value if value is default else fitted(_type_of(accepted[name]), value)
        except Unfit as unfit:
            reason = str(unfit)
            example = f", e.g. {default!r}" if default not in (None, "", ()) and "e.g." not in reason else ""
            wanted = f"{reason[0].upper()}{reason[1:]}{example}"
            raise UserError(f"{owner}: the option '{name}' is {value!r}. {wanted}.") from None
    return values


def _known(annotation: Any, function: Callable[..., Any]) -> Any:
    """An annotation that was written as text, as the type it names; the text if only type checkers know that."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function.__init__ if isinstance(function, type) else function)
    try:
        return eval(annotation, getattr(function, "__globals__", {})) if isinstance(annotation, str) else annotation
    except Exception:
        return annotation


def _type_of(option: inspect.Parameter) -> Any:
    """The annotated type of an option, or where it has none that is known, what its default tells."""
    if not isinstance(option.annotation, str) and option.annotation is not inspect.Parameter.empty:
        return option.annotation
    kind = type(option.default)
    return Any if option.default is None else float if kind is int else kind


# --------------------------------------------------------------------------------------------- where variants come from


class Origin(NamedTuple):
    """Where a variant comes from that is not frugan's own.

    `name` is a file's path, an installed package with its version, or what Python calls a notebook's cell; such a one
    was `typed`. `hash` is the SHA-256 of its code: 64 hexadecimal digits, of which protocols hold `short`.
    """

    name: str
    hash: str
    typed: bool = False

    @property
    def short(self) -> str:
        """The first 16 digits of the hash."""
        return self.hash[:16]


class _Addition(NamedTuple):
    """One variant that was added: of what kind, to which names of an axis, under which name, and from where."""

    kind: str
    known: dict[str, Any]
    name: str
    variant: Any
    origin: Origin


_additions: list[_Addition] = []
_adding: ContextVar[Origin | None] = ContextVar("adding", default=None)


@contextlib.contextmanager
def adding(origin: Origin) -> Iterator[None]:
    """Inside, every variant that is added comes from `origin`. Without a hash, it has that of the file that adds it."""
    before = _adding.set(origin)
    try:
        yield
    finally:
        _adding.reset(before)


def record(kind: str, known: dict[str, Any], name: str, variant: Any) -> None:
    """Put a variant of a user's into the names of an axis, and remember where it comes from.

    What was typed in a notebook, or lies in a file that has changed since, replaces what it added before. Raises
    UserError if the name is taken by anything else.
    """
    origin, before = _here(), origin_of(known, name)
    if known.get(name, variant) is not variant:
        edited = before is not None and origin.name == before.name and origin.hash != before.hash
        if not (edited or (before is not None and before.typed and origin.typed)):
            both = "" if before is None or origin.name == before.name else f", by {before.name} and by {origin.name}"
            raise UserError(f"The {kind} '{name}' was added twice{both}. Give one of them another name.")
    _additions[:] = [one for one in _additions if one.known is not known or one.name != name]
    _additions.append(_Addition(kind, known, name, variant, origin))
    known[name] = variant


def take_back(names: Iterable[str]) -> None:
    """Forget every variant whose origin has one of these names."""
    gone = set(names)
    for one in [one for one in _additions if one.origin.name in gone]:
        _additions.remove(one)
        if one.known.get(one.name) is one.variant:
            del one.known[one.name]


def added(names: Iterable[str]) -> list[tuple[str, str]]:
    """Kind and name of every variant whose origin has one of these names, in the order in which they were added."""
    wanted = set(names)
    return [(one.kind, one.name) for one in _additions if one.origin.name in wanted]


def plugins() -> list[str]:
    """The installed packages that have added something, as ``name version``, sorted."""
    return sorted({one.origin.name for one in _additions} & _packages)


def origin_of(known: Mapping[str, Any], name: str) -> Origin | None:
    """Where the variant of that name comes from; None if nobody added one."""
    for one in _additions:
        if one.known is known and one.name == name and known.get(name) is one.variant:
            return one.origin
    return None


def _here() -> Origin:
    """Where the code that is adding something lies: what `adding` says, else the first caller outside of frugan."""
    said = _adding.get()
    if said is not None and said.hash:
        return said
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "frugan":
        frame = frame.f_back
    name, typed = "" if frame is None else frame.f_code.co_filename, False
    try:
        name, code = str(Path(name).resolve(strict=True)), Path(name).read_bytes()
    except OSError:
        typed, code = said is None, "".join(linecache.getlines(name)).encode()  # a notebook keeps its cells there
    # Code that nobody can read equals no other code, so no value is taken for one of the same code.
    digest = hashlib.sha256(code or os.urandom(32)).hexdigest()
    return Origin(name if said is None else said.name, digest, typed)


_entry_points_loaded = False
_packages: set[str] = set()


def load_entry_points() -> None:
    """Import what installed packages offer in the entry point group ``frugan``, once per process."""
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    for entry in importlib.metadata.entry_points(group="frugan"):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.name
        _packages.add(package)
        try:
            with adding(Origin(package, "")):
                entry.load()
        except Exception as error:
            terminal.tell(f"frugan: the plugin '{entry.name}' could not be loaded: {error}")
