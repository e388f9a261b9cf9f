"""The user's own code of a run: run before anything is built, refused where it has changed, written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frugan import owncode
from frugan.owncode import Code, CodeFile
from frugan.recipe import Recipe

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder


def run_code(
    folder: str | Path | None, init: Iterable[str | Path], code: Code | None, *, trust_code: bool
) -> tuple[CodeFile, ...]:
    """Run all code that a run or comparison in `folder` takes, each file once, and return it.

    That is what the folder names if it was begun before, what the runs `init` name, whose weights are begun with, and
    what the user names. Raises UserError for code that is not there or not allowed.
    """
    if folder is None:
        own = owncode.load(code)
    else:  # whoever continues with other code hears of it in `check`
        own = owncode.load_of(folder, code, trust_code=trust_code, say=lambda line: None)
    found = {one.path: one for one in own}
    for place in dict.fromkeys(init):
        found |= {one.path: one for one in owncode.load_of(place, code, trust_code=trust_code)}
    return tuple(found.values())


def inits_of(recipes: Iterable[Recipe]) -> list[str]:
    """The artefacts and runs whose weights the networks of these recipes begin with."""
    return [spec.init for recipe in recipes for spec in recipe.networks.values() if spec.init is not None]


def check(folder: RunFolder, code: Sequence[CodeFile], allow_changed: bool) -> None:
    """Refuse to continue a run with other code than it was begun with, unless that is allowed. Raises UserError.

    As long as there is no checkpoint, nothing is continued.
    """
    from frugan.engine import checkpoint

    if folder.exists() and checkpoint.newest(folder.checkpoints) is not None and not allow_changed:
        owncode.refuse_changes(owncode.named_in(folder.path), code, str(folder.path))


def keep(folder: RunFolder, code: Sequence[CodeFile], images: int) -> None:
    """Write down with which code a run is continued after so many `images`, and what has changed in it since."""
    facts = folder.read_json(folder.facts)
    changed, now = owncode.changes(owncode.named_in(folder.path), code), [one.as_dict() for one in code]
    if changed:
        facts["code_changes"] = [*facts.get("code_changes", ()), {"images": images, "changes": changed}]
        owncode.tell(f"{folder.path} goes on with other code, which is written down in it: {'; '.join(changed)}.")
    if changed or facts.get("code") != now:
        folder.write_json(folder.facts, {**facts, "code": now})
