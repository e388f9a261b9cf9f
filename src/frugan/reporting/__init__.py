"""Reports: one self-contained HTML file for a run, a comparison of runs, or a search by ``frugan fit``.

A page is made from the files in the folder: a run's recipe, facts, log and values, or a comparison's
``comparison.json``. Only pictures are made anew, with the weights in the folder.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from frugan import files, owncode
from frugan.arguments import File, strict
from frugan.owncode import Code
from frugan.registry import UserError
from frugan.reporting._comparison import comparison_page
from frugan.reporting._fit import fit_page, fit_sayings
from frugan.reporting._run import run_page
from frugan.reporting._tables import (
    VERSION,
    main_table,
    metrics_table,
    protocol_line,
    read_comparison,
    sayings,
    short_table,
)  # fmt: skip

__all__ = [
    "VERSION", "fit_sayings", "main_table", "metrics_table", "protocol_line", "read_comparison", "report", "sayings",
    "short_table",
]  # fmt: skip


@strict
def report(
    path: File, *, out: File | None = None, code: Code | None = None, trust_code: bool = False,
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write the page about a run, a comparison or a search, and return its path.

    Args:
        out: the file to write. If left out: ``report.html`` in the folder, where an older one is replaced.
        overwrite: replace `out`.
        code: your files that add the families or networks used; a run remembers its own.
        trust_code: run the code that a run names even if you have not run it on this machine.

    Raises:
        UserError: `path` is none of them, or it names code that is not allowed.
    """
    from frugan.engine.run import RunFolder

    folder = Path(path)
    if out is not None and Path(out).exists() and not overwrite:
        raise UserError(f"{out} exists. Give another --out, or --overwrite.")
    own = [one.path for one in owncode.load_of(folder, code, trust_code=trust_code)]
    for one in folder.glob("runs/*/*"):  # which may have begun with other code, as the page says
        owncode.load_of(one, own, trust_code=trust_code, say=lambda line: None)
    if (folder / "comparison.json").is_file():
        name, values = comparison_page(folder)
    elif (folder / "recipe.json").is_file():
        name, values = run_page(folder)
    elif (folder / "fit.json").is_file():
        search = files.read_json(folder / "fit.json")
        files.check(search, dict, str(folder / "fit.json"))
        if "winner" not in search:
            raise UserError(f"The search in {folder} is not finished. Run the same frugan fit again.")
        name, values = fit_page(folder)
    elif (folder / "plan.json").is_file():
        raise UserError(f"The comparison in {folder} is not finished. Run the same frugan compare again.")
    else:
        raise UserError(
            f"{folder} is neither a run (recipe.json) nor a comparison (comparison.json) nor a search (fit.json)."
        )
    page = RunFolder(folder).report if out is None else Path(out)  # a comparison's is named as a run's is
    try:
        files.write(page, _rendered(name, values))
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {page} ({error.strerror or error}). Write it elsewhere: frugan report "
            f"{shlex.quote(str(folder))} --out FILE.html"
        ) from None
    return page


def _rendered(name: str, values: dict[str, Any]) -> str:
    import jinja2

    from frugan import __version__

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    return environment.get_template(name).render(version=__version__, **values)
