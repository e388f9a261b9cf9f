"""What a comparison over seeds allows one to say: paired differences, their intervals, and a verdict or none.

The unit is one training run. Two arms trained with the same seeds are compared seed by seed, d = A - B, because what
the seed decides (data order, latents) is then shared. Plain Python throughout, on a handful of numbers; nothing here
knows what was measured.
"""

from __future__ import annotations

from frugan.intervals._front import hypervolume, pareto, places
from frugan.intervals._paired import (
    Interval,
    PairedDifference,
    Summary,
    Values,
    Welch,
    correlation,
    failed_as_worst,
    lower_is_better,
    paired,
    paired_ratio,
    skewed,
    summary,
    t_interval,
    welch,
)
from frugan.intervals._resampling import (
    bootstrap_interval,
    bootstrap_means,
    chance_lower,
    fisher,
    holm,
    sign_flip_p,
    win_rate,
)
from frugan.intervals._student import pairs_for_power, pairs_for_width, power, student_t_cdf, student_t_quantile
from frugan.intervals._verdict import (
    SEEDS_FOR_A_VERDICT,
    MarginTest,
    Verdict,
    equivalent,
    not_above,
    not_below,
    verdict,
)

__all__ = [
    "SEEDS_FOR_A_VERDICT", "Interval", "MarginTest", "PairedDifference", "Summary", "Values", "Verdict", "Welch",
    "bootstrap_interval", "bootstrap_means", "chance_lower", "correlation", "equivalent", "failed_as_worst", "fisher",
    "holm", "hypervolume", "lower_is_better", "not_above", "not_below", "paired", "paired_ratio", "pairs_for_power",
    "pairs_for_width", "pareto", "places", "power", "sign_flip_p", "skewed", "student_t_cdf", "student_t_quantile",
    "summary", "t_interval", "verdict", "welch", "win_rate",
]  # fmt: skip
