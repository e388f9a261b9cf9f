"""Statistics of paired runs: the comparison sheet's examples to the digits given there, and scipy as the reference."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from frugan import intervals, metrics
from frugan.registry import UserError

A = (12.1, 11.8, 12.6, 12.0, 11.9)
B = (12.4, 12.3, 12.5, 12.6, 12.2)
P = intervals.paired(A, B)
Q = intervals.paired((0.10, -0.05, 0.02, 0.08, -0.03), (0.0,) * 5)


def from_differences(*differences: float) -> intervals.PairedDifference:
    return intervals.paired(differences, [0.0] * len(differences))


def digits(*expected: float) -> object:
    return pytest.approx(expected, abs=1e-7)


# --------------------------------------------------------------------------------------------------- the t distribution


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 6.38, 9, 30, 500, 1e5])
def test_student_t_agrees_with_scipy(freedom: float) -> None:
    reference = pytest.importorskip("scipy.stats").t(freedom)
    for t in (-30.0, -2.5, -0.1, 0.0, 1e-9, 0.3, 1.0, 4.0, 100.0):
        assert intervals.student_t_cdf(t, freedom) == pytest.approx(reference.cdf(t), rel=1e-9, abs=1e-15)
    for probability in (1e-6, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9999):
        expected = reference.ppf(probability)
        assert intervals.student_t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_comparison_statistics_sheet_2_t_multipliers() -> None:
    multipliers = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
    for n, expected in multipliers.items():
        assert intervals.student_t_quantile(0.975, n - 1) == pytest.approx(expected, abs=5e-4)


def test_comparison_statistics_sheet_2_smallest_sign_flip_probabilities() -> None:
    smallest = {3: 0.25, 4: 0.125, 5: 0.0625, 6: 0.03125, 7: 0.015625, 8: 0.0078125}
    for n, expected in smallest.items():
        assert intervals.sign_flip_p(range(1, n + 1)) == expected


def test_comparison_statistics_sheet_2_seeds_for_80_percent_power() -> None:
    for dz, seeds in {0.5: 34, 0.8: 15, 1.0: 10, 1.5: 6, 2.0: 5, 3.0: 4}.items():
        assert intervals.pairs_for_power(dz) == seeds


def test_pairs_for_a_margin_follow_the_half_width_and_the_one_sided_power() -> None:
    """t(0.95, n - 1) sd / sqrt(n) < margin, and the power of non-inferiority where nothing differs."""
    stats = pytest.importorskip("scipy.stats")
    for ratio in (0.4, 1.0, 2.5):
        n = intervals.pairs_for_width(1.0, ratio)
        widths = [stats.t.ppf(0.95, pairs - 1) / math.sqrt(pairs) for pairs in (n - 1, n) if pairs > 1]
        assert widths[-1] < ratio
        assert all(width >= ratio for width in widths[:-1])
        n = intervals.pairs_for_power(ratio, 0.9, sides=1)
        powers = [
            stats.nct.sf(stats.t.ppf(0.95, pairs - 1), pairs - 1, ratio * math.sqrt(pairs)) for pairs in (n - 1, n)
        ]
        assert powers[0] < 0.9 <= powers[1]
    with pytest.raises(UserError, match="Give a larger margin"):
        intervals.pairs_for_width(1.0, 1e-6)


def test_comparison_statistics_sheet_5_10_power_table() -> None:
    effects = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
    table = {
        3: (0.08, 0.13, 0.18, 0.32, 0.47, 0.74),
        5: (0.14, 0.28, 0.40, 0.71, 0.91, 1.00),
        10: (0.29, 0.62, 0.80, 0.99, 1.00, 1.00),
    }
    for n, row in table.items():
        # the table's 0.74 is 0.7453 (scipy agrees, below), hence a little more than half of its last digit
        assert [intervals.power(dz, n) for dz in effects] == pytest.approx(row, abs=0.0055)


def test_power_agrees_with_the_noncentral_t_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for n in (2, 3, 5, 20):
        for dz in (0.0, 0.5, 1.5, 3.0):
            threshold, shift = stats.t.ppf(0.975, n - 1), dz * math.sqrt(n)
            expected = stats.nct.sf(threshold, n - 1, shift) + stats.nct.cdf(-threshold, n - 1, shift)
            assert intervals.power(dz, n) == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------------------------- section 5, example P


def test_comparison_statistics_sheet_5_1_paired_difference() -> None:
    assert P.differences == pytest.approx((-0.3, -0.5, 0.1, -0.6, -0.3))
    assert (P.mean, P.sd, P.se, P.t) == digits(-0.32, 0.2683282, 0.12, -2.6666667)
    assert P.p == pytest.approx(0.0560, abs=5e-5)
    assert P.n == 5
    assert P.missing == ()


def test_paired_difference_agrees_with_scipy() -> None:
    reference = pytest.importorskip("scipy.stats").ttest_rel(A, B)
    assert (P.t, P.p) == pytest.approx((reference.statistic, reference.pvalue))


def test_comparison_statistics_sheet_5_2_t_interval() -> None:
    assert P.interval_95 == digits(-0.6531734, 0.0131734)
    assert P.interval_90 == digits(-0.5758216, -0.0641784)
    assert intervals.t_interval(P.differences) == pytest.approx(P.interval_95)
    assert intervals.t_interval(P.differences, 0.90) == pytest.approx(P.interval_90)


def test_comparison_statistics_sheet_5_3_unpaired_welch() -> None:
    found = intervals.welch(A, B)
    assert found.p == pytest.approx(0.0869382, abs=1e-7)
    assert found.difference == pytest.approx(P.mean)
    reference = pytest.importorskip("scipy.stats").ttest_ind(A, B, equal_var=False)
    assert found.interval == pytest.approx(tuple(reference.confidence_interval()))
    assert found.freedom == pytest.approx(reference.df)


def test_comparison_statistics_sheet_5_4_exact_sign_flip() -> None:
    assert intervals.sign_flip_p(P.differences) == 0.125
    assert intervals.sign_flip_p(P.differences, "less") == 0.0625
    assert intervals.sign_flip_p(P.differences, "greater") == 31 / 32


def test_comparison_statistics_sheet_5_5_full_bootstrap_enumeration() -> None:
    means = intervals.bootstrap_means(P.differences)
    assert len(means) == 5**5
    assert statistics.pstdev(means) == pytest.approx(0.1073313, abs=1e-7)
    assert intervals.bootstrap_interval(P.differences) == digits(-0.52, -0.10)


def test_bootstrap_of_many_seeds_draws_and_repeats_itself() -> None:
    differences = [math.sin(3 * index) for index in range(20)]
    found = intervals.bootstrap_interval(differences, resamples=2000, seed=1)
    assert found == intervals.bootstrap_interval(differences, resamples=2000, seed=1)
    wide = intervals.t_interval(differences)
    assert found == pytest.approx(wide, abs=0.1)
    assert len(intervals.bootstrap_means(range(6))) == 6**6
    assert len(intervals.bootstrap_means(range(7), resamples=50)) == 50


def test_comparison_statistics_sheet_5_6_effect_size_and_wins() -> None:
    assert P.dz == pytest.approx(-1.1925696, abs=1e-7)
    assert intervals.win_rate(P.differences) == 4 / 5
    assert intervals.chance_lower(A, B, ties=0.0) == pytest.approx(0.80)
    assert intervals.chance_lower(A, B) == pytest.approx(0.82)


def test_comparison_statistics_sheet_5_7_non_inferiority_and_verdict() -> None:
    assert intervals.not_above(P, 0.3) == digits(-5.1666667, 0.0033336)
    assert intervals.not_below(P, 0.3).p == pytest.approx(0.5621410, abs=1e-7)
    assert not intervals.equivalent(P, 0.3)
    said = intervals.verdict(P, 0.3)
    assert said.kind == "not worse"
    assert "margin 0.3" in said.text


def test_comparison_statistics_sheet_5_q_equivalence() -> None:
    assert (Q.mean, Q.sd) == digits(0.024, 0.0658027)
    assert Q.interval_90 == digits(-0.0387357, 0.0867357)
    assert intervals.not_above(Q, 0.2).p == pytest.approx(0.0019643, abs=1e-7)
    assert intervals.not_below(Q, 0.2).p == pytest.approx(0.0007994, abs=1e-7)
    assert intervals.equivalent(Q, 0.2)


# --------------------------------------------------------------------------------------------- section 5, items 8 to 14


def test_comparison_statistics_sheet_5_8_holm() -> None:
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.6, 0.9]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_comparison_statistics_sheet_5_9_pareto_front_and_hypervolume() -> None:
    points = {"a": (1.0, 20.0), "b": (0.5, 25.0), "c": (0.5, 22.0), "d": (2.0, 20.0), "e": (0.2, 40.0)}
    front = intervals.pareto(list(points.values()))
    assert [list(points)[index] for index in front] == ["a", "c", "e"]
    assert intervals.hypervolume(list(points.values()), (2.5, 50.0)) == pytest.approx(62)
    assert intervals.pareto([(1, 1), (1, 1), (1, 2)]) == [0, 1]
    assert intervals.pareto([(1, 2, 3), (3, 2, 1), (3, 3, 3)]) == [0, 1]


def test_comparison_statistics_sheet_5_11_permutation_probability_is_never_zero() -> None:
    for n in (2, 5, 10, 15):
        assert intervals.sign_flip_p([-1e9] * n, "less") == 2**-n
        assert intervals.sign_flip_p([-1e9] * n) == 2 * 2**-n
    with pytest.raises(UserError, match="at most 15"):
        intervals.sign_flip_p([1.0] * 16)


def test_comparison_statistics_sheet_5_12_one_seed_gives_no_interval() -> None:
    one = from_differences(-0.3)
    assert one.mean == -0.3
    assert one.interval_95 is one.interval_90 is one.sd is one.p is None
    for refused in (intervals.bootstrap_interval, intervals.t_interval):
        with pytest.raises(UserError, match="--seeds 0-4"):
            refused([-0.3])
    for refused in (intervals.not_above, intervals.not_below, intervals.equivalent):
        with pytest.raises(UserError, match="--seeds 0-4"):
            refused(one, 1.0)
    with pytest.raises(UserError, match="--seeds 0-4"):
        intervals.welch([1.0], [2.0, 3.0])
    assert intervals.verdict(one, 1.0) == ("direction", "lower in 1 of 1 seeds")


def test_comparison_statistics_sheet_5_12_two_seeds_give_an_interval_and_no_verdict() -> None:
    two = from_differences(-0.3, -0.5)
    assert two.interval_95 is not None
    low, high = intervals.bootstrap_interval(two.differences)
    assert -0.5 <= low < high <= -0.3
    assert intervals.verdict(two, 1.0).kind == "direction"


@pytest.mark.parametrize("offset", [0.0, -0.3])
def test_comparison_statistics_sheet_5_12_equal_differences(offset: float) -> None:
    equal = intervals.paired([value + offset for value in B], B)  # equal but for the rounding of each subtraction
    assert equal.sd == equal.se == 0
    assert equal.p == (0 if offset else 1)
    assert equal.t is None
    assert equal.interval_95 == equal.interval_90 == (equal.mean, equal.mean)
    assert intervals.bootstrap_interval([offset] * 5) == pytest.approx((offset, offset))
    assert intervals.sign_flip_p([0.0] * 5) == 1
    assert intervals.equivalent(equal, 1.0)
    assert intervals.not_above(equal, 1.0).p == intervals.not_below(equal, 1.0).p == 0
    assert intervals.welch([1.0, 1.0], [1.0, 1.0]).p == 1
    assert intervals.welch([1.0, 1.0], [2.0, 2.0]).p == 0


def test_comparison_statistics_sheet_5_13_swapping_the_arms_mirrors() -> None:
    swapped = intervals.paired(B, A)
    assert swapped.mean == -P.mean
    assert swapped.p == pytest.approx(P.p)
    assert P.interval_95 is not None
    assert swapped.interval_95 == pytest.approx((-P.interval_95.high, -P.interval_95.low))
    assert intervals.chance_lower(B, A) == pytest.approx(1 - intervals.chance_lower(A, B))


def test_comparison_statistics_sheet_5_14_a_missing_pair_is_dropped_and_reported() -> None:
    first, second = dict(enumerate(A)), dict(enumerate(B))
    found = intervals.paired({**first, 2: None}, second)
    assert found.n == 4
    assert found.seeds == (0, 1, 3, 4)
    assert found.missing == (2,)
    del second[0]
    found = intervals.paired({**first, 7: 12.0}, second)
    assert found.differences == P.differences[1:]
    assert found.missing == (0, 7)
    assert "2 unpaired seeds dropped" in intervals.verdict(found, 0.3).text
    with pytest.raises(UserError, match="same --seeds"):
        intervals.paired({0: 1.0}, {1: 2.0})


# ---------------------------------------------------------------------------------------------------- verdicts and arms


@pytest.mark.parametrize(
    ("differences", "margin", "kind"),
    [
        ((-3.0, -3.1, -2.9, -3.2, -2.8), 1.0, "better"),
        ((0.3, -0.2, 0.1, -0.1, 0.0), 1.0, "not worse"),
        ((0.5, 0.6, 0.4, 0.5, 0.5), 1.0, "worse within margin"),
        ((3.0, 3.1, 2.9, 3.2, 2.8), 1.0, "worse beyond margin"),
        ((3.0, -3.1, 2.9, -3.2, 2.8), 1.0, "inconclusive"),
        ((1.0, 1.5, 0.5, 1.2, 0.8), 1.0, "inconclusive"),
        ((-3.0, -3.1, -2.9, -3.2, -2.8), None, "no margin"),
        ((3.0, 3.1, 2.9, 3.2), 1.0, "direction"),
    ],
)
def test_comparison_statistics_sheet_3_verdict_table(
    differences: tuple[float, ...], margin: float | None, kind: str
) -> None:
    found = from_differences(*differences)
    assert intervals.verdict(found, margin).kind == kind
    mirrored = intervals.verdict(from_differences(*(-value for value in differences)), margin, better="higher")
    assert mirrored.kind == kind
    if margin is not None and kind != "direction":
        assert "margin 1" in mirrored.text
    assert "equal" not in mirrored.text


def test_comparison_statistics_sheet_3_fewer_than_five_pairs_are_a_direction() -> None:
    assert intervals.verdict(from_differences(-1, -2, -3), 0.1).text == "lower in 3 of 3 seeds"
    assert intervals.verdict(from_differences(1, -2, 3)).text == "higher in 2 of 3 seeds"
    assert intervals.verdict(from_differences(1, -2)).text == "lower in 1 of 2 seeds"
    assert intervals.verdict(from_differences(1, -2), better="higher").text == "higher in 1 of 2 seeds"
    assert intervals.verdict(from_differences(0, 0)).text == "the same in 2 of 2 seeds"


def test_verdicts_refuse_a_margin_that_allows_nothing() -> None:
    for margin in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="above 0"):
            intervals.verdict(P, margin)
    with pytest.raises(UserError, match="neither 'lower' nor 'higher'"):
        intervals.verdict(P, 1.0, better="less")


def test_comparison_statistics_sheet_3_margin() -> None:
    margin = metrics.find("fid").margin
    assert margin is not None
    assert margin(10.0, "inception") == 1.0
    assert margin(40.0, "inception") == pytest.approx(2.0)
    assert margin(10.0, "pixels") == pytest.approx(0.5)  # 1 is a convention of the Inception view alone
    assert metrics.find("kid").margin is None


def test_comparison_statistics_sheet_2_failed_runs_count_as_the_worst_observed() -> None:
    with pytest.raises(UserError, match="failed_as_worst"):
        intervals.paired((1.0, math.nan), (1.0, 2.0))
    first, second = intervals.failed_as_worst((1.0, math.nan, 3.0), {0: 9.0, 1: 2.0, 2: None})
    assert first == {0: 1.0, 1: 9.0, 2: 3.0}
    assert second == {0: 9.0, 1: 2.0, 2: None}
    assert intervals.failed_as_worst((1.0, math.inf), better="higher") == [{0: 1.0, 1: 1.0}]
    with pytest.raises(UserError, match="nothing to compare"):
        intervals.failed_as_worst((math.nan,))


@pytest.mark.parametrize("table", [(0, 5, 0, 5), (1, 5, 0, 5), (5, 5, 0, 5), (4, 5, 1, 5), (2, 10, 7, 9), (3, 4, 3, 8)])
def test_failure_rates_are_compared_exactly(table: tuple[int, int, int, int]) -> None:
    one, of, other, of_other = table
    reference = pytest.importorskip("scipy.stats").fisher_exact([[one, of - one], [other, of_other - other]])
    assert intervals.fisher(*table) == pytest.approx(reference.pvalue)


def test_comparison_statistics_sheet_3_ratios_are_compared_by_their_logarithms() -> None:
    found = intervals.paired_ratio((2.0, 8.0), (1.0, 2.0))
    assert math.exp(found.mean) == pytest.approx(math.sqrt(8))
    with pytest.raises(UserError, match="above 0"):
        intervals.paired_ratio((0.0, 1.0), (1.0, 1.0))
    assert intervals.skewed((1.0, 3.1), (1.0, 1.0))
    assert not intervals.skewed((1.0, 2.9), (10.0, 10.0))
    assert not intervals.skewed((-1.0, 3.1))


def test_comparison_statistics_sheet_4_front_with_uncertain_quality() -> None:
    costs, quality = (1.0, 2.0, 2.0, 3.0), (20.0, 10.0, 11.0, 30.0)
    sure = {(1, 3), (0, 3)}
    found = intervals.places(costs, quality, lambda one, other: (one, other) in sure)
    assert found == ["front", "front", "undecided", "dominated"]
    assert intervals.places((3.0, 1.0), (1.0, 2.0), lambda one, other: (one, other) == (0, 1)) == ["front", "front"]


def test_comparison_statistics_sheet_3_a_variant_with_itself_is_found_different_in_five_of_a_hundred() -> None:
    source = random.Random(0)
    claimed = worse = 0
    for _ in range(2000):
        base = [source.gauss(20, 1) for _ in range(5)]
        again = [source.gauss(20, 1) for _ in range(5)]
        found = intervals.verdict(intervals.paired(again, base), 1e6)  # a margin that no difference can reach
        claimed += found.kind in ("better", "worse within margin")
        worse += intervals.verdict(intervals.paired(again, base), 1.0).kind.startswith("worse beyond")
    assert claimed / 2000 == pytest.approx(0.05, abs=0.015)  # three standard errors
    assert worse / 2000 < 0.02


def test_correlation_of_the_pairs() -> None:
    assert P.correlation == pytest.approx(statistics.correlation(A, B))
    assert Q.correlation is None  # one side does not vary


def test_summary_of_one_arm() -> None:
    found = intervals.summary([3.0, 1.0, math.nan, 2.0])
    assert found == (3, 2.0, 1.0, 2.0, 1.0, 3.0, 1)
    assert intervals.summary([3.0]).sd is None
    with pytest.raises(UserError, match="None of the 1 runs"):
        intervals.summary([math.nan])
