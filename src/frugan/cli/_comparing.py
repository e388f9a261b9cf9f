"""Verbs of comparisons: ``compare``, ``plan``, ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.cli._arguments import Many, Number, Value, is_key, key_values
from frugan.cli._reading import reads

Progress = Annotated[Path | None, arg(
    metavar="DIR", help_behavior_hint="",
    help="Only tell how far the comparison in this folder is. It may be trained meanwhile, on any machine.",
)]  # fmt: skip


@reads("frugan.comparison.compare", without=("changes", "quiet"))
def compare(*, status: Progress = None, **given: Any) -> None:
    """Train several arms (variants) on the same data and seeds, and say what each saves and what quality it loses."""
    from frugan.comparison import compare as run
    from frugan.comparison import status as look

    if status is not None:
        look(status).show()
        return
    typed = given.pop("arms")
    shared = [arm for arm in typed if is_key(arm)]
    run([arm for arm in typed if not is_key(arm)], changes=key_values(shared), **given)



def plan(
    comparison: Positional[Annotated[Path | None, arg(metavar="[COMPARISON]", help_behavior_hint="")]] = None, *,
    margin: Value = None, sd: Value = None, power: float = 0.8, jobs: Number = None,
) -> None:
    """Say how many seeds a comparison needs for a margin, and how long their training takes.

    Args:
        comparison: The folder of a finished comparison. It tells how noisy values are and how long runs take.
        margin: How much worse still counts as not worse. If left out: as in that comparison.
        sd: Standard deviation of paired differences, instead of that comparison's.
        power: The share of comparisons in which the verdict should come out.
        jobs: How many runs to train at the same time. If left out: as in that comparison.
    """
    from frugan.comparison import plan as needed

    for line in needed(comparison, margin=margin, sd=sd, power=power, jobs=jobs).words():
        terminal.say(line)



def demo(*, out: Path = Path("runs/demo"), images: Many = "25k") -> None:
    """Train a standard and a factorised generator on built-in glyphs for a few minutes, and compare them.

    Args:
        out: The folder for the runs and the report.
        images: How many real images each run is shown.
    """
    from frugan.comparison import compare as run

    terminal.say(
        "This shows what a comparison looks like. One seed and a small budget prove nothing yet. "
        f"While the two generators train, their images appear in {out}/runs/*/seed-0/samples/."
    )
    run(
        ["mnist"], families=("standard", "factorised"), seeds=(0,), images=images, data="glyphs", out=out, jobs=2,
        count=5000,
    )
