"""Checking: whether the variants in a user's own files do what frugan needs. Takes seconds and needs no data.

Each public file here is the contract of one axis: a list of requirements, in the order in which they are checked. The
contract tests run the same requirements over everything that is registered. So frugan's own variants and a user's
variants must meet exactly the same requirements.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import owncode, registry, terminal
from frugan.arguments import Code, File, strict
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.checking._contract import Contract, Finding
    from frugan.checking._ground import Ground

PATIENCE = 5.0
"""Seconds after which people are told how far it is, and so often again."""


@dataclass(frozen=True)
class Report:
    """The result of checking some files: a finding for each variant and requirement.

    Attributes:
        code: the files.
        findings: one for each variant and requirement, in order.
    """

    code: Sequence[Path]
    findings: Sequence[Finding]

    @property
    def kept(self) -> bool:
        """Whether all requirements are met."""
        return not self.missing

    @property
    def missing(self) -> list[Finding]:
        """The findings that the user has to mend."""
        return [one for one in self.findings if one.state == "missing"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``{"code", "kept", "findings": [{"kind", "name", "requirement", "state", "words", "where"}]}``."""
        return {
            "code": [str(path) for path in self.code], "kept": self.kept,
            "findings": [asdict(one) for one in self.findings],
        }

    def show(self) -> None:
        """Print a table with a line for each variant and requirement, then say in words what to mend."""
        from rich.table import Table
        from rich.text import Text

        console, before = terminal.console(), ("", "")
        styles = {"ok": "green", "missing": "bold red", "note": "yellow", "not asked": "dim"}
        table = Table(box=None, pad_edge=False)
        for column in ("variant", "requirement", "", ""):
            table.add_column(column, overflow="fold", no_wrap=column == "requirement")
        for one in self.findings:
            variant = (one.kind, one.name)
            where = f" See {one.where}." if one.state == "missing" else ""
            table.add_row(
                Text(" ".join(variant) if variant != before else ""), one.requirement,
                Text(one.state, style=styles[one.state]), Text(one.words + where),
                end_section=False,
            )
            before = variant
        console.print(table)
        console.print(self.summary)

    @property
    def summary(self) -> str:
        """One line that says how many requirements are met."""
        variants = len({(one.kind, one.name) for one in self.findings})
        asked = sum(one.state != "not asked" for one in self.findings)
        broken = len(self.missing)
        count = f"{broken} of {asked} requirements are not kept" if broken else f"All {asked} requirements are kept"
        return f"{count} by {variants} variant{'s' if variants > 1 else ''}."


@strict
def check(*code: File, say: Callable[[str], None] | None = None) -> Report:
    """Check everything that these files of yours add, on small data made for the check.

    Args:
        code: Python files, as for ``--code``.
        say: called with a line that tells the progress, every five seconds. If left out, the line is printed to stderr.

    Raises UserError if no file is given, a file cannot be read, or the files add nothing.
    """
    if not code:
        raise UserError("Name the file to check: frugan check my.py, in Python frugan.check(\"my.py\").")
    wanted = added_by(list(code))
    from frugan.checking._ground import open_ground

    files = [one.path for one in owncode.load(list(code))]
    pace = _Pace(say or terminal.tell, len(wanted))
    with open_ground(files) as ground:
        checked = [_check_parts(contract, name, ground, pace) for contract, name in wanted]
        _check_in_two_processes(checked, ground, pace)
    return Report(files, [finding for one in checked for finding in one.findings])


def added_by(code: Code) -> list[tuple[Contract, str]]:
    """The variants that the files add, each with its contract. Raises UserError if they add nothing."""
    files = owncode.load(code)
    origins = [str(path) for one in files for path in (one.path, *(one.path.parent / name for name in one.beside))]
    known = {contract.kind: contract for contract in contracts()}
    pairs = registry.added(origins)
    if not pairs:
        listed = ", ".join(str(one.path) for one in files)
        raise UserError(
            f"{listed} adds no variant. A file adds one by calling add of its axis, e.g. games.add(\"mine\", "
            "Variant(Mine, order)). docs/extending.md shows each kind."
        )
    return [(known[kind], name) for kind, name in pairs]


def contracts() -> tuple[Contract, ...]:
    """The contract of every axis."""
    from frugan.checking import (
        augmentations,
        families,
        first_weights,
        games,
        kernels,
        losses,
        metrics,
        networks,
        observers,
        optimisers,
        penalties,
        readers,
        recipes,
        schedules,
        views,
    )

    modules = (
        families, networks, first_weights, games, losses, penalties, augmentations, optimisers, schedules, observers,
        metrics, views, readers, recipes, kernels,
    )  # fmt: skip
    return tuple(module.CONTRACT for module in modules)


@dataclass
class _Checked:
    """One variant: what requirements are asked of (part by part), and what came of them."""

    contract: Contract
    parts: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)


class _Pace:
    """Says how far it is, if it takes longer than people like to wait."""

    def __init__(self, say: Callable[[str], None], variants: int) -> None:
        self.say, self.variants, self.begun = say, variants, 0
        self.start = self.last = time.monotonic()

    def say_now_and_then(self, line: str) -> None:
        """Say a line with the seconds so far, unless another line was said just before."""
        if time.monotonic() - self.last >= PATIENCE:
            self.last = time.monotonic()
            self.say(f"{self.last - self.start:.0f} s: {line}")


def _check_parts(contract: Contract, name: str, ground: Ground, pace: _Pace) -> _Checked:
    from frugan.checking._contract import check_variant

    checked = _Checked(contract, {part: contract.open(part, ground) for part in contract.parts(name)})
    pace.begun += 1
    for part, variant in checked.parts.items():
        for one in check_variant(contract, part, variant):
            checked.findings.append(one)
            where = f"variant {pace.begun} of {pace.variants}"
            pace.say_now_and_then(f"{one.kind} '{one.name}', {one.requirement} ({where})")
    return checked


def _check_in_two_processes(checked: Sequence[_Checked], ground: Ground, pace: _Pace) -> None:
    """Play in two processes what has something to share, if one process could play it."""
    from frugan.checking._contract import name_of
    from frugan.checking._pairs import compare_processes
    from frugan.checking._runs import plays_a_round

    played = name_of(plays_a_round)
    shared = [
        one for one in checked
        if all(finding.state == "ok" for finding in one.findings if finding.requirement == played)
        and all(one.contract.shared(variant) for variant in one.parts.values())
    ]
    if not shared:
        return
    pace.say_now_and_then("now in two processes")
    variants = [(one.contract.kind, variant) for one in shared for variant in one.parts.values()]
    for one, finding in zip(shared, compare_processes(variants, ground), strict=True):
        one.findings.append(finding)
