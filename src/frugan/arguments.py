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

The types below name the kinds of arguments. They tell the command line how each is typed, and hold the words in which
another value is refused. `strict` does the same for a function whose arguments stand in its own signature.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from frugan.ranges import Unfit, fitted, has_range
from frugan.registry import UserError, declared, suggest

Name = Annotated[str, "a name"]
"""The name of one thing: a view, an arm, a device."""

Names = Annotated[str | Sequence[str], "a name, or a list of names"]
"""Names of several things; in one string with commas between them. See `names_in`."""

Source = Annotated[str, "a source of images, such as 'mnist' or a folder"]
"""Where images come from: a name from ``frugan data list``, a folder or a file."""

File = Annotated[str | os.PathLike[str], "a path"]
"""A file or folder. The `frugan.engine.run.RunFolder` that train returns is one too."""

Count = Annotated[int | str, "a number of images, such as 60000 or '60k'"]
"""A number of images, also as "60k" or "2M"."""

Limit = Annotated[str | float, "a limit with its unit, such as '5ms' or '2MB'"]
"""The most that something may take, with its unit: 5ms, 2MB."""

WholeNumbers = Annotated[Iterable[int], "a list of whole numbers, such as [0, 1, 2]"]
"""Whole numbers; on the command line 0-4, or 0,1,5."""

Code = Annotated[File | Sequence[File], "the path of a Python file, or a list of them"]
"""A Python file of the user's own, or several; on the command line --code may be repeated. See `frugan.owncode`."""

Changes = Annotated[Mapping[str, Any], "values by key, such as {'batch_size': 32}"]
"""Values by dotted key; on the command line key=value, any number of them."""

Init = Annotated[File | Mapping[str, File], "a path, or paths by network, such as {'generator': 'runs/thin'}"]
"""Weights to start from: one path, or network -> path; on the command line NETWORK=PATH with commas."""

P = ParamSpec("P")
Record = TypeVar("Record")
Result = TypeVar("Result")


def taking(record: Callable[P, Record]) -> Callable[[Callable[[Record], Result]], Callable[P, Result]]:
    """Turn a function that takes the record into one that takes the record's fields as arguments.

    Its signature and docstring list them all. An unknown argument raises UserError, which offers the nearest name, and
    so does a value of another type than the field's.
    """
    signature = inspect.signature(record)

    def decorate(function: Callable[[Record], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*given: P.args, **named: P.kwargs) -> Result:
            asked = _accepted(function.__name__, record, given, named).arguments
            return function(record(**in_range(asked, record)))  # type: ignore[call-arg]

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


def strict(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function with its arguments checked against its hints, as `taking` checks a record's fields."""

    @functools.wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> Result:
        asked = _accepted(function.__name__, function, given, named)
        for name, value in asked.arguments.items():
            asked.arguments[name] = _ranged(function, name, value)
        return function(*asked.args, **asked.kwargs)

    return call


def _ranged(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The value of an argument, which lies in the range that its hint states. Raises UserError otherwise."""
    hint = _signature(function).parameters[name].annotation
    if not has_range(hint):
        return value
    try:
        return fitted(hint, value)
    except Unfit as wanted:
        raise UserError(f"{function.__name__}({name}={value!r}): {wanted}.") from None


@functools.cache
def _signature(of: Callable[..., Any]) -> inspect.Signature:
    """The signature with types instead of their names; only a call needs them, and perhaps modules that are slow."""
    return inspect.signature(of, eval_str=True)


def _accepted(
    who: str, of: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call of `of` as plain values. Raises UserError for names and values that it does not take."""
    signature = _signature(of)
    parameters = signature.parameters
    kinds = {one.kind for one in parameters.values()}
    for name in named:
        if name not in parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise UserError(f"{who}() has no argument '{name}'. {suggest(name, parameters)}")
    places = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(given) > len(places) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        raise UserError(
            f"{who}() takes no more than {', '.join(places)} without a name, but {len(given)} values were given. Write "
            "NAME=VALUE for the others."
        )
    try:
        asked = signature.bind(*given, **named)
    except TypeError as error:
        raise TypeError(f"{who}(): {error}") from None
    for name, value in asked.arguments.items():
        kind, hint = parameters[name].kind, parameters[name].annotation
        if kind is inspect.Parameter.VAR_POSITIONAL:
            asked.arguments[name] = tuple(_taken(who, "", one, hint) for one in value)
        elif kind is not inspect.Parameter.VAR_KEYWORD:
            asked.arguments[name] = _taken(who, f"{name}=", value, hint)
    return asked


def _taken(who: str, where: str, value: Any, hint: Any) -> Any:
    """The value as plain Python has it. Raises UserError if it is not what the hint says."""
    if hint in (Any, inspect.Parameter.empty):
        return value
    plain = _plain(value, paths=any(leaf in (os.PathLike, Path) for leaf in _leaves(hint)))
    if not _fits(plain, hint):
        shown = textwrap.shorten(repr(value), 60, placeholder=" ...")
        raise UserError(f"{who}({where}{shown}): give {_words(hint)}.")
    return plain


def _plain(value: Any, *, paths: bool) -> Any:
    """A value as plain Python has it: numpy's numbers and arrays, torch's devices, and paths where none is meant."""
    kind = type(value)
    if kind.__module__ == "numpy":
        return value.tolist()
    if isinstance(value, os.PathLike):
        return Path(value) if paths else os.fspath(value)
    if (kind.__module__, kind.__name__) == ("torch", "device"):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(one, paths=paths) for key, one in value.items()}
    if isinstance(value, (Set, Iterator)):
        return [_plain(one, paths=paths) for one in value]
    if kind in (list, tuple):
        return kind(_plain(one, paths=paths) for one in value)
    return value


def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a hint is, and what it is made of; what explains it is left out."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    return _parts(parts[0]) if origin is Annotated else (types.UnionType if origin is typing.Union else origin, parts)


def _leaves(hint: Any) -> Iterator[Any]:
    """The types that a hint is made of."""
    origin, parts = _parts(hint)
    yield origin
    for part in parts:
        yield from _leaves(part)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a hint says. An empty word is none: it would mean the default, or this folder."""
    origin, parts = _parts(hint)
    if origin is Any:
        return True
    if origin is types.UnionType:
        return any(_fits(value, part) for part in parts)
    if origin in (int, float):
        return isinstance(value, (int, origin)) and not isinstance(value, bool)
    if origin is str:
        return isinstance(value, str) and bool(value.strip())
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(one, part) for pair in value.items() for one, part in zip(pair, parts, strict=True)
        )
    if origin in (Sequence, Iterable):
        listed = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        return listed and all(_fits(one, parts[0]) for one in value)
    return isinstance(value, origin)


_WORDS = {
    bool: "True or False", int: "a whole number, such as 1", float: "a number, such as 0.5", str: "a name",
    Callable: "a function", Sequence: "a list", Iterable: "a list", Mapping: "a dict",
}  # fmt: skip


def _words(hint: Any) -> str:
    """What a hint says, for people."""
    if typing.get_origin(hint) is Annotated:
        return next((word for word in hint.__metadata__ if isinstance(word, str)), None) or _words(hint.__origin__)
    origin, parts = _parts(hint)
    if origin is types.UnionType:
        return " or ".join(_words(part) for part in parts if part is not types.NoneType)
    return _WORDS.get(origin) or f"a {origin.__name__}"


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
    """The names as a tuple, each once. In a single string commas part them, but for options.

    So "a,option=value,b" are two, and "one=a,other=b" as well.
    """
    if given is None or not isinstance(given, str):
        return tuple(dict.fromkeys(given or ()))
    names: list[str] = []
    for piece in filter(None, map(str.strip, given.split(","))):
        if "=" in piece and names and "=" not in names[-1].partition(",")[0]:
            names[-1] += f",{piece}"
        else:
            names.append(piece)
    return tuple(dict.fromkeys(names))


def said_once(said: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What was said, by name. Raises UserError where two different things were said of one name."""
    known: dict[str, Any] = {}
    for name, value in said:
        before = known.setdefault(name, value)
        if before is not value and before != value:
            raise UserError(f"{name} is given twice, as {known[name]} and as {value}. Give it once.")
    return known


def _with_arguments(doc: str, explained: Mapping[str, str]) -> str:
    """Add a section for the arguments to a docstring, before its section "Raises"."""
    lines = [textwrap.fill(f"{name}: {text}", 112, initial_indent=" " * 4, subsequent_indent=" " * 8)
             for name, text in explained.items()]  # fmt: skip
    before, raises, after = doc.partition("\nRaises:")
    return f"{before.rstrip()}\n\nArgs:\n" + "\n".join(lines) + (f"\n{raises}{after}" if raises else "\n")
