"""Screening: which candidates are inside the budget, by building, exporting and timing them untrained.

The file of an untrained network is as large as that of the trained one, and takes as long, so no training is spent on
what would not fit. Within a form, a wider network is larger and slower, so the widest that fits is found by halving.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import artefact, build, costs, exporting
from frugan.fitting._budget import Budget
from frugan.fitting._candidates import Candidate, forms
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.costs import Latency

RUNTIMES = ("onnxruntime", "torch")
SECONDS = 2.0
"""About how long one network is timed."""
SHARE, PARTS = 0.25, 40
"""Which share of a search's minutes screening may take; and into how many parts of it one timing fits, at least."""
BYTES = 4
"""Of one weight in an exported file."""


@dataclass(frozen=True)
class Size:
    """What a network takes in its runtime: bytes of its file, and time for one image."""

    bytes: int
    latency: Latency

    @property
    def milliseconds(self) -> float:
        """The median."""
        return self.latency.median_ms

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"bytes": self.bytes, "milliseconds": self.milliseconds, "latency": self.latency.as_dict()}


class Screen:
    """Measures candidates when they are asked for, each once.

    Args:
        known: what an earlier session measured, by the candidate's name, as `Size.as_dict` gives it.
        keep: called with everything that is known whenever there is more of it.
        minutes: how long the whole search may take; None if that is not said.
    """

    def __init__(
        self, budget: Budget, runtime: str, threads: int, known: dict[str, Any], keep: Callable[[], None],
        say: Callable[[str], None], minutes: float | None = None,
    ) -> None:
        if runtime not in RUNTIMES:
            known_ones = suggest(runtime, RUNTIMES)
            raise UserError(f"--runtime {runtime}: fit measures in {' or '.join(RUNTIMES)}. {known_ones}")
        if threads < 1:
            raise UserError(f"--threads {threads}: give how many threads the generator will run on, 1 or more.")
        self.budget, self.runtime, self.threads = budget, runtime, threads
        self.known, self.keep, self.say = known, keep, say
        share = None if minutes is None else 60 * SHARE * minutes
        self.seconds = SECONDS if share is None else min(SECONDS, share / PARTS)
        self._over = None if share is None else time.monotonic() + share

    def inside(self, candidates: Sequence[Candidate], most: int) -> list[Candidate]:
        """Up to `most` candidates inside the budget: the widest of each form, then the next ones, and so on.

        Each round begins with the one of the most parameters. Where the time for screening ends before all are
        measured, those that fit so far are all. Raises UserError, with the nearest, if none fits.
        """
        largest, *others = forms(candidates).items()
        waiting: dict[str, list[Candidate]] = {}
        for form, of in [largest, *reversed(others)]:  # what costs least is not left to the end, where time may be over
            if any(waiting.values()) and self._late():
                left = [name for name in forms(candidates) if name not in waiting]
                self.say(f"Not tried, since a quarter of the minutes is over: {', '.join(left)}.")
                break
            waiting[form] = of[self._widest(of) :]
        chosen: list[Candidate] = []
        while len(chosen) < most and any(waiting.values()):
            row = sorted((of.pop(0) for of in waiting.values() if of), key=lambda one: -one.parameters)
            chosen += [one for one in row if not (chosen and self._late() and self._unknown(one)) and self.fits(one)]
        if not chosen:
            raise UserError(self._none(candidates))
        return chosen[:most]

    def fits(self, candidate: Candidate) -> bool:
        """Whether a candidate is inside the budget. One whose weights alone are too large is not even built."""
        limit = self.budget.bytes
        if limit is not None and BYTES * candidate.parameters > limit:
            self.known.setdefault(candidate.name, {"bytes": BYTES * candidate.parameters, "counted": True})
            return False
        return self.measure(candidate)["fits"]

    def measure(self, candidate: Candidate) -> dict[str, Any]:
        """What an untrained candidate takes, as `Size.as_dict` gives it."""
        known = self.known.get(candidate.name, {})
        if self._unknown(candidate):
            known = untrained_size(candidate.recipe, self.runtime, self.threads, self.seconds).as_dict()
            over = self.budget.misses(known["milliseconds"], known["bytes"])
            self.known[candidate.name] = known = {**known, "fits": not over}
            self.say(
                f"{candidate.name}: {known['milliseconds']:.3g} ms, {known['bytes']:,} bytes"
                f"{', too much' if over else ', fits'}"
            )
            self.keep()
        return known

    def _unknown(self, candidate: Candidate) -> bool:
        return "milliseconds" not in self.known.get(candidate.name, {})

    def _late(self) -> bool:
        return self._over is not None and time.monotonic() > self._over

    def _widest(self, of: Sequence[Candidate]) -> int:
        """The place of the widest candidate of a form that fits, by halving; the number of candidates if none does."""
        low, high = 0, len(of)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(of[middle]) else (middle + 1, high)
        return low

    def _none(self, candidates: Sequence[Candidate]) -> str:
        """What to say if nothing fits: the nearest, and what it takes."""
        thinnest = [of[-1] for of in forms(candidates).values()]
        sizes = {one.name: self.measure(one) for one in thinnest}
        name, size = min(sizes.items(), key=lambda item: self.budget.excess(item[1]["milliseconds"], item[1]["bytes"]))
        return (
            f"No network of {len(candidates)} fits into {self.budget}. The nearest is {name}, which takes "
            f"{size['milliseconds']:.3g} ms and {size['bytes']:,} bytes in {self.runtime} on {self.threads} "
            f"thread{'s' if self.threads > 1 else ''}. Give a larger budget, or thinner networks: --widths 0.1,0.05."
        )


def untrained_size(recipe: Recipe, runtime: str, threads: int, seconds: float = SECONDS) -> Size:
    """What the network takes that a run of this recipe will ship."""
    return size_of(artefact.untrained(build.assemble(recipe)), runtime, threads, seconds)


def size_of(network: Any, runtime: str, threads: int, seconds: float = SECONDS) -> Size:
    """What a network takes, as `frugan.load` gives it: it is exported, and timed at batch 1 for so many seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exporting.find("onnx").write(exporting.Parcel.of(network), folder)
        (file,) = folder.glob("*.onnx")
        with costs.threads(threads):
            timed = artefact.load(file) if runtime == "onnxruntime" else network
            (latency,) = costs.latency(timed.module, *network.inputs(), batches=(1,), seconds=seconds)
        return Size(file.stat().st_size, latency)
