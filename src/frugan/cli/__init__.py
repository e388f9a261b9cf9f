"""The command line: one thin function per verb, in files by what they are for.

Nothing here imports torch before a verb needs it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff

from frugan import memory, stopping, terminal
from frugan.arguments import in_range
from frugan.cli import _exploring
from frugan.cli._arguments import at_home, check_words, is_key, options_last
from frugan.cli._checking import check
from frugan.cli._comparing import compare, demo, plan
from frugan.cli._judging import bench, cost, evaluate, print_first_lines, probe, report
from frugan.cli._making import check_export, classify, export, fit, print_targets, sample, train, translate
from frugan.cli._reading import with_arguments
from frugan.cli._recipes import print_keys, recipes
from frugan.cli._sources import data_check, data_convert_weights, data_list, data_pack, data_show
from frugan.registry import UserError

_EXAMPLES = """

A first run, without any download:   frugan demo
A folder of your own pictures:       frugan train --data photos/ --minutes 20
The same by hand:                    frugan train mnist --data glyphs --images 60k --out runs/first
Twins, side by side:                 frugan compare mnist --families standard,factorised --data glyphs --out runs/twins
"""

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo, "recipes": recipes, "train": train, "sample": sample, "translate": translate, "classify": classify,
    "evaluate": evaluate, "probe": probe, "compare": compare, "plan": plan, "report": report, "cost": cost,
    "bench": bench, "check": check, "fit": fit, "export": export, "check-export": check_export,
}
DATA_VERBS: dict[str, Callable[..., None]] = {
    "list": data_list, "show": data_show, "check": data_check, "pack": data_pack,
    "convert-weights": data_convert_weights,
}
EXPLORE_VERBS: dict[str, Callable[..., None]] = {
    "grid": _exploring.grid, "walk": _exploring.walk, "arithmetic": _exploring.arithmetic,
    "directions": _exploring.directions, "truncation": _exploring.truncation, "project": _exploring.project,
    "film": _exploring.film,
}
GROUPS = {
    "explore": (EXPLORE_VERBS, "Latent experiments: grid, walk, arithmetic, directions, truncation, project, film."),
    "data": (DATA_VERBS, "Sources of images: list, show, check, pack."),
}
"""Verbs that have verbs of their own, and their line in the list of all."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a verb, or its help. After a UserError it prints one line and ends with exit code 2."""
    with stopping.listening(), terminal.printing():
        try:
            _check_here()
            given = [at_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
            with memory.enough():
                _dispatch(given, own_process=arguments is None)
            sys.stdout.flush()
        except UserError as error:
            terminal.tell(f"frugan: {error}")
            sys.exit(error.code)
        except KeyboardInterrupt:
            terminal.tell("frugan: interrupted.")
            sys.exit(130)
        except BrokenPipeError:
            sys.exit(0)
        except OSError as error:
            terminal.tell(f"frugan: {_told(error)}")
            sys.exit(2)


def _check_here() -> None:
    """Raise UserError if the current folder is gone: libraries end the program where they look for it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("The current folder was deleted. Change to one that is there: cd ~") from None


def _told(error: OSError) -> str:
    """What the system refused and where, in one line. (Verbs say it better wherever it is foreseen.)"""
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{where or terminal.OUTPUT}: {error.strerror or error}. Check the path, its permissions and the free space."


def _dispatch(given: list[str], own_process: bool) -> None:
    verbs, prog = VERBS, "frugan"
    if given and given[0] in GROUPS:
        verbs, prog, given = GROUPS[given[0]][0], f"frugan {given[0]}", given[1:]
    if not given or given[0] in ("-h", "--help"):
        _print_verbs(verbs, prog)
        return
    if given[0] == "--version":
        from frugan import __version__

        print(__version__)
        return
    verb, rest = given[0], given[1:]
    check_words(rest)
    if verb not in verbs:
        from frugan.registry import suggest

        raise UserError(f"There is no verb '{verb}'. {suggest(verb, [*verbs, *(GROUPS if verbs is VERBS else [])])}")
    if own_process and not {"-h", "--help"} & set(rest):
        memory.keep()
        memory.hold()
    typed = with_arguments(verbs[verb])

    @functools.wraps(typed)
    def plainly(**given: Any) -> None:
        with terminal.printing():
            typed(**in_range(given, typed))

    try:
        with terminal.printing(escapes=not sys.stdout.isatty()):  # help has colours on a terminal
            tyro.cli(
                plainly, args=options_last(rest, typed), prog=f"{prog} {verb}", use_underscores=False,
                config=(FlagCreatePairsOff, DisallowNone),
            )
    except SystemExit as stop:
        helped = stop.code in (0, None) and bool({"-h", "--help"} & set(rest))
        if verb == "train" and helped and not (rest[0].startswith("-") or is_key(rest[0])):
            print_keys(rest)
        if verb == "evaluate" and helped:
            print_first_lines()
        if verb == "export" and stop.code in (0, None) and {"-h", "--help"} & set(rest):
            print_targets()
        raise


def _print_verbs(verbs: dict[str, Callable[..., None]], prog: str) -> None:
    print(f"usage: {prog} VERB ...\n")
    if verbs is VERBS:
        print("Small, fast, honestly compared GAN image generators.\n")
    listed = {verb: (function.__doc__ or "").strip().splitlines()[0] for verb, function in verbs.items()}
    if verbs is VERBS:
        listed |= {group: line for group, (_, line) in GROUPS.items()}
    for verb, line in listed.items():
        print(f"  {verb:16} {line}")
    print(f"\n{prog} VERB --help says more." + (_EXAMPLES if verbs is VERBS else ""))
