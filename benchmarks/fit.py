"""How well `frugan fit` chooses: every candidate of a grid trained in full is the ground truth.

    python benchmarks/fit.py grid OUT     trains and measures the whole grid, in OUT/grid; continues if stopped
    python benchmarks/fit.py fit OUT      searches inside a budget, in OUT/fit, as a user would
    python benchmarks/fit.py judge OUT    compares the two, and prints a table in Markdown

The grid is the MNIST generator on glyphs in all families and eight widths, 19,200 images of 16 pixels each. Both sides
train with one seed, and are measured by FID of pixels against held-out images with the same protocol.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import frugan
from frugan import training
from frugan.engine.run import RunFolder
from frugan.fitting import _candidates, _screening
from frugan.fitting._budget import Budget

FAMILIES = ("standard", "factorised", "depthwise", "grouped", "bilinear_additive", "inception")
WIDTHS = ("0.35", "0.3", "0.25", "0.2", "0.16", "0.12", "0.1", "0.08")
CHANGES = {"data.size": 16, "discriminator.width": 0.25, "batch_size": 64, "kernels": "plain"}
IMAGES, COUNT = 19_200, 5_000
BUDGET = {"max_latency": "0.2ms", "max_bytes": "700kB"}


def grid(out: Path) -> None:
    """Train and measure every candidate in full."""
    recipe = training.resolve("mnist", data="glyphs", changes=CHANGES, images=IMAGES, seed=0)
    folder = RunFolder(out / "grid")
    folder.path.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {}
    if (folder.path / "grid.json").is_file():
        known = json.loads((folder.path / "grid.json").read_text())
    for one in _candidates.make(recipe, FAMILIES, WIDTHS, None):
        if one.name in known:
            continue
        run = frugan.train(one.recipe, out=folder.path / "runs" / one.name.replace(" ", "-"), quiet=True)
        value, *_ = frugan.evaluate(run.path, metrics=["fid"], count=COUNT, view="pixels")
        known[one.name] = {
            "parameters": one.parameters, "fid": value["values"]["fid"], "seconds_of_the_run": _seconds(run),
            **_screening.untrained_size(one.recipe, "onnxruntime", 1).as_dict(),
        }  # fmt: skip
        print(one.name, known[one.name], flush=True)
        folder.write(folder.path / "grid.json", json.dumps(known, indent=1))


def _seconds(run: RunFolder) -> float:
    """How long a run trained, by its own clock."""
    return [line["seconds"] for line in run.lines(run.log) if "seconds" in line][-1]


def fit(out: Path) -> None:
    """Search as a user would."""
    frugan.fit(  # pyrefly: ignore
        "mnist", data="glyphs", changes=CHANGES, images=IMAGES, count=COUNT, view="pixels", out=out / "fit",
        families=FAMILIES, widths=WIDTHS, **BUDGET,
    )  # fmt: skip


def judge(out: Path) -> None:
    """Say how the choice compares with the best of the grid inside the budget, and what each side took."""
    known, found = (json.loads((out / name).read_text()) for name in ("grid/grid.json", "fit/fit.json"))
    budget = Budget.of(*BUDGET.values())
    fitting = {name: one for name, one in known.items() if not budget.misses(one["milliseconds"], one["bytes"])}
    best = min(fitting, key=lambda name: fitting[name]["fid"])
    chosen, winner = found["winner"]["name"], found["winner"]
    seconds = sum(_seconds(RunFolder(path)) for path in (out / "fit" / "runs").glob("*/run"))
    whole = sum(one["seconds_of_the_run"] for one in fitting.values())
    print("| candidate | parameters | bytes | ms | FID in full | stages that fit trained |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, one in sorted(known.items(), key=lambda item: item[1]["fid"]):
        reached = [share for share, stage in found["race"]["stages"].items() if name in stage["values"]]
        why = ", ".join(reached) if name in fitting else "too much"
        print(
            f"| {name} | {one['parameters']:,} | {one['bytes']:,} | {one['milliseconds']:.3f} | {one['fid']:.4g} | "
            f"{why} |"
        )
    print(f"\n{len(fitting)} of {len(known)} are inside the budget.")
    before, after = found["measured"][chosen]["milliseconds"], winner["measured"]["milliseconds"]
    print(f"\nchosen: {chosen}, FID {known[chosen]['fid']:.4g}")
    print(f"best inside the budget: {best}, FID {fitting[best]['fid']:.4g}")
    print(f"that is {known[chosen]['fid'] / fitting[best]['fid'] - 1:+.1%}")
    print(f"training: fit {seconds:.0f} s, grid inside the budget {whole:.0f} s: {seconds / whole:.0%}")
    print(f"time of an image: foreseen {before:.4f} ms, of the winner {after:.4f} ms: {after / before - 1:+.1%}")


if __name__ == "__main__":
    {"grid": grid, "fit": fit, "judge": judge}[sys.argv[1]](Path(sys.argv[2]))
