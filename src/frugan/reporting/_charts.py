"""Charts as SVG for a page: drawn by matplotlib without its global state, coloured by the page.

Text stays text, and colours become the page's CSS variables, so that a chart follows the reader's light or dark theme.
For this, charts are drawn in the placeholder colours below, which are then replaced.
"""

from __future__ import annotations

import hashlib
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frugan.intervals import pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 8
_INK, _GRID = "#010203", "#040506"
_ARMS = [f"#0102{16 + number:02x}" for number in range(COLOURS)]
_MOST_POINTS = 240


@dataclass(frozen=True)
class Line:
    """A curve over images seen. Curves of one colour belong together; faint ones are details of a strong one."""

    x: Sequence[float]
    y: Sequence[float]
    colour: int
    faint: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Point:
    """An arm in a plot of quality against cost. `sd` is over seeds; None for a single seed."""

    x: float
    y: float
    sd: float | None
    colour: int
    name: str


@dataclass(frozen=True)
class Difference:
    """How far an arm is from another: the mean, its 95 % interval, and the difference for each seed."""

    name: str
    mean: float
    interval: tuple[float, float]
    seeds: Sequence[float]
    colour: int


@dataclass(frozen=True)
class Race:
    """An arm's trials, each its values by images seen. `chosen` is the index of the best one."""

    trials: Sequence[Mapping[int, float]]
    chosen: int
    colour: int


def curves(
    lines: Sequence[Line], title: str, *, limits: tuple[float, float] | None = None,
    rules: Sequence[tuple[float, str]] = (), marks: Sequence[float] = (), from_zero: bool = False,
) -> str:
    """Draw curves over images seen. `rules` are horizontal lines with a text, `marks` are vertical lines.

    With `from_zero` the scale begins at 0 and includes all rules: the value of real images is far below distances, and
    far above shares.
    """
    figure, axes = _new(4.5, 2.5)
    for line in lines:
        x, y = thinned(line.x, line.y)
        axes.plot(
            x, y, color=_ARMS[line.colour % COLOURS], linewidth=0.8 if line.faint else 1.5,
            alpha=0.45 if line.faint else 1.0, linestyle="--" if line.dashed else "-",
            marker="o" if len(x) == 1 else None, markersize=3,
        )  # fmt: skip
    if from_zero:
        axes.set_ylim(0, max([axes.get_ylim()[1], *(1.08 * height for height, _ in rules)]))
    low, high = axes.get_ylim()
    for height, words in rules:
        if low <= height <= high or limits is not None:
            axes.axhline(height, color=_INK, linewidth=0.7, linestyle=":", alpha=0.7)
            axes.annotate(
                words, (1, height), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
                ha="right", va="bottom", fontsize=6.5, color=_INK, alpha=0.8,
            )  # fmt: skip
    for mark in marks:
        axes.axvline(mark, color=_INK, linewidth=0.8, linestyle="--", alpha=0.7)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.set_xlim(left=0)
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return _svg(figure, title)


def shares(parts: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> str:
    """The parts of a whole over images seen, by name, on top of each other: at each place they sum to 1."""
    figure, axes = _new(4.5, 2.5)
    drawn = {name: thinned(*curve) for name, curve in parts.items()}
    x = next(iter(drawn.values()))[0]
    axes.stackplot(
        x, [y for _, y in drawn.values()], labels=list(drawn), alpha=0.75, linewidth=0,
        colors=[_ARMS[number % COLOURS] for number in range(len(drawn))],
    )  # fmt: skip
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=7.5, labelcolor=_INK, handlelength=1,
    )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    return _svg(figure, title)


def steps(places: Sequence[str], values: Mapping[str, Sequence[float | None]], across: str, title: str) -> str:
    """Values by name over places that have names and no scale, None where one is not known."""
    figure, axes = _new(4.5, 2.5)
    for number, (name, numbers) in enumerate(values.items()):
        known = [(place, value) for place, value in enumerate(numbers) if value is not None]
        axes.plot(*zip(*known, strict=True), marker="o", markersize=3, color=_ARMS[number % COLOURS], label=name)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=7.5, labelcolor=_INK, handlelength=1,
    )  # fmt: skip
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel(across)
    return _svg(figure, title)


def path(points: Mapping[str, tuple[float, float]], across: str, up: str, title: str) -> str:
    """Points in their order, joined, each with its name."""
    figure, axes = _new(3.3, 2.8)
    axes.plot(*zip(*points.values(), strict=True), marker="o", markersize=4, color=_ARMS[0])
    for name, place in points.items():
        axes.annotate(name, place, xytext=(4, 4), textcoords="offset points", fontsize=7.5, color=_INK)
    axes.margins(0.12)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return _svg(figure, title)


def quality(points: Sequence[Point], across: str, up: str, title: str, *, better: str = "lower") -> str:
    """Draw quality against cost (on a logarithmic scale), with error bars of one standard deviation over seeds.

    The Pareto front of the means is drawn as steps. Only the intervals tell which points are really worse.
    """
    figure, axes = _new(3.3, 2.8)
    sign = 1 if better == "lower" else -1
    kept = sorted((points[place].x, points[place].y) for place in pareto([(p.x, sign * p.y) for p in points]))
    axes.step(*zip(*kept, strict=True), where="post", color=_INK, linewidth=0.8, linestyle=":", alpha=0.7)
    for point in points:
        colour = _ARMS[point.colour % COLOURS]
        axes.errorbar(
            point.x, point.y, yerr=point.sd, fmt="o", color=colour, markersize=6, capsize=3, elinewidth=1.3,
            capthick=1.3,
        )  # fmt: skip
    axes.set_xscale("log")
    costs = [point.x for point in points]
    low, high = min(costs) / 1.35, max(costs) * 1.35
    axes.set_xlim(low, high)
    ticks = round_numbers(low, high)
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    _scale_up(axes, [point.y + sign * (point.sd or 0) for point in points for sign in (-1, 1)])
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return _svg(figure, title)


def differences(
    groups: Mapping[str, Sequence[Difference]], across: str, title: str, *, margin: float | None = None,
    better: str = "lower",
) -> str:
    """Draw intervals below each other, group by group, with a small mark for each seed; further left is better.

    With `margin` a band shows which losses would count as none in the first group.
    """
    rows = [one for group in groups.values() for one in group]
    figure, axes = _new(6.2, 0.75 + 0.3 * len(rows))
    axes.grid(False, axis="y")
    axes.axvline(0, color=_INK, linewidth=0.9, alpha=0.8)
    for place, one in enumerate(rows):
        colour = _ARMS[one.colour % COLOURS]
        axes.plot(one.seeds, [place] * len(one.seeds), "|", color=colour, markersize=7, alpha=0.55)
        low, high = one.interval
        axes.errorbar(
            one.mean, place, xerr=[[one.mean - low], [high - one.mean]], fmt="o", color=colour, markersize=5,
            capsize=3, elinewidth=1.6, capthick=1.3,
        )  # fmt: skip
    first = len(next(iter(groups.values())))
    if margin:
        # As wide as the margin and as high as the first group: controls have no margin.
        lost = margin if better == "lower" else -margin
        axes.fill_betweenx([-0.5, first - 0.5], min(0, lost), max(0, lost), color=_INK, alpha=0.09, linewidth=0)
    if first < len(rows):
        axes.axhline(first - 0.5, color=_GRID, linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [one.name for one in rows])
    axes.tick_params(axis="y", length=0)
    if better == "higher":
        axes.invert_xaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    axes.set_xlabel(across)
    return _svg(figure, title)


def races(raced: Sequence[Race], up: str, title: str) -> str:
    """Draw the value of each trial over images seen, each arm in its colour, the chosen trial as a strong line."""
    figure, axes = _new(4.5, 2.5)
    shown: list[float] = []
    for number, one in enumerate(raced):
        # Beside each other, so that no arm's points hide another's.
        aside = 1 + 0.02 * (number - (len(raced) - 1) / 2)
        for trial, values in enumerate(one.trials):
            shown += values.values()
            strong, places = trial == one.chosen, [aside * images for images in values]
            axes.plot(
                places, list(values.values()), marker="o", markersize=4 if strong else 2.5,
                color=_ARMS[one.colour % COLOURS], linewidth=1.5 if strong else 0.8, alpha=1.0 if strong else 0.45,
            )  # fmt: skip
    if shown:
        _scale_up(axes, shown)
    axes.set_xlim(left=0)
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_ylabel(up)
    return _svg(figure, title)


def _scale_up(axes: Axes, values: Sequence[float]) -> None:
    """Let the upward axis hold all values: from 0, or logarithmic where they are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > 20 * low:
        axes.set_yscale("log")
        ticks = round_numbers(low / 1.3, high * 1.3)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    else:
        axes.set_ylim(bottom=0 if low >= 0 else None, top=None if high <= 0 else 1.15 * high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """The values of one scalar in a log, with the images seen: (images, values)."""
    lines = [line for line in log if isinstance(line.get(key), (int, float))]
    return [line["images"] for line in lines], [line[key] for line in lines]


def mean_curve(curves: Sequence[tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    """The mean of several curves, at the points that all of them have."""
    tables = [dict(zip(*curve, strict=True)) for curve in curves]
    places = sorted(set.intersection(*map(set, tables)))
    return places, [sum(table[place] for table in tables) / len(tables) for place in places]


def short(value: float) -> str:
    """A number in few letters: 60k, 2.3M, 0.4."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers for the ticks of a logarithmic axis from `low` to `high`, at most about `most`."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    finest = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]
    chosen: list[float] = []
    for steps in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], finest):
        ticks = [step * 10.0**ten for ten in tens for step in steps if low <= step * 10.0**ten <= high]
        if len(ticks) > most:
            break
        chosen = ticks
    return chosen or [math.sqrt(low * high)]


def thinned(x: Sequence[float], y: Sequence[float], most: int = _MOST_POINTS) -> tuple[list[float], list[float]]:
    """A curve of at most `most` points, each the mean of neighbours. Values that are not finite are left out."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
    step = max(1, math.ceil(len(pairs) / most))
    chunks = [pairs[start : start + step] for start in range(0, len(pairs), step)]
    return ([chunk[-1][0] for chunk in chunks], [sum(b for _, b in chunk) / len(chunk) for chunk in chunks])


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for spine in ("left", "bottom"):
        axes.spines[spine].set_color(_GRID)
    axes.tick_params(labelcolor=_INK, color=_GRID, labelsize=7.5, length=2.5)
    axes.grid(True, color=_GRID, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=_INK, fontsize=8)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element to stand in a page, with ids of its own and the page's colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "frugan"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    own = f"c{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}-"
    text = re.sub(r'\bid="', f'id="{own}', text)
    text = text.replace("url(#", f"url(#{own}").replace('xlink:href="#', f'xlink:href="#{own}')
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", text)
    for number, colour in enumerate(_ARMS):
        text = text.replace(colour, f"var(--arm-{number})")
    text = text.replace(_INK, "var(--ink)").replace(_GRID, "var(--line)")
    label = html.escape(title, quote=True)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
