"""What a contract is: a list of requirements, each a function that looks at one variant and raises if it is not kept.

The contract tests run these same functions over everything that is registered, `frugan check` over a user's own. A
requirement has the name of its function, and says where its contract is written down.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

import torch

from frugan.checking._ground import Ground
from frugan.registry import UserError

State = Literal["ok", "missing", "note", "not asked"]


class NotKept(Exception):
    """A requirement is not kept; the text says what was found and what to do."""


class Remark(Exception):
    """A requirement is met, but there is something to know about it; the text says what."""


class NotAsked(Exception):
    """A requirement does not concern this variant; the text says why."""


@dataclass(frozen=True)
class Finding:
    """The result of checking one requirement.

    Attributes:
        kind, name: of the variant, e.g. "game" and "patient".
        requirement: its name as words.
        state: "ok", "missing" (to be mended), "note" (to be known) or "not asked" (it does not concern this variant).
        words: what was found and what to do; empty if all is well.
        where: where the contract is written down.
    """

    kind: str
    name: str
    requirement: str
    state: State
    words: str
    where: str


@dataclass(frozen=True)
class Requirement:
    """One thing that a variant must do.

    Attributes:
        check: called with the variant, as the contract's `open` gives it; raises `NotKept`, `Remark`, `NotAsked`, or
            whatever the variant raises.
        where: where the contract is written down, e.g. ``frugan.games, Game.step``.
        after: the requirements that must be met before this one can be checked.
    """

    check: Callable[[Any], None]
    where: str
    after: tuple[Callable[[Any], None], ...] = ()

    @property
    def name(self) -> str:
        """The name of its function as words."""
        return name_of(self.check)


def name_of(check: Callable[[Any], None]) -> str:
    """A function's name as words."""
    assert isinstance(check, FunctionType)
    return check.__name__.replace("_", " ")


@dataclass(frozen=True)
class Contract:
    """What every variant of one kind must do.

    Attributes:
        kind: as the registry calls it, e.g. "game".
        names: every known variant.
        open: (name, ground) -> the object that the requirements check. Making it computes nothing that could fail.
        parts: name -> the names of its parts for `open`, where a variant is checked part by part.
        shared: whether several processes share something of this kind, so that it is also checked in two processes.
    """

    kind: str
    names: Callable[[], list[str]]
    open: Callable[[str, Ground], Any]
    requirements: tuple[Requirement, ...] = field(repr=False)
    parts: Callable[[str], list[str]] = lambda name: [name]
    shared: Callable[[Any], bool] = lambda variant: False


def check_variant(contract: Contract, name: str, variant: Any) -> Iterator[Finding]:
    """Check every requirement of one variant, in order. One that waits for another requirement says for which."""
    kept: dict[Callable[[Any], None], bool] = {}
    for requirement in contract.requirements:
        waits = [name_of(check) for check in requirement.after if not kept.get(check, True)]
        finding = (
            Finding(contract.kind, name, requirement.name, "not asked", f"first mend: {waits[0]}", requirement.where)
            if waits else check_requirement(contract.kind, requirement, variant, name)
        )  # fmt: skip
        kept[requirement.check] = not waits and finding.state != "missing"
        yield finding


def check_requirement(kind: str, requirement: Requirement, variant: Any, name: str) -> Finding:
    """Check one requirement and return the finding."""
    state, words = _outcome(requirement, variant)
    return Finding(kind, name, requirement.name, state, words, requirement.where)


def _outcome(requirement: Requirement, variant: Any) -> tuple[State, str]:
    with _undisturbed():
        try:
            requirement.check(variant)
        except NotKept as error:
            return "missing", str(error)
        except Remark as error:
            return "note", str(error)
        except NotAsked as error:
            return "not asked", str(error)
        except UserError as error:
            return "missing", str(error)
        except (Exception, SystemExit) as error:
            return "missing", describe_error(error)
    return "ok", ""


def describe_error(error: BaseException) -> str:
    """Describe an error in one line: its class, its message, and the line of the user's file that caused it."""
    places = traceback.extract_tb(error.__traceback__)
    home = Path(__file__).parents[1]
    own = [place for place in places if home not in Path(place.filename).parents and "/torch/" not in place.filename]
    place = (own or places)[-1]
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}{f': {message}' if message else ''}"
    return f"raises {text} ({Path(place.filename).name}, line {place.lineno}, in {place.name})"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, random numbers begin at the same place each time; what is outside is as it was afterwards."""
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        torch.set_grad_enabled(True)
        try:
            yield
        finally:
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)


def find_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> str | None:
    """The first name whose tensors differ in any bit between two states; None if the states are the same."""
    for name in sorted(one.keys() ^ other.keys()):
        return name
    return next((name for name, tensor in one.items() if not torch.equal(tensor, other[name])), None)
