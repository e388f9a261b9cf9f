"""The content of a run's page, read from its folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import files
from frugan.recipe import Recipe, from_run
from frugan.reporting import _charts as charts
from frugan.reporting import _words as words

if TYPE_CHECKING:
    from frugan.engine.run import RunFolder

GRID = 64
PREVIEWS = 6


def run_page(path: Path) -> tuple[str, dict[str, Any]]:
    """The name of the template of a run's page, and the values to fill in."""
    from frugan.engine.health import UNTRAINED, findings
    from frugan.engine.run import RunFolder

    folder = RunFolder(path)
    facts = folder.read_json(folder.facts)
    recipe = from_run(folder)
    log = folder.lines(folder.log)
    data = next(iter(facts["data"].values()))
    images = log[-1]["images"] if log else 0
    rounds = log[-1].get("rounds", 0) if log else 0
    wrong = findings(log, ended=recipe.ended(images, rounds))
    shown = f"{images:,} of {recipe.budget:,} images"
    if recipe.rounds is not None:
        shown = f"{rounds:,} of {recipe.rounds:,} rounds and {images:,} images"
    seconds = next((line["seconds"] for line in reversed(log) if "seconds" in line), None)
    trained = f" in {words.duration(seconds)}" if seconds else ""
    return "run.html.jinja", {
        "title": f"Recipe {recipe.name} on {data['title']}",
        "lead": f"{recipe.system}; {shown} seen{trained}, seed {recipe.seed}.",
        "folder": str(path),
        "findings": [
            f"This run did not train: {finding.text}" if finding.kind == UNTRAINED
            else f"Since {finding.images:,} images: {finding.text}" for finding in wrong
        ],
        "samples": _samples(folder),
        "neighbours": _neighbours(folder),
        "metrics": _metrics(folder),
        "classes": _classes(folder),
        "costs": _costs(recipe),
        "players": list(recipe.players),
        "charts": _curves(recipe, log, [finding.images for finding in wrong]) + _truncations(folder),
        "previews": _previews(folder, recipe),
        "facts": _facts(recipe, facts),
        "command": f"frugan train {shlex.quote(str(path / 'recipe.json'))} --out again",
        "recipe_text": json.dumps(files.read_json(folder.recipe), indent=2),
    }  # fmt: skip


def _samples(folder: RunFolder) -> dict[str, str] | None:
    from frugan import artefact
    from frugan.engine import checkpoint
    from frugan.reporting import _pictures as pictures
    from frugan.reporting._sheets import sheet, translates

    if checkpoint.newest(folder.checkpoints) is None:
        return None
    if translates(folder.path):
        made = sheet(folder.path)
        return None if made is None else {**made, "caption": made["caption"][0].upper() + made["caption"][1:]}
    if "generator" not in folder.read_json(folder.facts)["shipped"]:
        return None  # a classifier alone shows nothing
    generator = artefact.open_shipped(folder.path, role="generator")
    weights = "averaged" if generator.config["averaged"] else "live"
    return {
        "address": pictures.of_images(generator.sample(GRID, seed=0), 8),
        "alt": f"{GRID} generated images",
        "caption": f"The first {GRID} images of seed 0, none picked; {weights} weights after "
        f"{generator.config['images']:,} images seen ({generator.weights_hash}).",
    }


def _neighbours(folder: RunFolder) -> dict[str, str] | None:
    from frugan.engine import checkpoint
    from frugan.reporting._neighbours import panel

    return None if checkpoint.newest(folder.checkpoints) is None else panel(folder.path)


def _classes(folder: RunFolder) -> list[dict[str, Any]]:
    """A table for each metric whose newest value tells something of every class or target."""
    newest = {line["metric"]: line for line in folder.lines(folder.metrics)}
    made = []
    for metric, line in newest.items():
        tables = words.tables(line, words.classes_of(folder.path))
        for of in dict.fromkeys(of for of, *_ in tables):
            columns = {title: numbers for kind, title, numbers in tables if kind == of}
            names = dict.fromkeys(name for numbers in columns.values() for name in numbers)
            rows = [[name, *(words.number(numbers.get(name)) for numbers in columns.values())] for name in names]
            head = [title.partition(": ")[2] or title for title in columns]
            made.append({"of": of, "title": metric.replace("_", " "), "head": head, "rows": rows})
    return made


def _metrics(folder: RunFolder) -> list[dict[str, str]]:
    from frugan.metrics import floor_is_of

    rows = []
    for line in sorted(folder.lines(folder.metrics), key=lambda line: -line["images"]):
        floor = line.get("floor")
        about, count = words.protocol(line["protocol"]), floor_is_of(line)
        fewer = f" Real against real: only {count:,} images." if count else ""
        others = [f"{key.replace('_', ' ')} {words.number(value)}" for key, value in words.others(line).items()]
        rows.append(
            {
                "name": words.metric(line["metric"], line["protocol"]["view"]),
                "value": words.number(line["values"][line["headline"]], 4),
                "others": ", ".join(others),
                "floor": words.number(floor["value"] if floor else None, 3),
                "better": line["better"],
                "protocol": f"After {line['images']:,} images: {about}.{fewer}",
            }
        )
    return rows


def _costs(recipe: Recipe) -> list[dict[str, Any]]:
    from frugan import build
    from frugan.costing import cost_of

    rows, planned = [], build.blueprints(recipe)
    for name, counted in cost_of(recipe).networks.items():
        network, cost = planned[name].spec, counted.cost
        families = ", ".join(f"{rule.pattern} → {rule.family}" for rule in network.families) or "standard"
        rows.append(
            {
                "name": name, "parameters": words.large(cost.parameters), "trainable": words.large(cost.trainable),
                "macs": f"{words.macs(cost.all_macs)}{' ?' if cost.doubts else ''}", "doubts": cost.doubts,
                "activations": f"{cost.activation_bytes / 1e6:.2f} MB",
                "made_of": f"{network.architecture}; {families}",
            }
        )  # fmt: skip
    return rows


def _curves(recipe: Recipe, log: list[dict[str, Any]], marks: list[float]) -> list[dict[str, str]]:
    from frugan.engine.health import COLLAPSED_NEAREST, COLLAPSED_SPREAD, FLICKERING

    def line(key: str, colour: int, dashed: bool = False) -> charts.Line:
        return charts.Line(*charts.series(log, key), colour, dashed=dashed)

    players = list(recipe.players)
    plots: list[tuple[str, list[charts.Line], dict[str, Any], str]] = [
        ("Losses", [line(f"{name}.loss", colour) for colour, name in enumerate(players)], {}, ""),
        (
            "Gradient norms",
            [line(f"{name}.gradient_norm", colour) for colour, name in enumerate(players)], {}, "",
        ),
        (
            "Accuracy of the discriminator",
            [
                line("discriminator.accuracy_real", players.index("discriminator")),
                line("discriminator.accuracy_fake", players.index("discriminator"), dashed=True),
            ] if "discriminator" in players else [],
            {"limits": (0, 1.03)}, "On real images; dashed: on fakes. If both are 1, the generator learns little.",
        ),
        (
            "Health",
            [
                line("health.spread", 2),
                line("health.nearest", 3),
                line("health.distance", 4),
                line("health.flicker", 5, dashed=True),
                line("health.memorised", 6, dashed=True),
            ],
            {
                "rules": [(COLLAPSED_SPREAD, f"spread: collapse below {COLLAPSED_SPREAD}"),
                          (COLLAPSED_NEAREST, f"nearest: below {COLLAPSED_NEAREST}"),
                          (FLICKERING, f"flicker, memorised: above {FLICKERING}")],
                "marks": marks,
            },
            "Green: spread of the fakes, divided by that of real images. Purple: the same for nearest neighbours. Red: "
            "how far the fakes are from real images (0 is best). Dashed: how far the images of fixed latents moved "
            "since the last look; and, if there are held-out images, how far the discriminator takes them for fakes.",
        ),
    ]  # fmt: skip
    made = []
    for title, lines, options, caption in plots:
        lines = [one for one in lines if one.x]
        if lines:
            made.append({"title": title, "svg": charts.curves(lines, title, **options), "caption": caption})
    return made + _shares(log)


def _shares(log: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A chart for each whole whose parts the game logs, see `frugan.games.Game.step`."""
    wholes: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for key in dict.fromkeys(key for line in log for key in line if key.startswith("shares.")):
        _, whole, part = key.split(".", 2)
        wholes.setdefault(whole, {})[part] = charts.series(log, key)
    made = []
    for whole, parts in wholes.items():
        title = whole.replace("_", " ").capitalize()
        means = ", ".join(f"{part} {sum(shares) / len(shares):.0%}" for part, (_, shares) in parts.items())
        caption = f"The share of each since the last log point; over the whole run {means}."
        made.append({"title": title, "svg": charts.shares(parts, title), "caption": caption})
    return made


def _truncations(folder: RunFolder) -> list[dict[str, str]]:
    """A chart for each metric that was measured of the newest images under several truncations: quality and variety."""
    from frugan.evaluation import unequal

    lines = [line for line in folder.lines(folder.metrics) if "truncation" in line["protocol"]]
    made = []
    for metric in dict.fromkeys(line["metric"] for line in lines):
        own = [line for line in lines if line["metric"] == metric]
        newest = own[-1]
        alike = [
            line for line in own if line["images"] == newest["images"]
            and not unequal([{**one["protocol"], "truncation": None} for one in (line, newest)])
        ]
        by = {line["protocol"]["truncation"]: line["values"] for line in alike}
        if len(by) < 2:
            continue
        cut = sorted(by, key=lambda value: float("inf") if value is None else value)
        shown = [name for name in newest["values"] if not name.endswith("_std")][:3]
        values = {name.replace("_", " "): [by[value].get(name) for value in cut] for name in shown}
        title = f"{metric.replace('_', ' ')} by truncation".capitalize()
        names = ["none" if value is None else f"{value:g}" for value in cut]
        svg = charts.steps(names, values, "truncation", title)
        caption = "A smaller truncation makes more typical images, of less variety."
        made.append({"title": title, "svg": svg, "caption": caption})
        if {"precision", "recall"} <= newest["values"].keys():
            ways = {name: (by[value]["recall"], by[value]["precision"]) for name, value in zip(names, cut, strict=True)}
            title = "Quality against variety, by truncation"
            svg = charts.path(ways, "recall (variety)", "precision (quality)", title)
            caption = "Each point has its truncation. Further up is better images, further right is more of the data."
            made.append({"title": title, "svg": svg, "caption": caption})
    return made


def _previews(folder: RunFolder, recipe: Recipe) -> list[dict[str, str]]:
    """A few previews from the first to the last, evenly over those that there are (they come often at first)."""
    from frugan.pictures import read
    from frugan.reporting import _pictures as pictures

    files = folder.previews()
    count = min(PREVIEWS, len(files))
    picked = [files[round(place * (len(files) - 1) / max(1, count - 1))] for place in range(count)]
    return [
        {
            "address": pictures.of_preview(found[0], recipe.data.sides[0]),
            "images": f"{images:,}",
            "wrong": found[1].partition("; ")[2].partition(":")[0],
        }
        for images, file in picked if (found := read(file)) is not None
    ]  # fmt: skip


def _facts(recipe: Recipe, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    several = len(facts["data"]) > 1
    named = [(f"data ({stream})" if several else "data", about) for stream, about in facts["data"].items()]
    penalties = ", ".join(choice.name for choice in recipe.penalties) or "none"
    averages = [
        f"{name}, half-life {average.half_life:,.0f} images"
        + ("" if average.ramp is None else f", at most {average.ramp:g} of those seen")
        for name, average in recipe.averages.items()
    ]
    return [
        ("source of the recipe", recipe.source),
        *((name, f"{about['title']}, source {about['source']}") for name, about in named),
        ("game", f"{recipe.game.name}; loss {recipe.loss.name}; penalties {penalties}"),
        ("averages", ", ".join(averages) or "none"),
        *(
            (f"player {name}", f"{player.optimiser.name}, rate {player.learning_rate:g}, betas {player.betas}")
            for name, player in recipe.players.items()
        ),
        ("batch size", str(recipe.batch_size)),
        ("machine", f"{facts['machine']}, {facts['device']}, {facts['precision']}, {words.threads(facts['threads'])}"),
        ("versions", f"{versions}, frugan {facts['frugan']}"),
        *words.own_code(facts),
    ]
