"""Observers look at a run and return nothing: the log, the progress bar, previews. Health has a file of its own."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from frugan.batch import Batch, to_bytes
from frugan.engine.average import STANDING_BATCH, measure_standing
from frugan.engine.run import RunFolder
from frugan.games import Game
from frugan.pictures import save_grid
from frugan.seeds import derive

LOG_ROUNDS = 25


class Tick(NamedTuple):
    """How far a run is: real images seen and rounds played."""

    images: int
    rounds: int


Rhythm = Callable[[Tick, Tick], bool]


@dataclass(frozen=True)
class Moment:
    """A read-only look at a run between two rounds.

    `scalars` are means over the rounds up to the last log point; `averaged` holds the averaged copy of each network
    that has one and the network itself otherwise.
    """

    images: int
    rounds: int
    seconds: float
    budget: int
    scalars: Mapping[str, float]
    game: Game
    networks: Mapping[str, nn.Module]
    averaged: Mapping[str, nn.Module]

    def sample(self, like: Batch, seed: int) -> Tensor:
        """Images of the shipped (averaged, settled) networks in evaluation mode, float32, as `like` says."""
        with self._still(like, seed):
            return self.game.sample(self.averaged, like, seed).float()

    def preview(self, first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int | None]:
        """Images for people, float32, and how many to a row; `first` has images of each stream with their labels.

        Those that the game shows itself if it has a method `preview`, else samples with the first stream's labels.
        """
        own, like = getattr(self.game, "preview", None), next(iter(first.values()))
        if own is None:
            return self.sample(like, seed), None
        with self._still(like, seed):
            images, columns = own(self.averaged, first, seed)
        return images.float(), columns

    @contextlib.contextmanager
    def _still(self, like: Batch, seed: int) -> Iterator[None]:
        """The averaged networks as they would ship: in evaluation mode, settled, with statistics of their own images.

        These are made with the labels of `like`. Without gradients; afterwards all is as before.
        """
        modes = {name: network.training for name, network in self.averaged.items()}
        rows = torch.arange(STANDING_BATCH) % like.count
        many = Batch(like.images[rows], None if like.labels is None else like.labels[rows])
        undo = None
        try:
            for network in self.averaged.values():
                network.eval()
                self.game.settle(network, seed)
            undo = measure_standing(
                [network for name, network in self.averaged.items() if network is not self.networks[name]],
                lambda number: self.game.sample(self.averaged, many, derive(seed, "standing", number)),
            )
            with torch.no_grad():
                yield
        finally:
            if undo is not None:
                undo()
            for name, network in self.averaged.items():
                network.train(modes[name])


class Observer(Protocol):
    """Something that looks at moments at its own rhythm."""

    @property
    def due(self) -> Rhythm:
        """Whether it wants to look when a round takes the run from one tick to another; a pure function of both."""
        ...

    def look(self, moment: Moment) -> None:
        """Look at a moment."""
        ...


def every(period: int) -> Rhythm:
    """A rhythm: whenever another `period` images have been seen."""
    return lambda before, now: now.images // period > before.images // period


def growing(first: int = 1000, factor: float = 1.3, longest: int = 200_000) -> Rhythm:
    """A rhythm that slows down: often at first, at most `longest` images apart later."""

    def due(before: Tick, now: Tick) -> bool:
        point, step = 0.0, float(first)
        while point <= before.images:
            point += step
            step = min(step * factor, longest)
        return now.images >= point

    return due


def log_points(before: Tick, now: Tick) -> bool:
    """The rhythm of the log: every `LOG_ROUNDS` rounds."""
    return now.rounds % LOG_ROUNDS == 0


@dataclass
class Log:
    """Writes the means since the last log point to log.jsonl."""

    folder: RunFolder
    due: Rhythm = log_points

    def look(self, moment: Moment) -> None:
        """Append one line, unless the run ended between two log points."""
        if moment.rounds % LOG_ROUNDS:
            return
        scalars = {name: round(value, 6) for name, value in moment.scalars.items()}
        line = {"images": moment.images, "rounds": moment.rounds, "seconds": round(moment.seconds, 3), **scalars}
        self.folder.append(self.folder.log, line)


@dataclass
class Previews:
    """Saves a grid of images of always the same latents, labels and inputs as samples/images-N.png."""

    folder: RunFolder
    first: Mapping[str, Batch]
    image_range: tuple[float, float]
    seed: int
    due: Rhythm = field(default_factory=growing)

    def look(self, moment: Moment) -> None:
        """Sample and save one grid."""
        images, columns = moment.preview(self.first, self.seed)
        path = self.folder.samples / f"images-{moment.images:012d}.png"
        save_grid(to_bytes(images, self.image_range), path, columns)


class Bar:
    """Progress for people: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        title: what is being trained, on which data.
        headline: which scalars to show.
    """

    def __init__(self, title: str, start: int, budget: int, headline: Sequence[str] = ()) -> None:
        self.headline = headline
        self.console = Console(file=sys.stderr)
        self.began, self.start, self.last = time.monotonic(), start, 0.0
        self.title = title
        self.bar: Progress | None = None
        if self.console.is_terminal:
            text = TextColumn("{task.description}")
            numbers = TextColumn("{task.fields[numbers]}")
            self.bar = Progress(text, BarColumn(), TimeRemainingColumn(), numbers, console=self.console)
            self.task = self.bar.add_task(title, total=budget, completed=start, numbers="")
            self.bar.start()

    def due(self, before: Tick, now: Tick) -> bool:
        """Every round; `look` itself passes over most."""
        return True

    def look(self, moment: Moment) -> None:
        """Show images seen, images per second, time left and the newest losses."""
        now = time.monotonic()
        if now - self.last < (0.2 if self.bar else 10.0) and moment.images < moment.budget:
            return
        self.last = now
        speed = (moment.images - self.start) / max(now - self.began, 1e-6)
        losses = "  ".join(f"{name} {moment.scalars[name]:.3f}" for name in self.headline if name in moment.scalars)
        if self.bar:
            numbers = f"{moment.images:,} / {moment.budget:,} images  {speed:,.0f}/s  {losses}"
            self.bar.update(self.task, total=moment.budget, completed=moment.images, numbers=numbers)
            return
        left = max(moment.budget - moment.images, 0) / max(speed, 1e-6)
        print(
            f"{self.title}: {moment.images:,} of {moment.budget:,} images, {speed:,.0f} images/s, "
            f"{left / 60:.1f} min left  {losses}",
            file=sys.stderr, flush=True,
        )

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.stop()
