"""Fitting: a budget goes in, a trained and exported generator comes out.

A search's folder holds

    fit.json             what was asked, every candidate with what it takes, the values of each stage, and what won
    runs/CANDIDATE/run   each run, a folder of its own (`run.txt` beside it is what it printed)
    shipped/             the winner, exported
    report.html          the same for people

Candidates are the recipe's network in other families, widths and depths. First they are built, exported and timed
untrained, in the runtime that will run the winner; that takes seconds each. Only those inside the budget are trained,
those of the largest capacity first, by successive halving. The same command continues a search that was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugan import reporting, terminal
from frugan.arguments import taking
from frugan.fitting.arguments import FitArguments

__all__ = ["Fit", "fit"]


@dataclass(frozen=True)
class Fit:
    """A finished search: its folder and what ``fit.json`` holds."""

    folder: Path
    data: dict[str, Any]

    @property
    def shipped(self) -> Path:
        """The folder of the exported winner."""
        return self.folder / "shipped"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def words(self) -> list[str]:
        """What came out, a line each."""
        return reporting.fit_sayings(self.data)


@taking(FitArguments)
def fit(asked: FitArguments) -> Fit:
    """Search for the best generator inside a budget of latency and size, train it, and export it.

    If `out` holds a search that was begun, it is continued.

    Raises:
        UserError: before anything is trained: unknown names, budgets that cannot be read, and if nothing fits (it says
            what is nearest). Later: every candidate failed, or the minutes are too few.
    """
    from frugan.fitting._searching import search

    done = Fit(*search(asked))
    if not asked.quiet:
        for line in [*done.words(), f"Report: {done.report}"]:
            terminal.say(line)
    return done
