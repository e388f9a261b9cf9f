"""The Fréchet distance of two sets of 2,048-d features, against the root of a matrix by SciPy. Gate: 5 times faster.

Three sides in turn: ours from 10,000 features a set, covariances included; ours from given means and covariances; and
``scipy.linalg.sqrtm`` of the product of the same covariances, as many programs do it. The gate compares the first,
which does most, with the last. All three must agree to 1e-6. The imaginary part of SciPy's root is reported; ours has
none.

The short form takes 512 dimensions and 2,500 features. SciPy's side grows fastest with the width. So there the second
side is compared with the last, and must be 4 times faster.
"""

from __future__ import annotations

import sys

import torch
from _report import arguments, finish, in_turn, show, spread, times_faster

from frugan.metrics import fid
from frugan.metrics._features import collect

try:
    import scipy
    import scipy.linalg
except ImportError:
    sys.exit("This program compares with SciPy, which is not installed: pip install -e '.[test]'")

LIMIT, QUICK_LIMIT = 5.0, 4.0
WIDTH, COUNT, QUICK_WIDTH, QUICK_COUNT = 2048, 10_000, 512, 2_500


def draw(count: int, width: int, seed: int) -> torch.Tensor:
    """Features whose variance falls with the axis, as those of real networks do, then turned at random."""
    numbers = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, width + 1) ** -0.5
    turn = torch.linalg.qr(torch.randn(width, width, generator=numbers))[0]
    return (torch.randn(count, width, generator=numbers) * scales) @ turn + 0.1 * torch.rand(width, generator=numbers)


def main() -> None:
    options = arguments(__doc__ or "")
    width, count = (QUICK_WIDTH, QUICK_COUNT) if options.quick else (WIDTH, COUNT)
    real, fake = draw(count, width, 0), draw(count, width, 1)
    statistics = collect([real]), collect([fake])
    (m1, s1), (m2, s2) = ((one.mean.numpy(), one.covariance.numpy()) for one in statistics)
    imaginary = 0.0

    def by_scipy() -> float:
        nonlocal imaginary
        root = scipy.linalg.sqrtm(s1 @ s2)
        imaginary = max(imaginary, float(abs(root.imag).max()))
        return float(((m1 - m2) ** 2).sum() + (s1 + s2 - 2 * root.real).trace())

    from_features, from_statistics = "ours, from features", "ours, from means and covariances"
    sides = {
        from_features: lambda: fid.compute(real=real, fake=fake)["fid"],
        from_statistics: lambda: fid.frechet(*statistics),
        f"SciPy {scipy.__version__}, the same": by_scipy,
    }
    by_root = list(sides)[-1]
    values = {name: run() for name, run in sides.items()}
    seconds = in_turn(sides)
    faster = {name: times_faster(seconds[by_root], seconds[name]) for name in sides}
    rows = []
    for name, taken in seconds.items():
        middle = spread(taken)
        quartiles = f"{middle.lower:.3g}-{middle.upper:.3g}"
        rows.append([name, middle.median, quartiles, faster[name].median, f"{values[name]:.9g}"])
    show([f"{count:,} x {width:,}", "median s", "quartiles", "times faster", "distance"], rows)
    print(f"largest imaginary part of SciPy's root: {imaginary:.3g}")
    off = max(abs(value / values[by_root] - 1) for value in values.values())
    result = {
        "width": width,
        "count": count,
        "scipy": scipy.__version__,
        "seconds": seconds,
        "values": values,
        "largest_relative_difference": off,
        "largest_imaginary_part": imaginary,
        "times_faster": {name: ratio._asdict() for name, ratio in faster.items()},
    }
    held, limit = (from_statistics, QUICK_LIMIT) if options.quick else (from_features, LIMIT)
    met = faster[held].median >= limit and off <= 1e-6
    gate = f"{held}: at least {limit:g} times faster than SciPy's root from means and covariances, equal to 1e-6"
    finish(options, result, met=met, gate=gate)


if __name__ == "__main__":
    main()
