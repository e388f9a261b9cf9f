"""Lists the facts of the specification sheets that no test checks yet; run as ``python tests/references/untested.py``.

A test cites what it checks in its name: ``test_<sheet>_sheet_<item, with _ for .>_...``. Items are the numbers of the
sheets' sections and facts, those tagged computed, recomputed or checked. Where one section holds several facts, a word
that the test's name must hold tells them apart (``"4 smoothing"``; ``"5 ema|average"`` takes either word). Ends with 0
if every item has a test, else with 1.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ITEMS: dict[str, list[str]] = {
    "factorised": [
        "2 weight|percent|fraction",
        "5.1",  # transposed 'same': crops for every kernel and stride
        "5.2",
        "6.8",
        "7 mac",
        *[f"9.{item}" for item in range(1, 12)],
    ],
    "dcgan": ["2.6 count|param|total", "2.6 mac", "7.1", "7.3", "7.4", "7.7", "7.8"],
    "coursework": ["2.3", "2.4", "5 mixtures", *[f"6.{item}" for item in range(1, 9)]],
    "losses": [
        *[
            f"1.{name}"
            for name in (
                "minimax",
                "non_saturating",
                "lsgan",
                "hinge",
                "wgan",
                "relativistic",
                "relativistic_average",
                "ra_lsgan",
                "ra_hinge",
                "halved",
            )
        ],
        "1 parts",
        "1 targets_minus_one",
        "1 equilibrium",
        "1 zero_logits",
        "1 minus_five",
        "1 swapped",
        "1 constant_added",
        "1 pairs",
        "1 through_the_fakes",
        "2 linear",
        "2 quadratic",
        "2 one_sided",
        "2 zero",
        "4 feature_matching",
        "4 minibatch_discrimination",
        "4 minibatch_standard_deviation",
        "4 smoothing",
        "5 spectral",
        "5 ema|average|half_life",
        "6 batch_norm|warn",
        "6 minibatch_layers",
        "6 smoothing",
        "6 unequal",
        "6 float32|precision",
        "7 finite",
        "7 one_side",
        "7 doubl",
        "7 twice",
        "7 spectral",
    ],
    "metrics": [
        "2.1 bias",
        "2.1 infinity",
        "2.4 expected_coverage",
        "2.10 linear",  # latent path length
        "2.10 bytes",
        "3 parameters",  # the Inception network
        "3 tensors",
        "3 layout",
        "3 input_range",
        *[f"5.{item}" for item in range(1, 16)],  # FID, KID, Inception Score, neighbours
        "2.11",  # classification accuracy score
        "2.12",  # memorisation
        "2.13",  # modes
        "5.18",
        "5.19",
        "5.20",
        "5.22",
        "5.23",
        "5.24",
        "5.25 swd",
        "5.25 ms_ssim",
    ],
    "pggan": [f"5.{item}" for item in range(11, 20)],  # its metrics
    "stargan_depthwise": ["2.1", "2.2", "2.3", "2.4", "2.5", *[f"5.{item}" for item in range(1, 16)]],
    "cyclegan": ["2.1", "2.2", "2.3", *[f"5.{item}" for item in range(1, 12)]],
    # Section 6's arithmetic of published percentages is that of factorised, section 7.
    "comparison_statistics": ["2 power", "2 multiplier", "2 sign_flip", *[f"5.{item}" for item in range(1, 15)], "5.q"],
}

# Facts of these sheets about what is built later, each with what that is.
LATER: dict[str, dict[str, str]] = {
    "dcgan": {"4": "latents", "5": "probe", "7.2": "probe", "7.5": "latents", "7.6": "latents"},
    "losses": {"3": "R3GAN"},
    "metrics": {
        "5.16": "CMMD",
        "5.17": "MIND",
        "5.21": "Vendi",
        "5.25 lpips": "LPIPS",
    },
}


def test_names(folder: Path) -> set[str]:
    """The names of all test functions in and under `folder`."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def tested(sheet: str, item: str, names: set[str]) -> bool:
    """Whether a test's name cites this item of this sheet, with one of its words if it has any."""
    number, _, words = item.partition(" ")
    cited = f"test_{sheet}_sheet_{number.replace('.', '_')}_"
    rests = [f"{name}_".removeprefix(cited) for name in names if f"{name}_".startswith(cited)]
    return any(word in rest for rest in rests for word in words.split("|"))


def main() -> int:
    names = test_names(Path(__file__).resolve().parents[1])
    missing = [(sheet, item) for sheet, items in ITEMS.items() for item in items if not tested(sheet, item, names)]
    for sheet, item in missing:
        print(f"{sheet}: {item}")
    waiting = [
        f"{sheet} {item} ({what})"
        for sheet, items in LATER.items()
        for item, what in items.items()
        if not tested(sheet, item, names)
    ]
    print(f"{sum(map(len, ITEMS.values())) - len(missing)} items have a test, {len(missing)} have none.")
    print(f"Left for what is built later: {', '.join(waiting)}.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
