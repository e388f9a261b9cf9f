"""Benching: how fast a recipe trains and samples on this machine, in every convolution family and precision.

All arms run in turn in one process (A B A B ..., every second time backwards), so that what disturbs the machine
disturbs all alike; what is told is the median. Images are noise: a round takes as long on them. Kernels are those that
a run of the recipe's length would choose, and are chosen before anything is timed.

Beside each time stands the share of the machine's **roofline** that was reached. Two numbers are measured in the same
run: multiply-accumulates a second in a large matrix product, and bytes a second in a large copy. A layer can be no
faster than the slower of both allows (Williams et al. 2009, 10.1145/1498765.1498785). The ideal time of a round is the
sum over its convolutions and dense layers, forward and backward; everything else is counted as free, as if it were
fused into them. So a share of 1 is out of reach, and what is missing has a place: see `Bench.hottest`.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from frugan import convs, costing, seeds, training
from frugan.recipe import Recipe
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    import torch
    from rich.table import Table
    from torch import Tensor

    from frugan.data import Dataset
    from frugan.engine.loop import Parts

IMAGES = 1024
"""Of noise, in each stream."""

SAMPLED = (1, 64)
"""Batch sizes of sampling."""

AS_IT_IS = "as it is"
"""The arm of a recipe that brings families of its own."""

FORMAT = 1


class Roofline(NamedTuple):
    """What the machine can do: multiply-accumulates a second by precision, and bytes a second read and written."""

    macs: Mapping[str, float]
    bytes: float


@dataclass(frozen=True)
class Timed:
    """One thing that was measured: ``round`` (a step of training), or ``sample 1``, ``sample 64`` (a batch).

    `milliseconds` are of the whole round or batch: median and quartiles over the repeats. `share` is that of the
    roofline.
    """

    family: str
    precision: str
    what: str
    milliseconds: float
    quartiles: tuple[float, float]
    images_per_second: float
    share: float


@dataclass(frozen=True)
class Hot:
    """One kind of operation of a round: all calls with the same shapes. `seconds` a round; `share` of the roofline.

    A share of None belongs to what the roofline counts as free.
    """

    operation: str
    shapes: str
    calls: int
    seconds: float
    share: float | None


@dataclass(frozen=True)
class Bench:
    """What `bench` found: arms that were timed, and for each (family, precision) the operations that took longest.

    `kernels` is what the recipe's ``kernels`` means here for a run of its length (see `frugan.kernels`).
    """

    recipe: str
    batch_size: int
    kernels: str
    machine: str
    threads: int
    roofline: Roofline
    timed: tuple[Timed, ...]
    hottest: Mapping[tuple[str, str], tuple[Hot, ...]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        hottest = [
            {"family": family, "precision": precision, "operations": [asdict(one) for one in found]}
            for (family, precision), found in self.hottest.items()
        ]
        return {
            "format": FORMAT, "recipe": self.recipe, "batch_size": self.batch_size, "kernels": self.kernels,
            "machine": self.machine, "threads": self.threads,
            "roofline": {"macs": dict(self.roofline.macs), "bytes": self.roofline.bytes},
            "timed": [asdict(one) for one in self.timed], "hottest": hottest,
        }  # fmt: skip

    def show(self, *, layers: bool = False) -> None:
        """Print the table; with `layers`, the operations of each arm's round before it."""
        from rich.console import Console

        console = Console()
        if layers:
            for (family, precision), found in self.hottest.items():
                console.print(_hot_table(f"{family}, {precision}", found))
                console.print()
        console.print(_table(self))
        peaks = ", ".join(f"{macs / 1e9:,.0f} in {name}" for name, macs in self.roofline.macs.items())
        console.print(
            "share: of this machine's roofline, that is of "
            f"{peaks} billion multiply-accumulates a second and {self.roofline.bytes / 1e9:.1f} GB/s.",
            markup=False, highlight=False,
        )  # fmt: skip
        console.print(f"{self.machine}, {self.threads} threads, kernels={self.kernels}.", markup=False, highlight=False)

    def save(self, folder: str | Path) -> Path:
        """Write ``bench.json`` and the plot ``bench.png``; returns the plot's path.

        Raises UserError if the folder holds something that is no bench.
        """
        folder = Path(folder)
        if folder.exists() and not (folder.is_dir() and {one.name for one in folder.iterdir()} <= _FILES):
            raise UserError(f"{folder} holds something that is no bench; give another --out.")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.json").write_text(json.dumps(self.as_dict(), indent=1) + "\n")
        plot = folder / "bench.png"
        _plot(self, plot)
        return plot


_FILES = {"bench.json", "bench.png"}


def bench(
    recipe: str | Path | Recipe,
    *,
    families: Sequence[str] = (),
    precisions: Sequence[str] = (),
    batch_size: int | None = None,
    changes: Mapping[str, Any] | None = None,
    repeats: int = 5,
    seconds: float = 0.5,
    device: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> Bench:
    """Time rounds of training and sampling of a recipe on this machine.

    Args:
        recipe: a name, a recipe.json, a run folder, or a `Recipe`.
        families: of the network that makes images, as for ``--family``; left out, the recipe as it is where it has
            families of its own, and all that there are.
        precisions: "float32", "bf16"; left out, both where bf16 is fast here. Sampling is in float32 always.
        batch_size: real images in each step of the discriminator.
        changes: keys of the recipe.
        repeats: measurements of each arm, two or more.
        seconds: how long one measurement should take at least; a round that takes longer is measured alone.
        device: the best there is if left out.
        announce: called with a line of text before each slow part.

    Raises:
        UserError: for unknown names and keys, or fewer than two repeats.
    """
    import torch

    from frugan import costs, kernels
    from frugan.engine import precision
    from frugan.engine.precision import choose_device

    if repeats < 2:
        raise UserError(f"repeats={repeats}: a spread takes at least two.")
    base = training.resolve(costing.recipe_of(recipe), changes=changes, batch_size=batch_size)
    tell = announce or (lambda line: None)
    place = choose_device(device)
    fast = {"float32", precision.resolve("auto", place)}
    asked = tuple(precisions) or tuple(name for name in ("float32", "bf16") if name in fast)
    for name in asked:
        if name not in ("float32", "bf16"):
            raise UserError(f"There is no precision '{name}' to bench. {suggest(name, ('float32', 'bf16'))}")
    named = tuple(families) or arms_of(base)
    mode = kernels.settle(base.kernels, place, base.budget // base.batch_size)

    # Every arm's networks are in memory together: only so can the arms take turns.
    rounds: dict[tuple[str, str], Callable[[], object]] = {}
    alive: dict[tuple[str, str], Parts] = {}
    for family in named:
        changed = base if family == AS_IT_IS else base.with_family(family)
        for name in asked:
            arm = family, name
            alive[arm] = _parts(replace(changed, precision=name), place, mode)
            rounds[arm] = _round(alive[arm])
    tell(f"Measuring the machine: {costs.machine(place)}.")
    roofline = Roofline({name: _product(name, place) for name in asked} | _float32_too(asked, place), _copy(place))
    tell(f"Counting the operations of a round of {len(rounds)} arms.")
    counted = {arm: _count(run, roofline) for arm, run in rounds.items()}
    found = []
    for arm, times in _in_turn(rounds, repeats, seconds, place, tell).items():
        ideal = sum(one.ideal for one in counted[arm].values())
        found.append(_timed(arm, "round", times, base.batch_size, ideal))
    tell("Sampling.")
    found += _sampling({family: alive[family, asked[0]] for family in named}, base, roofline, place)
    hottest = {arm: _hottest(operations) for arm, operations in counted.items()}
    return Bench(
        base.name, base.batch_size, mode, costs.machine(place), torch.get_num_threads(), roofline, tuple(found), hottest
    )


# ------------------------------------------------------------------------------------------------------------- arms


def arms_of(recipe: Recipe) -> tuple[str, ...]:
    """The families that are benched unless told: all, after the recipe as it is where it has some of its own."""
    own = any(recipe.networks[name].families for name in recipe.makers())
    return (*((AS_IT_IS,) if own else ()), *sorted(convs.names(), key=lambda name: name != "standard"))


def _parts(recipe: Recipe, device: torch.device, kernels: str) -> Parts:
    """A run of the recipe on noise, ready to be played."""
    from frugan import build, games

    streams = games.find(recipe.game.name).streams
    parts = build.parts(recipe, {stream: _noise(recipe, stream) for stream in streams}, device, kernels=kernels)
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
    return Dataset(
        "noise", "train", image, images, labels, () if bits else names, "0" * 16, attributes=names if bits else ()
    )


def _round(parts: Parts) -> Callable[[], object]:
    from frugan.engine.loop import play_round

    return lambda: play_round(parts)


# --------------------------------------------------------------------------------------------------------- roofline


def _product(precision: str, device: torch.device, size: int = 2048) -> float:
    """Multiply-accumulates a second in the product of two square matrices."""
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.ones(size, size, dtype=kind, device=device) for _ in range(2))
    return size**3 / _fastest(lambda: one @ other, device)


def _float32_too(asked: Sequence[str], device: torch.device) -> dict[str, float]:
    """Sampling is in float32 whatever training is in."""
    return {} if "float32" in asked else {"float32": _product("float32", device)}


def _copy(device: torch.device, size: int = 64 << 20) -> float:
    """Bytes a second, those that are read and those that are written, in a copy that no cache holds."""
    import torch

    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _fastest(lambda: target.copy_(source), device)


def _fastest(run: Callable[[], object], device: torch.device, repeats: int = 9) -> float:
    """Seconds of the fastest run: a peak is what was reached once, not what a busy machine allows."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times)


@dataclass
class _Operation:
    calls: int = 0
    seconds: float = 0.0
    ideal: float = 0.0


def _count(run: Callable[[], object], roofline: Roofline) -> dict[tuple[str, str], _Operation]:
    """Play one round after another that does not count, and take down each operation by name and shapes."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from frugan.kernels import watched

    found: dict[tuple[str, str], _Operation] = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            started = time.perf_counter()
            out = func(*args, **(kwargs or {}))
            taken = time.perf_counter() - started
            made = out if isinstance(out, tuple) else (out,)
            tensors = tuple(value for value in (*args, *made) if isinstance(value, torch.Tensor))
            note(func.overloadpacket.__name__, tensors, _macs(func.overloadpacket, args, out), taken)
            return out

    def note(name: str, tensors: Sequence[Tensor], macs: float, taken: float) -> None:
        shapes = " ".join("x".join(map(str, value.shape)) for value in tensors[:3])
        kind = "bf16" if any(value.dtype is torch.bfloat16 for value in tensors) else "float32"
        entry = found.setdefault((name, f"{shapes} {kind}"), _Operation())
        entry.calls += 1
        entry.seconds += taken
        if macs:
            moved = sum(value.numel() * value.element_size() for value in tensors)
            entry.ideal += max(macs / roofline.macs[kind], moved / roofline.bytes)

    run()
    with Watch(), watched(note):
        run()
    return found


def _macs(operation: Any, args: Sequence[Any], out: Any) -> float:
    """Multiply-accumulates of one call; 0 for what is neither a convolution nor a product of matrices."""
    import torch
    from torch.utils.flop_counter import flop_registry

    aten = torch.ops.aten
    if operation is aten.convolution:
        image, weight, transposed = args[0], args[1], args[6]
        return (image if transposed else out).numel() * weight[0].numel()
    if operation is aten.convolution_backward:
        # The gradient of the input and that of the weight take as many as the forward each. (The counter of torch
        # takes grouped layers for full ones here.)
        gradient, image, weight, transposed, mask = *args[:3], args[7], args[10]
        return (image if transposed else gradient).numel() * weight[0].numel() * (mask[0] + mask[1])
    formula = flop_registry.get(operation)
    return 0 if formula is None else formula(*args, out_val=out) / 2


def _hottest(operations: Mapping[tuple[str, str], _Operation], most: int = 12) -> tuple[Hot, ...]:
    slowest = sorted(operations.items(), key=lambda item: -item[1].seconds)[:most]
    return tuple(
        Hot(name, shapes, one.calls, one.seconds, one.ideal / one.seconds if one.ideal else None)
        for (name, shapes), one in slowest
    )


# ------------------------------------------------------------------------------------------------------------- time


def _in_turn(
    rounds: Mapping[tuple[str, str], Callable[[], object]], repeats: int, seconds: float, device: torch.device,
    tell: Callable[[str], None],
) -> dict[tuple[str, str], list[float]]:
    """Seconds of a round of each arm, in each of `repeats` measurements."""
    times: dict[tuple[str, str], list[float]] = {arm: [] for arm in rounds}
    many = {}
    for arm, run in rounds.items():
        once = _seconds(run, 1, device)
        many[arm] = max(1, math.ceil(seconds / once))
    began = time.perf_counter()
    for number in range(repeats):
        for arm in list(rounds) if number % 2 == 0 else list(rounds)[::-1]:
            times[arm].append(_seconds(rounds[arm], many[arm], device))
        left = (time.perf_counter() - began) / (number + 1) * (repeats - number - 1)
        tell(f"Rounds: {number + 1} of {repeats}, {left:.0f} s left.")
    return times


def _seconds(run: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds of one of so many runs after each other."""
    started = time.perf_counter()
    for _ in range(times):
        run()
    _wait(device)
    return (time.perf_counter() - started) / times


def _sampling(
    alive: Mapping[str, Parts], recipe: Recipe, roofline: Roofline, device: torch.device
) -> list[Timed]:
    """Forward passes in float32 of what each family would ship, in turn."""
    import torch

    from frugan import costs

    name, arms = recipe.makers()[0], {}
    for family, parts in alive.items():
        network = costs.duplicate(parts.averaged()[name]).eval().to(memory_format=torch.contiguous_format)  # pyrefly: ignore
        arms[family] = network, *costing.inputs_of(recipe, name)
    found = []
    for family, measured in costs.latencies(arms, batches=SAMPLED, repeats=15, warm_up=2, device=device).items():
        for one in measured:
            inputs = costing.inputs_of(recipe, name, one.batch)
            given = [torch.zeros(one) if isinstance(one, tuple) else one for one in inputs]
            with torch.no_grad():  # in inference mode convolutions would go by other names
                run = functools.partial(arms[family][0], *(one.to(device) for one in given))
                operations = _count(run, roofline)
            ideal = 1000 * sum(operation.ideal for operation in operations.values())
            found.append(
                Timed(
                    family, "float32", f"sample {one.batch}", one.median_ms, one.quartiles_ms, one.images_per_second,
                    ideal / one.median_ms,
                )
            )
    return found


def _timed(arm: tuple[str, str], what: str, times: Sequence[float], images: int, ideal: float) -> Timed:
    lower, middle, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timed(*arm, what, 1000 * middle, (1000 * lower, 1000 * upper), images / middle, ideal / middle)


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ------------------------------------------------------------------------------------------------------------ shown


def _table(found: Bench) -> Table:
    from rich.table import Table

    whats = list(dict.fromkeys(one.what for one in found.timed))
    table = Table(
        title=f"{found.recipe}: a round of {found.batch_size} real images; sampling by 1 and by 64, in float32",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for column in ("family", ""):
        table.add_column(column, no_wrap=True)
    for column in ("round ms", "images/s", "share", *("ms", "share") * (len(whats) - 1)):
        table.add_column(column, justify="right", no_wrap=True)
    sampled = {(one.family, one.what): one for one in found.timed if one.what != "round"}
    told = set()
    for one in found.timed:
        if one.what != "round":
            continue
        cells = [f"{one.milliseconds:.3g}", f"{one.images_per_second:,.0f}", f"{one.share:.0%}"]
        for what in whats[1:]:
            sample = sampled[one.family, what]
            # Sampling is in float32 whatever training is in, so it is told once a family.
            cells += ["", ""] if one.family in told else [f"{sample.milliseconds:.3g}", f"{sample.share:.0%}"]
        told.add(one.family)
        table.add_row(one.family, one.precision, *cells)
    return table


def _hot_table(title: str, found: Sequence[Hot]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("operation", no_wrap=True)
    table.add_column("shapes", overflow="fold")
    for column in ("calls", "ms", "roofline"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        share = "free" if one.share is None else f"{one.share:.0%}"
        table.add_row(one.operation, one.shapes, str(one.calls), f"{1000 * one.seconds:.2f}", share)
    return table


def _plot(found: Bench, path: Path) -> None:
    """Images a second of every arm as bars: rounds of training, and sampling."""
    from matplotlib.figure import Figure

    whats = list(dict.fromkeys(one.what for one in found.timed))
    arms = [[one for one in found.timed if one.what == what] for what in whats]
    figure = Figure(figsize=(4 * len(whats), 1.2 + 0.28 * max(map(len, arms))), layout="constrained")
    for axes, what, shown in zip(figure.subplots(1, len(whats), squeeze=False)[0], whats, arms, strict=True):
        middles = [one.images_per_second for one in shown]
        # A quartile of the time is one of the speed, upside down.
        ends = [[one.milliseconds / end * one.images_per_second for end in one.quartiles[::-1]] for one in shown]
        errors = [
            [max(0.0, middle - end[0]) for middle, end in zip(middles, ends, strict=True)],
            [max(0.0, end[1] - middle) for middle, end in zip(middles, ends, strict=True)],
        ]
        colours = ["C1" if one.precision == "bf16" else "C0" for one in shown]
        axes.barh([f"{one.family} {one.precision}" for one in shown], middles, xerr=errors, color=colours)
        axes.invert_yaxis()
        axes.set_title(f"training, {found.batch_size} images a round" if what == "round" else what, fontsize=9)
        axes.set_xlabel("images/s")
        axes.tick_params(labelsize=8)
    figure.suptitle(f"{found.recipe} on {found.machine}", fontsize=9)
    figure.savefig(path, dpi=120)
