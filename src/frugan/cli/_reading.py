"""Verbs whose arguments are a record: how each kind of field is typed, and which value that gives.

The record has the names, the defaults and what each is for.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from tyro.conf import Positional, UseAppendAction, arg

from frugan.cli._arguments import init_of, key_values, listed, whole_numbers


class Kind(NamedTuple):
    """How a kind of value is typed: its type for tyro, and what stands for it in the help.

    `read` takes the option's name and what was typed, and returns the value. `spell` returns a default as it would be
    typed. An option that is `repeated` may be typed several times, with one value each time.
    """

    type: Any
    metavar: str
    read: Callable[[str, Any], Any] = lambda option, value: value
    spell: Callable[[Any], Any] = lambda value: value
    repeated: bool = False


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    return () if text == "none" else whole_numbers(option, text, "0-4, or 0,1,5")


def _spelt(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if isinstance(numbers, range) else ",".join(map(str, numbers))


KINDS = {
    "Name": Kind(str, "NAME"),
    "Names": Kind(str, "A,B,...", lambda option, text: listed(text), lambda names: ",".join(names)),
    "Source": Kind(str, "SOURCE"),
    "File": Kind(str, "PATH"),
    "Code": Kind(tuple[str, ...], "FILE", repeated=True),
    "Count": Kind(str, "N", spell=str),
    "Limit": Kind(str, "X"),
    "WholeNumbers": Kind(str, "A-B", _whole_numbers, _spelt),
    "Arms": Kind(tuple[str, ...], "ARM [ARM ...] [KEY=VALUE ...]"),
    "Observers": Kind(str, "NAME+..."),
    "Init": Kind(str, "[NETWORK=]PATH,...", lambda option, text: init_of(text)),
    "Changes": Kind(tuple[str, ...], "[KEY=VALUE ...]", lambda option, keys: key_values(keys)),
    "int": Kind(int, "N"),
    "Times": Kind(int, "N"),
    "float": Kind(float, "X"),
    "bool": Kind(bool, ""),
    "str": Kind(str, "NAME"),
}
"""By the first word of a field's annotation: the names of `frugan.arguments`, and Python's own."""


def reads(home: str, *, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a verb as one that takes the arguments of the function ``module.function``, except those in `without`.

    They are read when the verb is used, so the help of other verbs need not import its module.
    """

    def mark(verb: Callable[..., None]) -> Callable[..., None]:
        verb.reads = (home, without)  # type: ignore[attr-defined]
        return verb

    return mark


def with_arguments(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the signature that tyro reads: the record's arguments, then the verb's own options."""
    if not hasattr(verb, "reads"):
        return verb
    from frugan.arguments import explanations

    home, without = verb.reads
    module, _, function = home.rpartition(".")
    record = getattr(importlib.import_module(module), function).record
    help_texts = explanations(record)
    kinds: dict[str, Kind] = {}
    parameters = []
    for name, field in inspect.signature(record).parameters.items():
        if name in without:
            continue
        kind = kinds[name] = KINDS.get(str(field.annotation).partition(" | ")[0], KINDS["str"])
        parameters.append(_typed(field, kind, help_texts.get(name, "")))
    own = [one for one in inspect.signature(verb, eval_str=True).parameters.values() if one.kind is one.KEYWORD_ONLY]

    def typed(**given: Any) -> None:
        for name in kinds:
            value = given.pop(name)
            if value is not None:  # what was left out has the record's own default
                given[name] = kinds[name].read(f"--{name.replace('_', '-')}", value)
        verb(**given)

    typed.__doc__, typed.__name__ = verb.__doc__, verb.__name__
    first = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    others = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    typed.__signature__ = inspect.Signature([*first, *others, *own])  # type: ignore[attr-defined]
    typed.__annotations__ = {one.name: one.annotation for one in [*first, *others, *own]}
    return typed


def _typed(field: inspect.Parameter, kind: Kind, text: str) -> inspect.Parameter:
    """A field of the record as tyro takes it. If its default is None, its text says what happens then."""
    several = kind.type == tuple[str, ...]
    positional = (several and not kind.repeated) or field.kind is not field.KEYWORD_ONLY
    metavar = field.name.upper() if positional and not several else kind.metavar
    given = field.default is not field.empty
    optional = given and kind.type is not bool and not several and (field.default is None or field.default == ())
    shown = given and not optional and not several and kind.type is not bool
    hints = {"metavar": metavar or None, "help_behavior_hint": None if shown else ""}
    help_arguments = {"help": text.replace("`", ""), **{key: hint for key, hint in hints.items() if hint is not None}}
    annotation: Any = Annotated[kind.type | None if optional else kind.type, arg(**help_arguments)]
    default = None if optional else () if several and given else kind.spell(field.default) if shown else field.default
    if positional:
        return field.replace(kind=field.POSITIONAL_OR_KEYWORD, annotation=Positional[annotation], default=default)
    return field.replace(annotation=UseAppendAction[annotation] if kind.repeated else annotation, default=default)
