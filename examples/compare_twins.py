"""Is a factorised generator worse? Train both twins with the same seeds, and print the verdict.

    python examples/compare_twins.py --images 300k --seeds 5
"""

from __future__ import annotations

import argparse
from pathlib import Path

import frugan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="60k", help="real images that each run is shown")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm; fewer than five give a direction only")
    parser.add_argument("--count", default="10k", help="images made for each evaluation")
    parser.add_argument("--view", default=None, help="how images are looked at; chosen by the data if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/example-twins"), help="where the comparison goes")
    given = parser.parse_args()

    arms = [
        "standard: mnist",  # the first is the baseline
        "factorised: mnist --family factorised",
        "damaged: mnist architecture.width=0.1",  # a control: a comparison that does not find it worse proves nothing
    ]
    comparison = frugan.compare(
        arms, data="glyphs", images=given.images, seeds=range(given.seeds), count=given.count, view=given.view,
        metrics=["fid"], out=given.out,
    )
    for name, difference in comparison.data["differences"]["fid"].items():
        print(f"{name}: {difference['text']}")


if __name__ == "__main__":
    main()
