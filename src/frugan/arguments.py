"""The arguments of a verb, stated once as a frozen record, for Python and the command line alike.

Each field of the record is an argument, and the string below it explains the argument. `taking` turns a function that
takes the record into one that takes these arguments; the command line reads the same record::

    @dataclass(frozen=True)
    class Greeting:
        name: Name
        \"""Who is greeted.\"""
        _: KW_ONLY
        times: int = 1
        \"""How often.\"""

    @taking(Greeting)
    def greet(asked: Greeting) -> str:
        return " ".join(["Hello", asked.name] * asked.times)

    greet("Ada", times=2)

The types below name the kinds of arguments. They tell the command line how each is typed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from frugan.ranges import Unfit, fitted, has_range
from frugan.registry import UserError, declared, suggest

Name = str
"""The name of one thing: a view, an arm, a device."""

Names = Sequence[str]
"""Names of several things; on the command line with commas between them."""

Source = str
"""Where images come from: a name from ``frugan data list``, a folder or a file."""

File = str | Path
"""A file or folder."""

Count = int | str
"""A number of images, also as "60k" or "2M"."""

Limit = str | float
"""The most that something may take, with its unit: 5ms, 2MB."""

WholeNumbers = Iterable[int]
"""Whole numbers; on the command line 0-4, or 0,1,5."""

Code = str | Path | Sequence[str | Path]
"""A Python file of the user's own, or several; on the command line --code may be repeated. See `frugan.owncode`."""

Changes = Mapping[str, Any]
"""Values by dotted key; on the command line key=value, any number of them."""

Init = str | Path | Mapping[str, str | Path]
"""Weights to start from: one path, or network -> path; on the command line NETWORK=PATH with commas."""

P = ParamSpec("P")
Record = TypeVar("Record")
Result = TypeVar("Result")


def taking(record: Callable[P, Record]) -> Callable[[Callable[[Record], Result]], Callable[P, Result]]:
    """Turn a function that takes the record into one that takes the record's fields as arguments.

    Its signature and docstring list them all. An unknown argument raises UserError, which offers the nearest name.
    """
    signature = inspect.signature(record)

    def decorate(function: Callable[[Record], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*given: P.args, **named: P.kwargs) -> Result:
            for name in named:
                if name not in signature.parameters:
                    accepted = suggest(name, signature.parameters)
                    raise UserError(f"{function.__name__}() has no argument '{name}'. {accepted}")
            try:
                asked = signature.bind(*given, **named).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            paths = {name for name, of in signature.parameters.items() if _of_files(str(of.annotation))}
            plain = {name: _plain(value, paths=name in paths) for name, value in asked.items()}
            return function(record(**in_range(plain, record)))  # type: ignore[call-arg]

        returned = function.__annotations__.get("return", Any)
        call.__annotations__ = {name: of.annotation for name, of in signature.parameters.items()}
        call.__annotations__["return"] = returned
        call.__doc__ = _with_arguments(inspect.getdoc(function) or "", explanations(record))
        call.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
        call.record = record  # type: ignore[attr-defined]
        return call

    return decorate


def in_range(given: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments given to a function, those that it declares with a range inside that. Raises UserError."""
    values, accepted = dict(given), declared(function)
    for name, option in accepted.items():
        if name in given and given[name] != option.default and has_range(option.annotation):
            try:
                values[name] = fitted(option.annotation, given[name])
            except Unfit as unfit:
                raise UserError(f"--{name.replace('_', '-')} {given[name]}: {unfit}.") from None
    return values


def _of_files(annotation: str) -> bool:
    """Whether an argument of this type may be a `Path`."""
    return any(word in annotation for word in ("File", "Code", "Init", "Path"))


def _plain(value: Any, *, paths: bool) -> Any:
    """A value as plain Python has it: numpy's numbers and arrays, and paths as words where no path is meant."""
    if type(value).__module__ == "numpy":
        return value.tolist()
    if isinstance(value, Path) and not paths:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(one, paths=paths) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(one, paths=paths) for one in value)
    return value


def explanations(record: Callable[..., Any]) -> dict[str, str]:
    """The string below each field of a record, as one line; fields without one are left out."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    except (OSError, TypeError):  # a program that was packed without its source
        return {}
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        ):  # fmt: skip
            texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def names_in(given: Names | None) -> tuple[str, ...]:
    """The names as a tuple; a single string is one name."""
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _with_arguments(doc: str, explained: Mapping[str, str]) -> str:
    """Add a section for the arguments to a docstring, before its section "Raises"."""
    lines = [textwrap.fill(f"{name}: {text}", 112, initial_indent=" " * 4, subsequent_indent=" " * 8)
             for name, text in explained.items()]  # fmt: skip
    before, raises, after = doc.partition("\nRaises:")
    return f"{before.rstrip()}\n\nArgs:\n" + "\n".join(lines) + (f"\n{raises}{after}" if raises else "\n")
