"""Sampling: every frugal twin's generator against its standard form, batch 1 and 64, float32.

Each network is measured as it is and fused (`Generator.fused`: batch norms folded, pairs merged and upsamplings joined
to their layers where that is faster, kernels chosen, channels-last), all in turn. The faster of the two counts, for the
standard form too. A twin should reach at least R^0.6, where R is the ratio of multiply-accumulates. This is printed
beside the ratio of times, and the table says which twins do not reach it. The allocator keeps its memory, as in
``frugan sample``. First it is checked that fused images agree with the plain ones to 1e-4 of their range; otherwise
this program stops.

Gate: only that the images agree; the ratios are recorded.
"""

from __future__ import annotations

from typing import Any

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster
from torch import Tensor, nn

from frugan import build, cost, memory, recipes
from frugan.fusing import fuse
from frugan.recipe import Recipe

TOLERANCE = 1e-4  # of the range of the images, -1 to 1: 2e-4
EXPONENT = 0.6
# Standard form, and its twins: another family of the same recipe, or another recipe.
SETS: dict[str, dict[str, tuple[str, str | None]]] = {
    "mnist": {name: ("mnist", name) for name in ("factorised", "depthwise")},
    "cifar10-frog": {name: ("cifar10-frog", name) for name in ("factorised", "depthwise")},
    "dcgan-64": {name: ("dcgan-64", name) for name in ("factorised", "depthwise", "bilinear_additive", "inception")},
    "dcgan-medium": {name: ("dcgan-medium", name) for name in ("factorised", "depthwise")},
    "stargan": {name: (name, None) for name in ("depthwise-g", "depthwise-g-full", "deeper-depthwise-g")},
}
QUICK = ("mnist",)


def generator(recipe: Recipe) -> nn.Module:
    """The network that makes images, as if it were trained."""
    module, _ = build.networks(recipe)[recipe.makers()[0]]
    return module.eval().requires_grad_(False)


def given(recipe: Recipe, batch: int) -> list[Tensor]:
    """What it is called with."""
    first, *others = build.blueprints(recipe)[recipe.makers()[0]].example(batch)
    return [torch.randn(first.shape, generator=torch.Generator().manual_seed(0)), *others]


def measured(standard: str, batch: int, repeats: int) -> tuple[dict[str, Any], list[list[object]]]:
    """All twins of one standard form at one batch: the record, and rows of the table."""
    arms = {"standard": recipes.find(standard)}
    for name, (recipe, family) in SETS[standard].items():
        found = recipes.find(recipe)
        arms[name] = found if family is None else found.with_family(family)
    sides, macs, worst = {}, {}, 0.0
    for name, recipe in arms.items():
        module, inputs = generator(recipe), given(recipe, batch)
        macs[name] = cost(module, *given(recipe, 1)).macs
        fused = fuse(module, *inputs)
        apart = float((fused(*inputs) - module(*inputs)).abs().max())
        worst = max(worst, apart)
        if apart > 2 * TOLERANCE:
            raise SystemExit(f"{standard}, {name}: fused images differ by {apart:.1g}; {2 * TOLERANCE} is allowed.")
        sides[f"{name} plain"] = lambda module=module, inputs=inputs: module(*inputs)
        sides[f"{name} fused"] = lambda fused=fused, inputs=inputs: fused(*inputs)
    seconds = in_turn(sides, repeats)

    def best(name: str) -> str:
        return min((f"{name} plain", f"{name} fused"), key=lambda side: spread(seconds[side]).median)

    rows, ratios = [], {}
    for name in arms:
        side, ratio = best(name), macs["standard"] / macs[name]
        faster = times_faster(seconds[best("standard")], seconds[side])
        folded = times_faster(seconds[f"{name} plain"], seconds[f"{name} fused"])
        aim = ratio**EXPONENT
        ratios[name] = {"side": side, "macs": macs[name], "faster": faster._asdict(), "fused over plain":
                        folded._asdict(), "aim": aim, "reached": faster.median >= aim}  # fmt: skip
        told = "" if name == "standard" else "yes" if faster.median >= aim else "no"
        rows.append([f"{standard} {name}", batch, 1000 * spread(seconds[side]).median, folded.median, ratio,
                     faster.median, aim, told])  # fmt: skip
    return {"batch": batch, "seconds": seconds, "ratios": ratios, "largest_difference": worst}, rows


def main() -> None:
    options = arguments(__doc__ or "")
    memory.keep()
    repeats, sets = (3, QUICK) if options.quick else (5, tuple(SETS))
    record, rows = {}, []
    with torch.inference_mode():
        for standard in sets:
            for batch in (1, 64):
                # A translator at 128 pixels takes seconds for 64 images; as many tell nothing that 8 do not.
                found, more = measured(standard, 8 if standard == "stargan" and batch == 64 else batch, repeats)
                record[f"{standard} {batch}"] = found
                rows += more
    show(["generator", "batch", "ms", "fused/plain", "MACs ratio", "faster", "R^0.6", "reached"], rows)
    finish(options, {"sampling": record}, met=True, gate=f"fused images agree to {TOLERANCE} of their range")


if __name__ == "__main__":
    main()
