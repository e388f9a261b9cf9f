"""A bench as tables in a terminal and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from frugan.benching import Bench
    from frugan.benching._roofline import Hot


def table(bench: Bench) -> Table:
    from rich.table import Table

    whats = list(dict.fromkeys(one.what for one in bench.timed))
    table = Table(
        title=f"{bench.recipe}: a round of {bench.images} real images; sampling by 1 and by 64, in float32",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for column in ("family", ""):
        table.add_column(column, no_wrap=True)
    for column in ("round ms", "images/s", "share", *("ms", "share") * (len(whats) - 1)):
        table.add_column(column, justify="right", no_wrap=True)
    sampled = {(one.family, one.what): one for one in bench.timed if one.what != "round"}
    listed = set()
    for one in bench.timed:
        if one.what != "round":
            continue
        cells = [f"{one.milliseconds:.3g}", f"{one.images_per_second:,.0f}", f"{one.share:.0%}"]
        for what in whats[1:]:
            sample = sampled[one.family, what]
            # Sampling is in float32 whatever training is in, so it is told once a family.
            cells += ["", ""] if one.family in listed else [f"{sample.milliseconds:.3g}", f"{sample.share:.0%}"]
        listed.add(one.family)
        table.add_row(one.family, one.precision, *cells)
    return table


def hot_table(title: str, operations: Sequence[Hot]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("operation", no_wrap=True)
    table.add_column("shapes", overflow="fold")
    for column in ("calls", "ms", "roofline"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in operations:
        share = "free" if one.share is None else f"{one.share:.0%}"
        calls = f"{one.calls:.2f}".removesuffix(".00")
        table.add_row(one.operation, one.shapes, calls, f"{1000 * one.seconds:.2f}", share)
    return table


def plot(bench: Bench, path: Path) -> None:
    """Images a second of every arm as bars: rounds of training, and sampling."""
    from matplotlib.figure import Figure

    whats = list(dict.fromkeys(one.what for one in bench.timed))
    arms = [[one for one in bench.timed if one.what == what] for what in whats]
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
        axes.set_title(f"training, {bench.images} images a round" if what == "round" else what, fontsize=9)
        axes.set_xlabel("images/s")
        axes.tick_params(labelsize=8)
    figure.suptitle(f"{bench.recipe} on {bench.machine}", fontsize=9)
    figure.savefig(path, dpi=120)
