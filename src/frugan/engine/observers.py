"""Observers look at a run and return nothing: the log, the progress bar, previews. `health` is another module.

Users `add` observers of their own and name them when they train: a function that gets the run (a `Watched`) and returns
an `Observer`. Its keyword-only arguments with defaults are its options.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from frugan import terminal
from frugan.batch import Batch, to_bytes
from frugan.engine.average import STANDING_BATCH, measure_standing
from frugan.engine.run import RunFolder
from frugan.games import Game
from frugan.pictures import read, save_film, save_grid
from frugan.registry import Catalogue, UserError
from frugan.seeds import derive

if TYPE_CHECKING:

    from frugan.recipe import Recipe

LOG_ROUNDS = 25
FRAMES = 30


class Tick(NamedTuple):
    """How far a run is: real images seen and rounds played."""

    images: int
    rounds: int


Rhythm = Callable[[Tick, Tick], bool]


@dataclass(frozen=True)
class Moment:
    """The state of a run between two rounds, for reading only.

    `scalars` are means over the rounds before the last log point. `averaged` holds the averaged copy of each network,
    or the network itself if it has none.
    """

    images: int
    rounds: int
    seconds: float
    budget: int
    scalars: Mapping[str, float]
    game: Game
    networks: Mapping[str, nn.Module]
    averaged: Mapping[str, nn.Module]

    @property
    def live(self) -> Moment:
        """The same moment, with the networks as they train now instead of their averages, which lag behind."""
        return replace(self, averaged=self.networks)

    def sample(self, like: Batch, seed: int) -> Tensor:
        """Make images with the averaged, settled networks in evaluation mode: float32, with the labels of `like`."""
        with self._still(like, seed):
            return self.game.sample(self.averaged, like, seed).float()

    def scores(self, batches: Sequence[Batch]) -> list[Tensor] | None:
        """What the discriminator, as it trains now, makes of images: float32 ``[n]`` each. None if the game has no
        method `score_images`.
        """
        own = getattr(self.game, "score_images", None)
        if own is None:
            return None
        modes = {network: network.training for network in self.networks.values()}
        try:
            for network in modes:
                network.eval()
            with torch.no_grad():
                return [own(batch.images, batch.labels).float().flatten() for batch in batches]
        finally:
            for network, mode in modes.items():
                network.train(mode)

    def preview(self, first: Mapping[str, Batch], seed: int) -> tuple[Tensor, int | None]:
        """Images for people to look at, float32, and how many in a row; `first` has images of each stream, with labels.

        The game's method `preview` makes them, if it has one. Otherwise they are samples with the first stream's
        labels.
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
    """Something that looks at moments of a run: at its own rhythm, and once more at the end.

    A method `close`, if it has one, is called when training ends, also after an error. If there are several processes,
    only the first one has observers.
    """

    @property
    def due(self) -> Rhythm:
        """(before, now) -> whether to look after a round that took the run from `before` to `now`. A pure function."""
        ...

    def look(self, moment: Moment) -> None:
        """Look at a moment, and change nothing."""
        ...


def close(observer: Observer) -> None:
    """Let an observer close what it opened, by its method `close` if it has one."""
    own: Callable[[], None] | None = getattr(observer, "close", None)
    if own is not None:
        own()


@dataclass(frozen=True, eq=False)
class Watched:
    """The run that an observer is made for.

    Attributes:
        folder: where it may write; ``folder.path`` is the path.
        title: recipe and data in a line, for people.
        start, budget: real images shown before this start of the program (0 in a new run), and in the whole run.
        first: the first images of each stream with their labels, for `Moment.sample` and `Moment.preview`.
        image_range: the range of the images that are made.
        say: prints a line for people without disturbing the progress bar.
    """

    folder: RunFolder
    recipe: Recipe
    title: str
    start: int
    budget: int
    first: Mapping[str, Batch]
    image_range: tuple[float, float]
    say: Callable[[str], None]


_known: Catalogue[Observer] = Catalogue("observer", has=("due", "look"))
names, options, add, check, find = _known.names, _known.options, _known.add, _known.check, _known.find


class Guarded:
    """An observer of the user's own, kept from changing the run and from stopping it.

    The networks are in evaluation mode and no gradients are kept while it looks. If it
    raises an error, one line says so, and it is not called again.
    """

    def __init__(self, name: str, observer: Observer, say: Callable[[str], None]) -> None:
        self.name, self.observer, self.say = name, observer, say
        self.failed = False

    def due(self, before: Tick, now: Tick) -> bool:
        """The observer's own `due`; False after it has failed."""
        with self._silenced(f"after {now.images:,} images"):
            return not self.failed and self.observer.due(before, now)
        return False

    def look(self, moment: Moment) -> None:
        """Let it look, unless it has failed before. Raises UserError, which ends the run, if it changed a network."""
        if self.failed:
            return
        networks = {f"averaged {name}": network for name, network in moment.averaged.items()} | dict(moment.networks)
        before = {name: _state(network) for name, network in networks.items()}
        modes = [(module, module.training) for network in networks.values() for module in network.modules()]
        try:
            for network in networks.values():
                network.eval()
            with self._silenced(f"after {moment.images:,} images"), torch.no_grad():
                self.observer.look(moment)
        finally:
            for module, mode in modes:
                module.training = mode
        for name, network in networks.items():
            changed = [path for path, state in _state(network).items() if before[name].get(path) != state]
            if changed:
                raise UserError(
                    f"The observer '{self.name}' changed '{changed[0]}' of the {name} after {moment.images:,} images, "
                    "but observers must not change anything. The checkpoint before that is kept. Fix the observer, or "
                    "leave it out, and run the same command again."
                )

    def close(self) -> None:
        """Call its method `close`, if it has one."""
        with self._silenced("while it closed"):
            close(self.observer)

    @contextlib.contextmanager
    def _silenced(self, when: str) -> Iterator[None]:
        """Report an error that is raised inside, and where, instead of raising it."""
        try:
            yield
        except Exception as error:
            self.failed = True
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.say(
                f"The observer '{self.name}' failed {when} and is not called again: {type(error).__name__}: {error} "
                f"({place.filename}, line {place.lineno}). The run goes on."
            )


def _state(network: nn.Module) -> dict[str, tuple[int, int, bool]]:
    """For each weight, values that change when it is replaced or written to (not through ``.data``)."""
    return {name: (id(one), one._version, one.requires_grad) for name, one in network.named_parameters()}


def every(period: int) -> Rhythm:
    """A rhythm: after every `period` images."""
    return lambda before, now: now.images // period > before.images // period


def growing(first: int = 1000, factor: float = 1.3, longest: int = 200_000) -> Rhythm:
    """A rhythm that slows down: often at first, later at least every `longest` images."""

    def due(before: Tick, now: Tick) -> bool:
        point, step = 0.0, float(first)
        while point <= before.images:
            point += step
            step = min(step * factor, longest)
        return now.images >= point

    return due


@dataclass
class Remembered:
    """What observers of this run need from their last look, by name. It is saved and loaded with the run."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors."""
        return self.tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the tensors."""
        self.tensors = dict(state)


def log_points(before: Tick, now: Tick) -> bool:
    """The rhythm of the log: every `LOG_ROUNDS` rounds."""
    return now.rounds % LOG_ROUNDS == 0


@dataclass
class Log:
    """Writes the means since the last log point to log.jsonl."""

    folder: RunFolder
    due: Rhythm = log_points

    def look(self, moment: Moment) -> None:
        """Append one line; none if the run ended between two log points."""
        if moment.rounds % LOG_ROUNDS:
            return
        scalars = {name: round(value, 6) for name, value in moment.scalars.items()}
        line = {"images": moment.images, "rounds": moment.rounds, "seconds": round(moment.seconds, 3), **scalars}
        self.folder.append(self.folder.log, line)


@dataclass
class Previews:
    """Saves a grid of images as samples/images-N.png, always of the same latents, labels and inputs.

    At the end of the run samples/film.webp shows these grids one after the other. `title` gives each its title, from
    the images seen.
    """

    folder: RunFolder
    first: Mapping[str, Batch]
    image_range: tuple[float, float]
    seed: int
    due: Rhythm = field(default_factory=partial(growing, first=400))
    title: Callable[[int], str] = "{:,} images seen".format

    def look(self, moment: Moment) -> None:
        """Sample and save one grid."""
        images, columns = moment.preview(self.first, self.seed)
        path = self.folder.samples / f"images-{moment.images:012d}.png"
        save_grid(to_bytes(images, self.image_range), path, columns, title=self.title(moment.images))
        if moment.images >= moment.budget:
            self._save_film()

    def _save_film(self) -> None:
        """The grids so far as a film, if there are two or more; of many, as many as a film has, spread evenly."""
        grids = [path for _, path in self.folder.previews()]
        count = min(len(grids), FRAMES)
        if count < 2:
            return
        shown = [grids[place * (len(grids) - 1) // (count - 1)] for place in range(count)]
        frames = (found[0] for found in map(read, shown) if found is not None)
        save_film(frames, self.folder.samples / "film.webp", seconds=0.15, hold=2.0)


class Bar:
    """Progress for people: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        title: what is being trained, on which data.
        headline: which scalars to show.
    """

    def __init__(self, title: str, start: int, budget: int, headline: Sequence[str] = ()) -> None:
        self.headline = headline
        self.console = terminal.console(stderr=True)
        self.began, self.start, self.last = time.monotonic(), start, 0.0
        self.title = title
        self.bar: Progress | None = None
        if self.console.is_terminal:
            text, numbers = (TextColumn(one, markup=False) for one in ("{task.description}", "{task.fields[numbers]}"))
            self.bar = Progress(text, BarColumn(), TimeRemainingColumn(), numbers, console=self.console)
            self.task = self.bar.add_task(terminal.plain(title), total=budget, completed=start, numbers="")
            self.bar.start()

    def due(self, before: Tick, now: Tick) -> bool:
        """Every round; `look` itself skips most of them."""
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
        terminal.tell(
            f"{self.title}: {moment.images:,} of {moment.budget:,} images, {speed:,.0f} images/s, "
            f"{left / 60:.1f} min left  {losses}"
        )

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        self.console.print(terminal.one_line(text), soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.stop()
