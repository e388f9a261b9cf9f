"""Benching: how fast a recipe trains and samples on this machine, in every convolution family and precision.

All arms run in turn in one process (A B A B ..., every second time backwards), so that a disturbance of the machine
hits all of them alike. The time that is shown is the median. The images are noise, which takes as long as real images.
The kernels are those that a run of the recipe's length would choose; they are chosen before anything is timed.

Beside each time stands the share of the machine's **roofline** that was reached. Two numbers are measured in the same
run: multiply-accumulates a second in a large matrix product (as a product or as a convolution one pixel wide, whichever
is faster here), and bytes a second in a large copy. A layer can be no faster than the slower of both allows (Williams
et al. 2009, 10.1145/1498765.1498785). The ideal time of a round is the sum over its convolutions and dense layers,
forward and backward; everything else is counted as free, as if it were fused into them. So no arm
reaches a share of 1. `Bench.hottest` shows where the rest of the time goes.

Where a penalty is due in every fourth round, say, rounds are unequal. So four rounds, or a multiple of four, are timed
and counted at once, and what is said of a round is their mean.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import convs, costing, files, memory, seeds, terminal, training
from frugan.arguments import Changes, File, Name, Names, names_in, strict
from frugan.benching import _roofline, _showing
from frugan.benching._roofline import Hot, Roofline
from frugan.owncode import Code
from frugan.ranges import Times
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import torch

    from frugan.data import Dataset
    from frugan.engine.loop import Parts

IMAGES = 1024
"""How many images of noise each stream has."""

SAMPLED = (1, 64)
"""Batch sizes of sampling."""

AS_IT_IS = "as it is"
"""The arm of a recipe that brings families of its own."""

FORMAT = 1


@dataclass(frozen=True)
class Timed:
    """One thing that was measured: ``round`` (a step of training), or ``sample 1``, ``sample 64`` (a batch).

    `milliseconds` are of the whole round (a mean one, if penalties are not due in all) or batch: median and quartiles
    over the repeats. `share` is that of the roofline.
    """

    family: str
    precision: str
    what: str
    milliseconds: float
    quartiles: tuple[float, float]
    images_per_second: float
    share: float


@dataclass(frozen=True)
class Bench:
    """The result of `bench`: arms that were timed, and for each (family, precision) the operations that took longest.

    `images` are the real ones that a round shows, `batch_size` at a time. `kernels` is what the recipe's ``kernels``
    means here for a run of its length (see `frugan.kernels`).
    """

    recipe: str
    batch_size: int
    images: int
    kernels: str
    machine: str
    threads: int
    roofline: Roofline
    timed: tuple[Timed, ...]
    hottest: Mapping[tuple[str, str], tuple[Hot, ...]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        hottest = [
            {"family": family, "precision": precision, "operations": [asdict(one) for one in operations]}
            for (family, precision), operations in self.hottest.items()
        ]
        return {
            "format": FORMAT, "recipe": self.recipe, "batch_size": self.batch_size, "images": self.images,
            "kernels": self.kernels, "machine": self.machine, "threads": self.threads,
            "roofline": {"macs": dict(self.roofline.macs), "bytes": self.roofline.bytes},
            "timed": [asdict(one) for one in self.timed], "hottest": hottest,
        }  # fmt: skip

    def show(self, *, layers: bool = False) -> None:
        """Print the table; with `layers`, the operations of each arm's round before it."""

        console = terminal.console()
        if layers:
            for (family, precision), operations in self.hottest.items():
                console.print(_showing.hot_table(f"{family}, {precision}", operations))
                console.print()
        console.print(_showing.table(self))
        peaks = ", ".join(f"{macs / 1e9:,.0f} in {name}" for name, macs in self.roofline.macs.items())
        console.print(
            "share: of this machine's roofline, that is of "
            f"{peaks} billion multiply-accumulates a second and {self.roofline.bytes / 1e9:.1f} GB/s.",
        )  # fmt: skip
        console.print(f"{self.machine}, {self.threads} threads, kernels={self.kernels}.")

    def save(self, folder: str | Path) -> Path:
        """Write ``bench.json`` and the plot ``bench.png``; returns the plot's path.

        Raises UserError if the folder holds other files.
        """
        folder = Path(folder)
        check_place(folder)
        files.write(folder / "bench.json", json.dumps(self.as_dict(), indent=1) + "\n")
        with files.whole(folder / "bench.png") as beside:
            _showing.plot(self, beside)
        return folder / "bench.png"


def check_place(folder: Path) -> None:
    """Raise UserError if the results cannot be saved in a folder, since there is something else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: this writes a folder, and there is a file. Give another --out.")
    if folder.exists() and not {one.name for one in folder.iterdir()} <= _FILES:
        raise UserError(f"{folder} holds files that frugan bench did not write. Give another --out.")


_FILES = {"bench.json", "bench.png"}


@strict
def bench(
    recipe: File | Recipe,
    *,
    families: Names = (),
    precisions: Names = (),
    batch_size: int | None = None,
    changes: Changes | None = None,
    repeats: Times = 5,
    seconds: float = 0.5,
    device: Name | None = None,
    code: Code | None = None,
    trust_code: bool = False,
    announce: Callable[[str], None] | None = None,
) -> Bench:
    """Time rounds of training and sampling of a recipe on this machine.

    Args:
        recipe: a name, a recipe.json, a run folder, or a `Recipe`.
        families: convolution families of the network that makes images, as ``--family`` takes them. Left out: all
            families, and first the recipe as it is, if it has families of its own.
        precisions: "float32", "bf16". Left out: float32, and bf16 if it is fast here. Sampling is always in float32.
        batch_size: real images in each step of the discriminator.
        changes: keys of the recipe.
        repeats: measurements of each arm, two or more.
        seconds: how long one measurement should take at least; a round that takes longer is measured alone. (Or as many
            as it takes until every penalty was due.)
        device: the best there is if left out.
        code: your files that add variants; a run remembers its own.
        trust_code: run the code that a run names even if you have not run it on this machine.
        announce: called with a line of text before each slow part.

    Raises:
        UserError: for unknown names and keys, or fewer than two repeats.
    """
    import torch

    from frugan import costs, kernels
    from frugan.engine import precision
    from frugan.engine.precision import choose_device
    from frugan.games import cycle_of

    if repeats < 2:
        raise UserError(f"repeats={repeats}: give 2 or more, since quartiles need two measurements.")
    base = training.resolve(costing.recipe_of(recipe, code, trust_code), changes=changes, batch_size=batch_size)
    tell = announce or (lambda line: None)
    place = choose_device(device)
    fast = {"float32", precision.resolve("auto", place)}
    asked = names_in(precisions) or tuple(name for name in ("float32", "bf16") if name in fast)
    for name in asked:
        if name not in ("float32", "bf16"):
            raise UserError(f"frugan bench cannot measure the precision '{name}'. {suggest(name, ('float32', 'bf16'))}")
    named = names_in(families) or arms_of(base)
    mode = kernels.resolve(base.kernels, place, base.whole_rounds)

    memory.keep()
    # Every arm's networks are in memory together: only so can the arms take turns.
    rounds: dict[tuple[str, str], Callable[[], object]] = {}
    alive: dict[tuple[str, str], Parts] = {}
    for family in named:
        changed = base if family == AS_IT_IS else base.with_family(family)
        for name in asked:
            arm = family, name
            alive[arm] = _parts(replace(changed, precision=name), place, mode)
            rounds[arm] = _round(alive[arm])
    tell(f"Choosing the kernels of {len(rounds)} arms.")
    for run in rounds.values():
        run()
    tell(f"Measuring the machine: {costs.machine(place)}.")
    before = _roofline.measured(asked, place)
    cycle = cycle_of(next(iter(alive.values())).game)  # the same for all arms of a recipe
    times = _in_turn(rounds, cycle, repeats, seconds, place, tell)
    # Twice: a machine that is shared may be slow for longer than one measurement takes.
    roofline = before.best(_roofline.measured(asked, place))
    tell("Counting the operations of a round.")
    counted = {arm: _roofline.count(run, roofline, cycle) for arm, run in rounds.items()}
    # Some games show several batches a round: one for each step of the discriminator, or one of each stream.
    shown = next(parts.clock.images // parts.clock.rounds for parts in alive.values())
    timed = []
    for arm, of_arm in times.items():
        ideal = sum(one.ideal for one in counted[arm].values())
        timed.append(_timed(arm, "round", of_arm, shown, ideal))
    tell("Sampling.")
    timed += _sampling({family: alive[family, asked[0]] for family in named}, base, roofline, place)
    hottest = {arm: _roofline.hottest(operations) for arm, operations in counted.items()}
    return Bench(
        base.name, base.batch_size, shown, mode, costs.machine(place), torch.get_num_threads(), roofline, tuple(timed),
        hottest,
    )


# ------------------------------------------------------------------------------------------------------------- arms


def arms_of(recipe: Recipe) -> tuple[str, ...]:
    """The arms of a bench without `families`: the recipe as it is, if it has families of its own, then every family."""
    own = any(recipe.networks[name].families for name in recipe.makers())
    return (*((AS_IT_IS,) if own else ()), *sorted(convs.names(), key=lambda name: name != "standard"))


def _parts(recipe: Recipe, device: torch.device, kernels: str) -> Parts:
    """A run of the recipe on noise, ready to be played."""
    from frugan import build, games

    noise = {stream: _noise(recipe, stream) for stream in games.find(recipe.game.name).streams}
    parts = build.parts(build.assemble(recipe, device), noise, kernels=kernels)
    for network in parts.game.networks.values():
        network.train()
    return parts


def _noise(recipe: Recipe, stream: str) -> Dataset:
    import torch

    from frugan import build
    from frugan.data import Dataset

    wanted, image = recipe.data_of(stream), build.image_shape(recipe)
    draws = seeds.generator(0, "bench", stream)
    count = max(IMAGES, recipe.batch_size)
    images = torch.randint(256, (count, *image), dtype=torch.uint8, generator=draws)
    labels, names = None, ()
    if wanted.classes:
        shape = (count, wanted.classes) if wanted.attributes else (count,)
        labels = torch.randint(2 if wanted.attributes else wanted.classes, shape, generator=draws)
        names = tuple(map(str, range(wanted.classes)))
    bits = labels is not None and labels.ndim == 2
    noise = Dataset(
        "noise", "train", image, images, labels, () if bits else names, "0" * 16, attributes=names if bits else ()
    )
    if wanted.finer == 1:
        return noise
    larger = images.repeat_interleave(wanted.finer, 2).repeat_interleave(wanted.finer, 3)
    return replace(noise, finer=replace(noise, images=larger, shape=build.image_shape(recipe, finer=True)))


def _round(parts: Parts) -> Callable[[], object]:
    from frugan.engine.loop import play_round

    return lambda: play_round(parts)


# ------------------------------------------------------------------------------------------------------------- time


def _in_turn(
    rounds: Mapping[tuple[str, str], Callable[[], object]], cycle: int, repeats: int, seconds: float,
    device: torch.device, tell: Callable[[str], None],
) -> dict[tuple[str, str], list[float]]:
    """Seconds of a round of each arm, in each of `repeats` measurements: the mean over whole cycles of rounds."""
    times: dict[tuple[str, str], list[float]] = {arm: [] for arm in rounds}
    many = {}
    for arm, run in rounds.items():
        once = _seconds(run, cycle, device)
        many[arm] = cycle * max(1, math.ceil(seconds / (cycle * once)))
    began = time.perf_counter()
    for number in range(repeats):
        for arm in list(rounds) if number % 2 == 0 else list(rounds)[::-1]:
            times[arm].append(_seconds(rounds[arm], many[arm], device))
        left = (time.perf_counter() - began) / (number + 1) * (repeats - number - 1)
        tell(f"Rounds: {number + 1} of {repeats}, {left:.0f} s left.")
    return times


def _seconds(run: Callable[[], object], times: int, device: torch.device) -> float:
    """Mean seconds of one run, over so many runs one after another."""
    from frugan.arithmetic import wait

    started = time.perf_counter()
    for _ in range(times):
        run()
    wait(device)
    return (time.perf_counter() - started) / times


def _sampling(
    alive: Mapping[str, Parts], recipe: Recipe, roofline: Roofline, device: torch.device
) -> list[Timed]:
    """Times of forward passes in float32, of the network that each family would ship."""
    import torch

    from frugan import artefact, build, costs

    name, arms = recipe.makers()[0], {}
    blueprint = build.blueprints(recipe)[name]
    for family, parts in alive.items():
        network = artefact.set_memory_layout(costs.duplicate(parts.averaged()[name]).eval(), blueprint.part)
        arms[family] = network, *blueprint.inputs()
    timed = []
    for family, measured in costs.latencies(arms, batches=SAMPLED, repeats=15, warm_up=2, device=device).items():
        for one in measured:
            given = [each.to(device) for each in blueprint.example(one.batch)]
            with torch.no_grad():  # in inference mode convolutions would go by other names
                run = functools.partial(arms[family][0], *given)
                operations = _roofline.count(run, roofline)
            ideal = 1000 * sum(operation.ideal for operation in operations.values())
            timed.append(
                Timed(
                    family, "float32", f"sample {one.batch}", one.median_ms, one.quartiles_ms, one.images_per_second,
                    ideal / one.median_ms,
                )
            )
    return timed


def _timed(arm: tuple[str, str], what: str, times: Sequence[float], images: int, ideal: float) -> Timed:
    lower, middle, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timed(*arm, what, 1000 * middle, (1000 * lower, 1000 * upper), images / middle, ideal / middle)
