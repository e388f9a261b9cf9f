"""A user's own code: Python files named with ``--code``. They are hashed, and run only if they are allowed.

Every verb takes ``code``, one file or several. `load` runs the files that the user names; `load_of` runs those that a
run or a comparison names, then those that the user names. A run records a `CodeFile` for each:

    path     the file
    hash     SHA-256 of the file and of everything that it imports from its own folder
    beside   those other files, each with the SHA-256 of its content

Files in one folder can import each other by name. The hash covers what an import statement names (in functions too),
and literal names in ``import_module``. It does not cover other files that the code reads.

A file that somebody else's run names could do anything. So it is run only if this user has named a file with the same
hash on this machine before, or allows it with ``trust_code``. Allowed hashes are kept in
``~/.config/frugan/trusted_code``. If a file has changed since it was run in this process and is named again, everything
that it had added is removed, and it is run again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from frugan import files
from frugan.arguments import Code, File, strict
from frugan.owncode import _running, _trust
from frugan.owncode._reading import CodeFile, Read, paths_of, read
from frugan.owncode._running import forget, tell
from frugan.registry import UserError

__all__ = [
    "Code", "CodeFile", "as_it_was_run", "changed_since", "changes", "forget", "listed", "load", "load_of", "named_in",
    "refuse_changes", "tell",
]  # fmt: skip


_as_it_was_run: ContextVar[bool] = ContextVar("as_it_was_run", default=False)


@contextlib.contextmanager
def as_it_was_run() -> Iterator[None]:
    """Inside this context `load` and `load_of` read no files: verbs keep the code that was run when they began."""
    before = _as_it_was_run.set(True)
    try:
        yield
    finally:
        _as_it_was_run.reset(before)


@strict
def load(code: Code | None) -> tuple[CodeFile, ...]:
    """Run the user's own files, so that their variants can be named, and remember their hashes as allowed.

    A file that was already run and has not changed is not run again. Raises UserError if a file is missing, is not a
    Python file, or fails.
    """
    files = [] if _as_it_was_run.get() else [read(path) for path in paths_of(code)]
    for one in files:
        _trust.remember(one.file)
    return tuple(_running.run(one) for one in files)


def load_of(
    folder: File, code: Code | None = None, *, trust_code: bool = False, say: Callable[[str], None] | None = None
) -> tuple[CodeFile, ...]:
    """Run the code that the run or comparison in `folder` names, then the user's own `code`.

    A file of `code` replaces one that the run names if it is the same file, has the same content, or has the same name
    and the other file is gone. If its hash differs from the run's, `say` is called with a line about it; without `say`
    the line is printed.

    Args:
        folder: any folder or file. If it is neither a run nor a comparison, it names no code.
        code: files that the user names.
        trust_code: also run files that this user has never run on this machine.

    Raises:
        UserError: a file that the run names is missing, has changed, or is not allowed. Then nothing is run.
    """
    if _as_it_was_run.get():
        return ()
    given = [read(path) for path in paths_of(code)]
    own: list[Read | None] = []
    for named in named_in(folder):
        instead = _instead_of(named, given)
        if instead is None:
            own += [_running.ran(named.hash) or _as_named(named, folder, given)]
        elif _differs(named, instead.file):
            (say or tell)(f"{folder} was made with other code: {_change(named, instead.file)}.")
    own_files = [one for one in own if one is not None]
    if not trust_code:
        _check_trusted([one.file for one in own_files], folder)
    for one in (*own_files, *given):
        _trust.remember(one.file)
    return tuple(_running.run(one) for one in (*own_files, *given))


def named_in(folder: File) -> list[CodeFile]:
    """The code files that ``run.json`` or ``plan.json`` in `folder` names; none if there is no such file.

    An artefact names none.
    """
    if (Path(folder) / "config.json").is_file():
        return []
    for name in ("run.json", "plan.json"):
        try:
            facts = json.loads(files.read_bytes(Path(folder) / name))
        except (OSError, ValueError):
            continue  # said by whoever needs the file
        return listed(facts.get("code")) if isinstance(facts, dict) else []
    return []


def listed(kept: Any) -> list[CodeFile]:
    """Read the entry "code" of a run or a plan; in earlier formats it is one path, or null.

    Raises UserError for anything else.
    """
    if isinstance(kept, str):
        return [CodeFile(Path(kept).resolve(), "", {})]
    try:
        return [CodeFile(Path(one["path"]).resolve(), str(one["hash"]), dict(one["beside"])) for one in kept or ()]
    except (TypeError, KeyError, ValueError):
        raise UserError(f"The entry \"code\" of the run is not a list of code files: {kept!r}.") from None


def changes(before: Iterable[CodeFile], now: Sequence[CodeFile], *, new: bool = True) -> list[str]:
    """How code differs from before, one line for each file; empty if the contents are equal. Folders do not matter.

    With `new`, an additional file is a difference too.
    """
    lines, left = [], list(now)
    for named in before:
        same = [one for one in left if one.hash == named.hash]
        same = same or [one for one in left if one.path == named.path]
        same = same or [one for one in left if one.path.name == named.path.name]
        if not same:
            lines.append(f"{named.path} is left out")
            continue
        left.remove(same[0])
        if _differs(named, same[0]):
            lines.append(_change(named, same[0]))
    return [*lines, *(f"{one.path} is new ({one.short})" for one in left if new)]


def refuse_changes(before: Iterable[CodeFile], now: Sequence[CodeFile], begun: str) -> None:
    """Raise UserError if the code `now` differs from the code `before`; `begun` names what was begun with it."""
    lines = changes(before, now)
    if lines:
        raise UserError(
            f"{begun} was begun with other code: {'; '.join(lines)}. Undo the change, give another --out, or continue "
            "with the changed code: --allow-changed-code (in Python allow_changed_code=True). The run records it."
        )


def changed_since(files: Iterable[CodeFile]) -> list[str]:
    """Which of these files have changed since they were run, one line for each."""
    lines = []
    for one in files:
        try:
            now = read(one.path).file
        except UserError as error:
            lines.append(str(error))
            continue
        if now.hash != one.hash:
            lines.append(_change(one, now))
    return lines


def _instead_of(named: CodeFile, given: Sequence[Read]) -> Read | None:
    """The file that the user named in place of this one, if any."""
    there = named.path.is_file()
    for one in given:
        if one.file.path == named.path or one.file.hash == named.hash:
            return one
        if one.file.path.name == named.path.name and not there:
            return one
    return None


def _as_named(named: CodeFile, folder: File, given: Sequence[Read]) -> Read | None:
    """The file that a run names, as it was then; None if it is not there, but the user named others."""
    if not named.path.is_file():
        if given:
            return None
        raise UserError(
            f"{folder} needs the code file {named.path}, but it is not there. Say where it is now: --code FILE (in "
            "Python code=)."
        )
    code = read(named.path)
    if _differs(named, code.file):
        raise UserError(
            f"{folder} was made with other code: {_change(named, code.file)}. Undo the change, or use the changed "
            f"code: --code {named.path} (in Python code=)."
        )
    return code


def _check_trusted(files: Sequence[CodeFile], folder: File) -> None:
    """Raise UserError for code that this user never ran, naming every file: --trust-code then allows all of them."""
    new = [
        f"{one.path}{' and, beside it, ' + ', '.join(one.beside) if one.beside else ''}, SHA-256 {one.hash}"
        for one in files if not (_running.ran(one.hash) or _trust.is_remembered(one.hash))
    ]
    if new:
        raise UserError(
            f"{folder} names code that you have never run on this machine: {'; '.join(new)}. It could do anything that "
            "you can do. Read it first; then allow it with --trust-code (in Python trust_code=True)."
        )


def _differs(before: CodeFile, now: CodeFile) -> bool:
    """Whether a file has other content than it had, as far as that is known."""
    return bool(before.hash) and before.hash != now.hash


def _change(before: CodeFile, now: CodeFile) -> str:
    """One file then and now, and which files beside it differ."""
    where = now.path if now.path == before.path else f"{before.path}, now {now.path},"
    apart = sorted(
        name for name in {*before.beside, *now.beside} if before.beside.get(name) != now.beside.get(name)
    )
    beside = f" (beside it {', '.join(apart)})" if apart else ""
    return f"{where} has the hash {now.short} and had {before.short}{beside}"

