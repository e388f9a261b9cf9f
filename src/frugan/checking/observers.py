"""The contract of `frugan.engine.observers`."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from frugan.checking._contract import Contract, NotKept, Requirement, find_difference
from frugan.checking._ground import Ground
from frugan.engine import checkpoint, observers
from frugan.engine.run import RunFolder
from frugan.recipe import Recipe


@dataclass(frozen=True)
class Checked:
    """An observer that is tested against its contract, with its default options."""

    name: str
    ground: Ground

    @functools.cached_property
    def recipe(self) -> Recipe:
        """A small recipe whose run it watches."""
        return self.ground.pair()

    def watched(self) -> tuple[RunFolder, str]:
        """A run that the observer watched, and the lines that were printed meanwhile."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            return self.ground.train(self.recipe, 4, observers=self.name), said.getvalue()


def looks_and_goes_on(observer: Checked) -> None:
    """It can be made for a run, looks at least once, closes, and raises no error."""
    _, said = observer.watched()
    failed = next((line for line in said.splitlines() if "looks no more" in line or "failed" in line), None)
    if failed is not None:
        raise NotKept(failed)


def leaves_no_trace(observer: Checked) -> None:
    """A watched run equals a run without the observer, bit for bit."""
    run, _ = observer.watched()
    apart = find_difference(_kept(observer.ground.run(observer.recipe, 4)), _kept(run))
    if apart is not None:
        raise NotKept(f"a run that it watched differs in '{apart}' from one that it did not: observers only look.")


def goes_on_with_a_resumed_run(observer: Checked) -> None:
    """It can watch a run that was interrupted and is continued."""
    run, _ = observer.watched()
    observer.ground.train(observer.recipe, 6, out=run.path, observers=observer.name)


def _kept(run: RunFolder) -> Mapping[str, Tensor]:
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None
    return checkpoint.read(newest)[0]


WHERE = "frugan.engine.observers, Observer"

CONTRACT = Contract("observer", observers.names, Checked, (
    Requirement(looks_and_goes_on, WHERE),
    Requirement(leaves_no_trace, WHERE, (looks_and_goes_on,)),
    Requirement(goes_on_with_a_resumed_run, WHERE, (looks_and_goes_on,)),
))  # fmt: skip
