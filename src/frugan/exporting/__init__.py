"""Exporting: what a run ships, written for other software. `export` does it, and each way to write is a *target*.

A target is one file here, named as typed after ``--to``, with a `Target` called `variant` in it. `Target.write` is
called as ``write(parcel, folder, **options)``:

- `parcel`, a `Parcel`, is what is to be written: the trained network of one role, opened by `frugan.artefact`, with the
  names, shapes and ranges of its inputs and outputs (`parcel.inputs`, `parcel.outputs`). `parcel.prepared()` is the
  network for inference: a module that takes the inputs in this order and gives the outputs in this order, its batch
  norms folded. `parcel.examples(count)` are inputs that are always the same, `parcel.expected(inputs)` is what the
  artefact itself makes of them, and `parcel.description()` is all of this as JSON.
- `folder` is empty. Whatever it holds when `write` returns is what the user gets; if `write` raises, nothing remains.
- It must prove that what it wrote computes the same: ``parcel.compare(run)`` calls `run` with `EXAMPLES` inputs as
  arrays, compares the outputs, and returns a `Parity`. It raises UserError where they differ by more than `TOLERANCE`.
- It returns a `Written`: the `Parity`, the description as it was stored, and lines to print.

Keyword-only arguments of `write` with a default are options, typed as key=value: ``--to onnx bytes=true``. A target
that needs packages of the extra ``export`` gets them by `needed`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frugan import files, owncode
from frugan.arguments import File, Name, strict
from frugan.exporting._checking import Checked as Checked
from frugan.exporting._checking import check_file as check_file
from frugan.exporting._parcel import EXAMPLES as EXAMPLES
from frugan.exporting._parcel import TOLERANCE as TOLERANCE
from frugan.exporting._parcel import Input as Input
from frugan.exporting._parcel import Output as Output
from frugan.exporting._parcel import Parcel as Parcel
from frugan.exporting._parcel import Parity as Parity
from frugan.exporting._runtimes import RuntimeCost as RuntimeCost
from frugan.exporting._runtimes import check_runtime as check_runtime
from frugan.exporting._runtimes import in_runtime as _in_runtime
from frugan.files import expanded
from frugan.owncode import Code
from frugan.registry import Registry, UserError, check_options, declared, options_of

registry = Registry("export target", "frugan.exporting")
names = registry.names

PLACES = ("phone",)
"""Where a file may be meant to run, with limits of its own: ``--for phone``."""


@dataclass(frozen=True)
class Written:
    """What a target wrote.

    Attributes:
        parity: how far its numbers are from the artefact's.
        description: what is stored beside the weights (`Parcel.description`, and what the target adds).
        notes: lines to print, e.g. how it was made faster.
    """

    parity: Parity
    description: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """One way to write a trained network; see the top of this module.

    `what` says in a few words what is written.
    """

    name: str
    what: str
    write: Callable[..., Written]

    def options(self) -> dict[str, Any]:
        """Its options and their defaults."""
        return options_of(self.write)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the target takes them. Raises UserError for one that it does not have, or a value of another
        kind."""
        return check_options(f"The export target '{self.name}'", given, declared(self.write))


@dataclass(frozen=True)
class Exported:
    """What `export` made: the files, with their sizes in bytes, in the folder `path`; and what the target says."""

    path: Path
    files: Mapping[Path, int]
    written: Written

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without the example, which is long."""
        facts = {key: value for key, value in self.written.description.items() if key != "example"}
        return {
            "path": str(self.path), "files": {str(file): size for file, size in self.files.items()},
            "parity": asdict(self.written.parity), "notes": list(self.written.notes), "description": facts,
        }

    def __str__(self) -> str:
        sizes = [f"{file}: {size:,} bytes" for file, size in self.files.items()]
        return "\n".join([*self.written.notes, f"parity: {self.written.parity}", *sizes])


@strict
def find(name: Name) -> Target:
    """The target called `name`, with dashes or underscores. Raises UserError with the nearest name if there is none."""
    return registry.find(name.replace("-", "_"))


def add(name: str, target: Target) -> Target:
    """Make a target of one's own known under `name`."""
    return registry.add(name, target)


def needed(*packages: str) -> list[Any]:
    """Import packages of the extra ``export``. Raises UserError with what to type if one is not installed."""
    try:
        return [importlib.import_module(package) for package in packages]
    except ModuleNotFoundError as error:
        raise UserError(
            f"This needs the package {error.name}, which is not installed. Type: pip install 'frugan[export]'"
        ) from None


def in_runtime(networks: Mapping[str, Any], runtime: str, **how: Any) -> dict[str, RuntimeCost]:
    """What networks, as `frugan.load` gives them, cost in the runtime "onnxruntime"; see `RuntimeCost`.

    They are exported with first or trained weights, and timed in turn.

    Args:
        **how: ``threads``, ``batches``, ``peaks`` and ``skipped``, as `_runtimes.in_runtime` explains them.
    """
    return _in_runtime(find("onnx").write, networks, runtime, **how)


@strict
def export(
    run: File, to: Name = "onnx", *, out: File, role: Name | None = None, place: Name | None = None,
    truncation: float | None = None, code: Code | None = None, trust_code: bool = False, overwrite: bool = False,
    **options: Any,
) -> Exported:  # fmt: skip
    """Write what a run ships for other software, and prove that it computes the same.

    Args:
        run: a run folder or an artefact.
        to: the target's name.
        out: the folder to write to.
        role: which network of the run: generator, translator, translator_ba, encoder, classifier. If left out: the
            main one.
        place: "phone" leaves out what runtimes on phones do not take; see `PLACES`.
        truncation: of a generator: the latents it is meant for are cut off at this value. See `Generator.sample`.
        code, trust_code: as for `frugan.load`.
        overwrite: replace files that are in `out`.
        **options: those of the target, e.g. ``bytes=True``.

    Raises UserError if there is nothing to export, if an option is wrong, if something is at `out` already, if a layer
    has no form in the target, or if what was written computes something else; OSError if `out` cannot be written.
    Nothing is left at `out` then.
    """
    from frugan import artefact

    owncode.load_of(run, code, trust_code=trust_code)
    target = find(to)
    options = target.check(options)
    if place is not None and place not in PLACES:
        raise UserError(f"--for {place} is unknown. Accepted: {', '.join(PLACES)}.")
    folder = _free(Path(out), overwrite)
    parcel = Parcel.of(artefact.open_shipped(run, role=role), place, truncation)
    with files.folder(folder) as new:
        written = target.write(parcel, new, **options)
        made = [path.relative_to(new) for path in sorted(new.rglob("*")) if path.is_file()]
    return Exported(folder, {folder / file: (folder / file).stat().st_size for file in made}, written)


def _free(out: Path, overwrite: bool) -> Path:
    """`out`, if an export may be written there. Raises UserError otherwise."""
    out = expanded(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; an export is a folder. Give another --out.")
    if out.exists() and not files.is_empty(out) and not overwrite:
        raise UserError(f"{out} is not empty. Give another --out, or --overwrite.")
    return out
