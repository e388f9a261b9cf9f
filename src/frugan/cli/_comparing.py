"""Verbs of comparisons: ``compare``, ``plan``, ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from frugan.cli._arguments import Many, Number, Value, is_key, key_values
from frugan.cli._reading import reads


@reads("frugan.comparison.compare", without=("changes", "quiet"))
def compare(**given: Any) -> None:
    """Train arms beside each other on the same data and seeds, and say what was saved and what was lost."""
    from frugan.comparison import compare as run

    typed = given.pop("arms")
    shared = [arm for arm in typed if is_key(arm)]
    run([arm for arm in typed if not is_key(arm)], changes=key_values(shared), **given)



def plan(
    comparison: Positional[Annotated[Path | None, arg(metavar="[COMPARISON]", help_behavior_hint="")]] = None, *,
    margin: Value = None, sd: Value = None, power: float = 0.8, jobs: Number = None,
) -> None:
    """Say how many seeds a margin needs, given the noise so far, and how long they take here.

    Args:
        comparison: A finished comparison, which gives noise, times and margin.
        margin: How much worse still counts as not worse; the comparison's own if left out.
        sd: Standard deviation of paired differences, in place of a comparison's.
        power: The share of comparisons in which the verdict should come out.
        jobs: Runs at a time; as in the comparison if left out.
    """
    from frugan.comparison import plan as needed

    for line in needed(comparison, margin=margin, sd=sd, power=power, jobs=jobs).words():
        print(line)



def demo(*, out: Path = Path("runs/demo"), images: Many = "25k") -> None:
    """Train a standard and a factorised generator on built-in glyphs for a few minutes, and compare them.

    Args:
        out: Where the runs and the report go.
        images: Real images that each run is shown.
    """
    from frugan.comparison import compare as run

    print(
        "Two twins, one seed, a small budget: what a comparison looks like, not yet a result. "
        f"Pictures appear in {out}/runs/*/seed-0/samples/ while they train."
    )
    run(
        ["mnist"], families=("standard", "factorised"), seeds=(0,), images=images, data="glyphs", out=out, jobs=2,
        count=5000,
    )
