"""Verbs of comparisons: ``compare``, ``plan``, ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from frugan.cli._arguments import (
    AllowChanged,
    Code,
    Count,
    File,
    Flag,
    Many,
    Names,
    Number,
    Text,
    Trust,
    Value,
    is_key,
    key_values,
    listed,
    pilots_of,
    seeds_of,
)


def compare(
    arms: Positional[Annotated[tuple[str, ...], arg(metavar="ARM [ARM ...] [KEY=VALUE ...]", help_behavior_hint="")]],
    *, out: File = None, families: Names = None, seeds: str = "0-4", images: Count = None, data: Text = None,
    jobs: int = 1, metrics: Names = None, view: Text = None, count: Count = None, reference: Text = None,
    baseline: Text = None, margin: Value = None, pilot_seeds: Names = None, match: Text = None,
    equal: str = "images", no_damaged: Flag = False, rounds: Number = None, batch_size: Number = None,
    device: Text = None, precision: Text = None, evaluate_every: Count = None, retry_failed: Flag = False,
    code: Code = (), trust_code: Trust = False, allow_changed_code: AllowChanged = False,
) -> None:
    """Train arms beside each other on the same data and seeds, and say what was saved and what was lost.

    Args:
        arms: Each "[name:] RECIPE [--family F] [key=value ...]" in quotes, e.g. "thin: mnist architecture.width=0.7".
            The first is the baseline. key=value outside of quotes is meant for all arms.
        out: The comparison's folder, in which what is there is continued; runs/compare-ARM-ARM if left out.
        families: With a single recipe: one arm for each family, e.g. standard,factorised,depthwise.
        seeds: e.g. 0-4 or 0,1,5. Fewer than five give a direction, not a verdict.
        images: Real images each run is shown: 60k, 2M; the recipes' own if left out.
        data: Where images come from, for all arms.
        jobs: Runs at a time; the cores are shared out among them.
        metrics: Names, with commas; the first decides. As for evaluate if left out, fid first.
        view: Images to features; chosen by the data if left out.
        count: Images made for each evaluation; as for evaluate if left out.
        reference: test or train: the real images to compare with.
        baseline: The name of the arm that the others are compared with.
        margin: How much worse in the first metric still counts as not worse. Left out, pilot runs of the baseline say
            before the test what a tenth less training costs.
        pilot_seeds: Seeds of the pilots, outside the test; 1000-1002 if left out, "none" for no pilots.
        match: parameters, macs or latency: each frugal arm also brings its control, the baseline made thinner until it
            has the same; an arm that does not beat it has saved nothing.
        equal: What arms have the same of: images; seconds, those that the baseline takes; or e.g. 600s.
        no_damaged: Add no arm damaged on purpose; then no arm can be called not worse.
        rounds: Rounds instead of images, where equal updates are wanted.
        batch_size: Real images in each step of the discriminator, for all arms.
        device: cpu, cuda ...; the best there is if left out.
        precision: auto, float32 or bf16.
        evaluate_every: Also measure every run whenever so many images were seen (20k), for curves in the report.
        retry_failed: Train failed runs once more, after the cause has been mended.
    """
    from frugan.comparison import compare as run

    shared = [arm for arm in arms if is_key(arm)]
    run(
        [arm for arm in arms if not is_key(arm)], changes=key_values(shared), families=listed(families) or (),
        seeds=seeds_of(seeds), images=images, data=data, out=out, jobs=jobs, metrics=listed(metrics), view=view,
        count=count, reference=reference, baseline=baseline, margin=margin, pilot_seeds=pilots_of(pilot_seeds),
        match=match, equal=equal, no_damaged=no_damaged, rounds=rounds, batch_size=batch_size,
        device=device, precision=precision, evaluate_every=evaluate_every, retry_failed=retry_failed,
        code=code, trust_code=trust_code, allow_changed_code=allow_changed_code,
    )



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
