"""How balanced the games of a comparison are: numbers that its runs logged, compared with the baseline.

For each arm it prints the mean of a logged number over the last quarter of training, and its standard deviation over
the lines of the log. Then it prints the difference to the baseline, seed by seed, with a 95 % interval.

    python examples/balance_log.py runs/compare-dcgan-medium-vbn
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from frugan.intervals import paired

BALANCE = (
    "discriminator.loss", "generator.loss", "discriminator.accuracy_real", "discriminator.accuracy_fake",
    "health.flicker",
)  # fmt: skip


def last_quarter(log: Path, key: str) -> list[float]:
    """The values of `key` in the log for the last quarter of the images, or else only the last value."""
    lines = [line for line in map(json.loads, log.read_text().splitlines()) if key in line]
    late = [line[key] for line in lines if line["images"] > 0.75 * lines[-1]["images"]] if lines else []
    return late or [line[key] for line in lines[-1:]]


def told(values: dict[int, float], baseline: dict[int, float]) -> str:
    """The mean over the seeds, then the difference to the baseline."""
    mean = f"{statistics.fmean(values.values()):.3f}"
    found = paired(values, baseline)
    if found.interval_95 is None or values is baseline:
        return mean
    return f"{mean} ({found.mean:+.3f}: {found.interval_95.low:+.3f} to {found.interval_95.high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="a comparison's folder")
    parser.add_argument("--keys", default=",".join(BALANCE), help="names in log.jsonl, with commas")
    given = parser.parse_args()
    plan = json.loads((given.comparison / "plan.json").read_text())
    names = sorted(plan["arms"], key=lambda name: name != plan["baseline"])
    for key in given.keys.split(","):
        print(f"\n| {key} | mean (against {names[0]}, 95 %) | swing |\n| --- | --- | --- |")
        means, swings = {}, {}
        for name in names:
            logs = {seed: given.comparison / "runs" / name / f"seed-{seed}" / "log.jsonl" for seed in plan["seeds"]}
            late = {seed: values for seed, log in logs.items() if log.is_file() and (values := last_quarter(log, key))}
            means[name] = {seed: statistics.fmean(values) for seed, values in late.items()}
            swings[name] = {seed: statistics.pstdev(values) for seed, values in late.items()}
            if late:
                print(f"| {name} | {told(means[name], means[names[0]])} | {told(swings[name], swings[names[0]])} |")


if __name__ == "__main__":
    main()
