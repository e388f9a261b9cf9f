"""Launchers: where the runs of a comparison are trained. Each other file here is one, named as users type it.

A launcher gets a `Task` (runs, and what will be measured of them) and the `Workshop` of the comparison, and returns
when all runs are trained or have failed. It does not schedule: that is done by an engine that exists already. What is
common to launchers that reach other machines: they share a disk, a run is a `Work` in a file there, and submitting it
again continues it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugan.arguments import File
from frugan.registry import Registry, UserError, check_options, declared

registry = Registry("launcher", "frugan.comparison.launchers")
names = registry.names

LEFT = 75
"""Exit code of a command that left its runs to others: the same command again collects them."""


@dataclass(frozen=True)
class Launcher:
    """One way to train the runs of a comparison.

    Attributes:
        name: as users type it.
        train: called with a `Task`, the `Workshop`, and its own options. Raises what
            `frugan.comparison.running.jobs.run_jobs` raises.
        check: called with the options before anything is trained. Raises UserError if it cannot be used here.
    """

    name: str
    train: Callable[..., None]
    check: Callable[..., None]


def find(name: str) -> Launcher:
    """The launcher called `name`. Raises UserError with the nearest name if there is none."""
    return registry.find(name)


def add(name: str, launcher: Launcher) -> Launcher:
    """Make a launcher of your own known under `name`."""
    return registry.add(name, launcher)


def read_options(name: str, given: File | Mapping[str, Any] | None) -> dict[str, Any]:
    """The options for the launcher called `name`: a mapping, or what a TOML file holds.

    Raises UserError for an unknown launcher, a file that cannot be read, or an option that the launcher does not have.
    """
    launcher, where = find(name), ""
    if given is None or isinstance(given, Mapping):
        options = dict(given or {})
    else:
        where = f"{given}: "
        try:
            options = tomllib.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"--launcher-options {given} cannot be read ({error}). Give a TOML file, with lines like: cpus = 4"
            ) from None
    return check_options(f"{where}The launcher '{name}'", options, declared(launcher.train))


def needed(package: str, extra: str) -> Any:
    """A package that a launcher is built on. Raises UserError that says what to install if it is not there."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"The launcher '{extra}' needs the package {package}, which cannot be imported ({error}). "
            f"Type: pip install 'frugan[{extra}]' (in a checkout: pip install '.[{extra}]')"
        ) from None
