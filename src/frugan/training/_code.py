"""The user's own Python files of a run. They are executed before anything is built, and the run keeps their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from frugan import owncode
from frugan.arguments import File
from frugan.owncode import Code, CodeFile
from frugan.recipe import Recipe

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder


def run_code(
    folder: File | None, init: Iterable[File], code: Code | None, *, trust_code: bool
) -> tuple[CodeFile, ...]:
    """Execute all code that a run or comparison in `folder` needs, each file once, and return the files.

    They are the files that the folder names (if it was begun before), the files of the runs in `init` (whose weights
    the run starts from), and the files that the user names. Raises UserError for code that is missing or not allowed.
    """
    if folder is None:
        own = owncode.load(code)
    else:  # `check` tells the user if the code has changed
        own = owncode.load_of(folder, code, trust_code=trust_code, say=lambda line: None)
    files = {one.path: one for one in own}
    for place in dict.fromkeys(init):
        files |= {one.path: one for one in owncode.load_of(place, code, trust_code=trust_code)}
    return tuple(files.values())


def inits_of(recipes: Iterable[Recipe]) -> list[str]:
    """The paths of the artefacts and runs whose weights these recipes' networks start from."""
    return [spec.init for recipe in recipes for spec in recipe.networks.values() if spec.init is not None]


def check(folder: RunFolder, code: Sequence[CodeFile], allow_changed: bool) -> None:
    """Raise UserError if a run is continued with other code than it was begun with, unless a change is allowed.

    A run without a checkpoint begins anew, so it may have any code.
    """
    from frugan.engine import checkpoint

    if folder.exists() and checkpoint.newest(folder.checkpoints) is not None and not allow_changed:
        owncode.refuse_changes(owncode.named_in(folder.path), code, str(folder.path))


def keep(folder: RunFolder, code: Sequence[CodeFile], images: int) -> None:
    """Write to the run which code it is continued with, and what changed in the code after how many `images`."""
    facts = folder.read_json(folder.facts)
    changed, now = owncode.changes(owncode.named_in(folder.path), code), [one.as_dict() for one in code]
    if changed:
        facts["code_changes"] = [*facts.get("code_changes", ()), {"images": images, "changes": changed}]
        owncode.tell(f"{folder.path} continues with changed code: {'; '.join(changed)}. The run records it.")
    if changed or facts.get("code") != now:
        folder.write_json(folder.facts, {**facts, "code": now})
