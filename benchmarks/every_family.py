"""Does every family train? Recipes, data sets, families and seeds, each at two budgets: what its log says of it.

    python benchmarks/every_family.py --out runs/fair --recipes "dcgan-64 data.size=32 generator.width=0.25" \\
        --data portraits photos/ --seeds 0 1 2 3 4 --images 20000 60000

A recipe is a name with values as key=value. Seed by seed, so that what is there when it is stopped is whole seeds; what
stands in OUT/results.jsonl is not trained again. `--table` prints what stands there, as Markdown, and trains nothing.
Runs are kept without their checkpoints.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frugan
from frugan.engine import health
from frugan.recipe import parse_value

FAMILIES = ("standard", "factorised", "depthwise", "grouped", "bilinear_additive", "inception")
SHOWN = ("health.spread", "health.distance", *health.ACCURACIES, "discriminator.loss")


def trained(
    recipe: str, source: str, family: str, seed: int, budgets: list[int], out: Path
) -> Iterator[dict[str, Any]]:
    """Train one run to each budget in turn; what its log says there."""
    name, *keys = recipe.split()
    changes = {key: parse_value(value) for key, _, value in (one.partition("=") for one in keys)}
    folder = out / "runs" / "-".join((name, Path(source).name, family, str(seed)))
    about = {"recipe": recipe, "data": Path(source).name, "family": family, "seed": seed}
    for images in budgets:
        run = frugan.train(
            name, data=source, family=family, seed=seed, images=images, changes=changes, out=folder, quiet=True
        )
        log = list(run.lines(run.log))
        last = {key: value for line in log for key, value in line.items() if key in (*SHOWN, "seconds")}
        kinds = sorted({finding.kind for finding in health.findings(log)})
        yield {**about, "images": images, **last, "findings": kinds}
    shutil.rmtree(run.path / "checkpoints")


def table(lines: list[dict[str, Any]]) -> None:
    """A row for each recipe, data set and budget: each family's mean and least spread, and what was wrong."""
    families = list(dict.fromkeys(line["family"] for line in lines))
    print("| recipe | data | images | " + " | ".join(families) + " |")
    print("| --- | --- | ---: |" + " ---: |" * len(families))
    for recipe, source, images in dict.fromkeys((line["recipe"], line["data"], line["images"]) for line in lines):
        cells = []
        for family in families:
            own = [
                line for line in lines
                if (line["recipe"], line["data"], line["images"], line["family"]) == (recipe, source, images, family)
            ]  # fmt: skip
            spreads = [line["health.spread"] for line in own]
            wrong = sorted(itertools.chain.from_iterable(line["findings"] for line in own))
            told = [f"{wrong.count(kind)} {kind}" for kind in dict.fromkeys(wrong)]
            mean = sum(spreads) / len(spreads) if spreads else float("nan")
            cells.append(", ".join([f"{mean:.2f} (least {min(spreads, default=mean):.2f}, {len(own)} seeds)", *told]))
        print(f"| {recipe} | {source} | {images:,} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["dcgan-64 data.size=32"])
    parser.add_argument("--data", nargs="+", default=["portraits"])
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--table", action="store_true", help="print the results, and train nothing")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if asked.table:
        table(lines)
        return
    done = {(line["recipe"], line["data"], line["family"], line["seed"]) for line in lines}
    for seed, recipe, source, family in itertools.product(asked.seeds, asked.recipes, asked.data, asked.families):
        if (recipe, Path(source).name, family, seed) in done:
            continue
        found = list(trained(recipe, source, family, seed, asked.images, asked.out))
        with results.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in found)
        for line in found:
            print(line, flush=True)


if __name__ == "__main__":
    main()
