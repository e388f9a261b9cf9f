"""What a comparison says of values that are given here: verdicts, what they are withheld for, controls and fronts."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from frugan.comparison.verdicts import fronts, verdicts
from frugan.comparison.verdicts.differences import ArmValues, find_difference

PLAIN = (12.4, 12.3, 12.5, 12.6, 12.2)
THIN = (12.1, 11.8, 12.6, 12.0, 11.9)
DAMAGED = (20.1, 19.5, 21.0, 20.4, 20.2)


def result(arms: dict[str, tuple[float, ...]], **about: Any) -> dict[str, Any]:
    """A comparison of these values; names that begin with "damaged" are; `about` adds keys to runs of an arm."""

    def run(name: str, seed: int, value: float) -> dict[str, Any]:
        failed = "loss is not finite" if math.isnan(value) else None
        values = {} if failed else {"fid": {"values": {"fid": value}, "headline": "fid"}}
        return {"failed": failed, "values": values, "findings": [], **about.get(name, lambda seed: {})(seed)}

    listed = []
    for name, values in arms.items():
        finite = [value for value in values if not math.isnan(value)]
        runs = {str(seed): run(name, seed, value) for seed, value in enumerate(values)}
        control = name.removesuffix(" control") if name.endswith(" control") else None
        listed.append(
            {"name": name, "damaged": name.startswith("damaged"), "control_of": control, "images": 100, "runs": runs,
             "generator": {"parameters": len(listed) + 1, "macs": 10 - len(listed)}, "latency": {}, "file_bytes": None,
             "apart": [],
             "summary": {"fid": {"mean": sum(finite) / len(finite)} if finite else None}}
        )  # fmt: skip
    return {
        "primary": "fid", "baseline": "plain", "margin": 0.3, "metrics": {"fid": {"better": "lower"}}, "arms": listed,
    }


def said(arms: dict[str, tuple[float, ...]], **about: Any) -> dict[str, Any]:
    return verdicts.judge_arms(result({"plain": PLAIN, **arms}, **about), "fid")


def moved(values: tuple[float, ...], *by: float) -> Any:
    """The way of an arm's runs: what they had before, that much more than at the end; a little less alike."""

    def way(seed: int) -> dict[str, Any]:
        numbers = [values[seed] + more * (1 + 0.01 * seed) for more in by] + [values[seed]]
        return {"way": [{"images": images, "number": number} for images, number in enumerate(numbers)]}

    return way


def judged(*others: tuple[float, ...]) -> Any:
    return lambda seed: {"judges": [values[seed] for values in others]}


def test_comparison_statistics_sheet_5_7_not_worse_takes_a_damaged_arm_that_was_found_worse() -> None:
    alone = said({"thin": THIN})
    assert alone["thin"]["kind"] == "unproven"
    assert "no damaged arm" in alone["thin"]["text"]
    assert "(margin 0.3, 5 seeds)" in alone["thin"]["text"]
    shown = said({"thin": THIN, "damaged": DAMAGED})
    assert shown["damaged"]["kind"] == "worse beyond margin"
    assert shown["thin"]["kind"] == "not worse"
    # That it failed as well does not hide that it was worse.
    failing = said({"thin": THIN, "damaged": (*DAMAGED[:4], math.nan)})
    assert failing["damaged"]["kind"] == "withheld"
    assert failing["thin"]["kind"] == "not worse"
    blind = said({"thin": THIN, "damaged": (12.5, 12.2, 12.6, 12.4, 12.3)})
    assert blind["thin"]["kind"] == "unproven"


def test_comparison_statistics_sheet_5_5_everything_that_is_printed_beside_a_difference() -> None:
    one = said({"thin": THIN, "damaged": DAMAGED})["thin"]
    assert one["bootstrap_95"] == pytest.approx((-0.52, -0.10))
    assert one["sign_flip_p"] == 0.125
    assert (one["win_rate"], one["chance_better"]) == (0.8, pytest.approx(0.82))
    assert one["unpaired_p"] == pytest.approx(0.0869382, abs=1e-7)
    assert one["unpaired_95"][0] < one["mean"] < one["unpaired_95"][1]
    assert one["equivalence_p"] == pytest.approx(0.5621410, abs=1e-7)
    assert one["equivalent"] is False
    assert one["median"] == pytest.approx(-0.3)
    assert one["p_adjusted"] == one["p"]


def test_fewer_than_five_seeds_have_intervals_and_no_verdict() -> None:
    found = verdicts.judge_arms(result({"plain": PLAIN[:4], "thin": THIN[:4], "damaged": DAMAGED[:4]}), "fid")
    assert {one["kind"] for one in found.values()} == {"direction"}
    assert found["thin"]["interval_95"] is not None
    single = verdicts.judge_arms(result({"plain": PLAIN[:1], "thin": THIN[:1]}), "fid")["thin"]
    assert (single["interval_95"], single["bootstrap_95"], single["p"]) == (None, None, None)


def test_no_verdict_where_arms_fail_unequally_and_failures_are_compared_exactly() -> None:
    failing = (*DAMAGED[:4], math.nan)
    found = said({"thin": (*THIN[:4], math.nan), "damaged": DAMAGED})
    assert found["thin"]["kind"] == "withheld"
    assert "1 of 5 runs failed, 0 of 5 of plain (exact p 1)" in found["thin"]["text"]
    equally = result({"plain": (*PLAIN[:4], math.nan), "thin": (*THIN[:4], math.nan), "damaged": failing})
    assert verdicts.judge_arms(equally, "fid")["thin"]["kind"] in ("not worse", "inconclusive")
    counted = verdicts.count_failures(result({"plain": PLAIN, "thin": (*THIN[:1], *[math.nan] * 4)}))
    assert counted["thin"]["failed"] == 4
    assert counted["thin"]["failed_p"] == pytest.approx(2 * 5 / 210)  # both tables of 4 to 0 among C(10, 4)
    assert counted["plain"]["failed_p"] is None


def untrained(*seeds: int) -> Any:
    """Runs with these seeds that did not train."""
    return lambda seed: {"untrained": True} if seed in seeds else {}


def test_a_run_that_did_not_train_is_counted_as_one_that_failed_and_its_value_is_in_no_mean() -> None:
    half = (*THIN[:3], math.nan, math.nan)
    found = said({"thin": half, "damaged": DAMAGED}, thin=untrained(3, 4))
    assert found["thin"]["kind"] == "withheld"
    assert "2 of 5 runs did not train, 0 of 5 of plain (exact p 0.44)" in found["thin"]["text"]
    mixed = said({"thin": half, "damaged": DAMAGED}, thin=untrained(4))
    assert "2 of 5 runs failed (1 did not train), 0 of 5" in mixed["thin"]["text"]
    counted = verdicts.count_failures(result({"plain": PLAIN, "thin": half}, thin=untrained(4)))["thin"]
    assert (counted["failed"], counted["untrained"], counted["runs"]) == (2, 1, 5)
    assert counted["failed_p"] == pytest.approx(4 / 9)


def test_an_arm_that_never_trained_has_no_difference_and_its_control_says_why() -> None:
    never = (math.nan,) * 5
    arms = {"plain": PLAIN, "thin": never, "thin control": THIN, "damaged": DAMAGED}
    found = result(arms, thin=untrained(*range(5)))
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    assert "thin" not in found["differences"]["fid"]
    assert found["differences"]["fid"]["thin control"]["kind"] == "not worse"
    (row,) = verdicts.judge_against_controls(found, [{"arm": "thin", "control": "thin control", "match": "macs"}])
    assert (row["kind"], row["difference"]) == ("withheld", None)
    assert row["text"] == "against its control: nothing to compare (5 of 5 runs of thin did not train)"


def test_three_judges_have_to_agree() -> None:
    others = {"plain": judged(PLAIN, PLAIN), "damaged": judged(DAMAGED, DAMAGED)}
    agreed = said({"thin": THIN, "damaged": DAMAGED}, thin=judged(THIN, THIN), **others)["thin"]
    assert agreed["kind"] == "not worse"
    assert "3 judges agree" in agreed["text"]
    much = tuple(value + 5 for value in PLAIN)
    apart = said({"thin": THIN, "damaged": DAMAGED}, thin=judged(THIN, much), **others)["thin"]
    assert apart["kind"] == "withheld"
    assert "judges disagree (not worse, not worse, worse beyond margin)" in apart["text"]
    # A judge whose scale is another one has its margin on that scale.
    scaled = {name: judged(values, tuple(100 * v for v in values)) for name, values in
              (("plain", PLAIN), ("thin", THIN), ("damaged", DAMAGED))}  # fmt: skip
    assert "3 judges agree" in said({"thin": THIN, "damaged": DAMAGED}, **scaled)["thin"]["text"]
    lower = tuple(value - 2 for value in PLAIN)
    weaker = said({"thin": THIN, "damaged": DAMAGED}, thin=judged(lower, THIN), **others)["thin"]
    assert weaker["kind"] == "not worse"
    assert "1 of 3 judges: better" in weaker["text"]


def test_a_verdict_at_an_unfinished_budget_is_worded_so_and_withheld_if_its_sign_changes() -> None:
    still = {"plain": moved(PLAIN, 2.0, 1.0), "damaged": moved(DAMAGED, 2.0, 1.0)}
    found = said({"thin": THIN, "damaged": DAMAGED}, thin=moved(THIN, 2.0, 1.0), **still)["thin"]
    assert found["kind"] == "not worse"
    assert "at an unfinished budget: thin and plain still improving" in found["text"]
    # Seven eighths of the way it was worse by more than the margin.
    late = said({"thin": THIN, "damaged": DAMAGED}, thin=moved(THIN, 2.0, 3.0), **still)["thin"]
    assert late["kind"] == "withheld"
    assert "its sign changes over the last quarter" in late["text"]
    done = {"plain": moved(PLAIN, 0.0, 0.0), "thin": moved(THIN, 0.0, 3.0), "damaged": moved(DAMAGED, 0.0, 0.0)}
    settled = said({"thin": THIN, "damaged": DAMAGED}, **done)["thin"]
    assert settled["text"] == "not worse (margin 0.3, 5 seeds)"


def test_the_slope_over_the_last_quarter() -> None:
    side = ArmValues("thin", dict(enumerate(THIN)), [{s: v + 1 + 0.1 * s for s, v in enumerate(THIN)}] * 2)
    found = verdicts.find_slope(side, "lower")
    assert found is not None
    assert found["change"] == pytest.approx(-1.2)
    assert found["improving"]
    assert found["interval_95"].high < 0
    assert verdicts.find_slope(side, "higher")["improving"] is False  # type: ignore[index]
    assert verdicts.find_slope(ArmValues("thin", {0: 1.0}), "lower") is None


def test_unequal_budgets_are_said_in_the_verdict() -> None:
    found = result({"plain": PLAIN, "thin": THIN, "damaged": DAMAGED})
    found["arms"][1]["images"] = 200
    assert "; thin saw 200 images, plain 100" in verdicts.judge_arms(found, "fid")["thin"]["text"]


def test_comparison_statistics_sheet_6_the_ratio_of_skewed_values_stands_beside_the_verdict() -> None:
    skewed = {"plain": (10.0, 11.0, 12.0, 40.0, 11.5), "thin": (10.1, 10.9, 12.2, 40.5, 11.4), "damaged": (90.0,) * 5}
    found = verdicts.judge_arms({**result(skewed), "margin": 2.0}, "fid")["thin"]
    assert found["skewed"]
    assert "(margin 2, 5 seeds)" in found["text"]
    ratios = [t / p for t, p in zip(skewed["thin"], skewed["plain"], strict=True)]
    assert found["ratio"] == pytest.approx(math.prod(ratios) ** 0.2)
    assert found["ratio_95"][0] < found["ratio"] < found["ratio_95"][1]
    assert not said({"thin": THIN})["thin"]["skewed"]


def test_what_is_printed_is_what_is_judged_and_what_logarithms_would_say_is_said() -> None:
    """Every run is better by about a third; in plain numbers one large value drowns that."""
    base = (10.0, 12.0, 14.0, 300.0, 11.0)
    third = tuple(value / factor for value, factor in zip(base, (1.50, 1.55, 1.45, 1.52, 1.48), strict=True))
    result_of = {**result({"plain": base, "thin": third, "damaged": (900.0,) * 5}), "margin": 5.0}
    one = verdicts.judge_arms(result_of, "fid")["thin"]
    assert one["kind"] == "inconclusive"
    assert one["interval_95"][1] > 0
    assert "but better on logarithms: the values are skewed" in one["text"]
    scipy = pytest.importorskip("scipy.stats")
    plain = [t - b for t, b in zip(third, base, strict=True)]
    assert one["p"] == one["p_adjusted"] == pytest.approx(scipy.ttest_1samp(plain, 0).pvalue)
    sides = [scipy.ttest_1samp(plain, at, alternative=way).pvalue for at, way in ((5, "less"), (-5, "greater"))]
    assert one["equivalence_p"] == pytest.approx(max(sides))


def test_of_two_arms_with_equal_means_the_one_that_spreads_more_is_not_better() -> None:
    spread = (2.0, 18.0, 3.0, 17.0, 10.0)
    found = find_difference(
        ArmValues("wide", dict(enumerate(spread))), ArmValues("narrow", dict.fromkeys(range(5), 10.0)), 1.0, "lower"
    )
    assert found is not None
    assert found["mean"] == 0
    assert found["ratio"] < 0.8
    assert found["kind"] == "inconclusive"


def test_nothing_is_called_equivalent_either_where_no_damaged_arm_was_found_worse() -> None:
    close = tuple(value + 0.01 * (-1) ** number for number, value in enumerate(PLAIN))
    assert said({"thin": close, "damaged": DAMAGED})["thin"]["equivalent"] is True
    assert said({"thin": close})["thin"]["equivalent"] is None


def test_an_arm_of_which_every_run_failed_has_no_difference_and_stops_no_other() -> None:
    none = (math.nan,) * 5
    found = said({"thin": THIN, "dead": none, "damaged": DAMAGED})
    assert "dead" not in found
    assert found["thin"]["kind"] == "not worse"
    assert verdicts.judge_arms(result({"plain": none, "thin": THIN, "dead": none}), "fid") == {}


def test_a_verdict_says_how_many_values_are_those_of_failed_runs() -> None:
    arms = {"plain": (*PLAIN[:4], math.nan), "thin": (math.nan, *THIN[1:]), "damaged": (*DAMAGED[:4], math.nan)}
    text = verdicts.judge_arms(result(arms), "fid")["thin"]["text"]
    assert "counting 1 failed of thin and 1 of plain as the worst value" in text


def test_failures_are_counted_for_the_arm_that_they_are_of() -> None:
    one, other = ({**dict(enumerate(values)), **failed} for values, failed in (
        (THIN, {3: math.nan, 4: math.nan}), (PLAIN, {0: math.nan}),
    ))  # fmt: skip
    found = find_difference(ArmValues("thin", one), ArmValues("plain", other), 0.3, "lower")
    assert found is not None
    assert "counting 2 failed of thin and 1 of plain as the worst value" in found["text"]


@pytest.mark.parametrize("values", [THIN, DAMAGED, (12.7, 12.6, 12.8, 12.9, 12.6), (12.0, 11.9, 12.2, 12.1, 11.9)])
def test_where_higher_is_better_all_is_as_for_the_same_values_upside_down(values: tuple[float, ...]) -> None:
    def found(sign: int, better: str) -> dict[str, Any]:
        arms = ({seed: sign * value for seed, value in enumerate(arm)} for arm in (values, PLAIN))
        one = find_difference(*(ArmValues(name, arm) for name, arm in zip("ab", arms, strict=True)), 0.3, better)
        assert one is not None
        return one

    lower, higher = found(1, "lower"), found(-1, "higher")
    alike = ("kind", "text", "win_rate", "chance_better", "p", "equivalence_p", "equivalent", "sign_flip_p")
    assert [higher[name] for name in alike] == [lower[name] for name in alike]
    assert higher["mean"] == -lower["mean"]


@pytest.mark.parametrize(("lost", "kind"), [(0.55, "worse within margin"), (0.80, "worse beyond margin")])
def test_a_margin_where_higher_is_better_is_a_share_of_what_may_be_lost(lost: float, kind: str) -> None:
    """Half of the mean may be lost: a factor of 2, not of 1.5."""
    base = (1.0, 4.0, 1.0, 4.0, 2.0)
    thin = {seed: value * math.exp(-lost + 0.01 * (-1) ** seed) for seed, value in enumerate(base)}
    found = find_difference(ArmValues("thin", thin), ArmValues("plain", dict(enumerate(base))), 1.0, "higher")
    assert found is not None
    assert found["skewed"]
    assert f"but {kind} on logarithms" in found["text"]


def test_a_judge_whose_scale_has_no_share_of_the_margin_is_no_crash() -> None:
    below = tuple(value - 12.4 for value in PLAIN)  # KID may fall below 0
    judges = {"plain": judged(tuple(-v - 1 for v in PLAIN)), "thin": judged(below), "damaged": judged(DAMAGED)}
    assert said({"thin": THIN, "damaged": DAMAGED}, **judges)["thin"]["kind"] == "withheld"


def test_better_has_to_survive_the_number_of_arms() -> None:
    """p is 0.037 for each of three arms; Holm makes 0.11 of it."""
    slightly = tuple(value - d for value, d in zip(PLAIN, (0.30, 0.08, 0.25, 0.20, 0.02), strict=True))
    alone = said({"thin": slightly, "damaged": DAMAGED})["thin"]
    assert alone["kind"] == "better"
    among = said({**{f"thin {n}": slightly for n in range(3)}, "damaged": DAMAGED})["thin 0"]
    assert among["p_adjusted"] == pytest.approx(3 * alone["p"])
    assert among["kind"] == "not worse"
    assert "only without Holm's adjustment for 3 arms" in among["text"]


def test_comparison_statistics_sheet_5_8_other_metrics_are_adjusted_together() -> None:
    found: dict[str, Any] = {
        "primary": "fid",
        "differences": {
            "fid": {"a": {"p": 0.5}}, "kid": {"a": {"p": 0.01}, "b": {"p": 0.04}},
            "swd": {"a": {"p": 0.03}, "b": {"p": None}},
        },
    }  # fmt: skip
    verdicts.adjust_secondary(found)
    adjusted = found["differences"]
    three = [adjusted[metric][arm]["p_adjusted"] for metric, arm in (("kid", "a"), ("kid", "b"), ("swd", "a"))]
    assert three == pytest.approx([0.03, 0.06, 0.06])
    assert "p_adjusted" not in adjusted["fid"]["a"]


def test_a_control_that_is_called_better_survives_all_arms_and_costs_them_nothing() -> None:
    slightly = tuple(value - d for value, d in zip(PLAIN, (0.30, 0.08, 0.25, 0.20, 0.02), strict=True))
    arms = {"thin": slightly, "thin control": slightly, "damaged": DAMAGED}
    found = said(arms)
    assert (found["thin"]["kind"], found["thin control"]["kind"]) == ("better", "not worse")
    assert found["thin"]["p_adjusted"] == found["thin"]["p"]
    assert found["thin control"]["p_adjusted"] == pytest.approx(2 * found["thin control"]["p"])


@pytest.mark.parametrize(
    ("control", "kind", "words"),
    [
        (tuple(value + 3 for value in THIN), "beats its control", "beats its control"),
        (THIN, "saves nothing", "its control, the baseline made thinner, is not worse (margin 0.3"),
        (tuple(value - 3 for value in THIN), "saves nothing", "its control, the baseline made thinner, is better"),
        ((12.6, 11.2, 13.1, 11.5, 13.4), "inconclusive", "not shown to beat its control"),
    ],
)
def test_a_frugal_arm_is_set_against_its_control(control: tuple[float, ...], kind: str, words: str) -> None:
    thin = tuple(v + 0.01 * (-1) ** n for n, v in enumerate(THIN))
    found = result({"plain": PLAIN, "thin": thin, "thin control": control, "damaged": DAMAGED})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    (row,) = verdicts.judge_against_controls(found, [{"arm": "thin", "control": "thin control", "match": "macs"}])
    assert row["kind"] == kind
    assert words in row["text"]


@pytest.mark.parametrize(
    ("by", "reached", "kind"),
    [(3, 0.74, "inconclusive"), (3, 0.95, "beats its control"), (3, 1.28, "beats its control"),
     (-3, 1.28, "inconclusive"), (-3, 1.05, "saves nothing"), (-3, 0.74, "saves nothing")],
)  # fmt: skip
def test_what_the_controls_cost_may_explain_is_not_said_of_the_layers(by: int, reached: float, kind: str) -> None:
    thin = tuple(v + 0.01 * (-1) ** n for n, v in enumerate(THIN))
    control = tuple(value + by for value in THIN)
    found = result({"plain": PLAIN, "thin": thin, "thin control": control, "damaged": DAMAGED})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    fact = {"arm": "thin", "control": "thin control", "match": "macs", "wanted": 100.0, "reached": 100 * reached}
    (row,) = verdicts.judge_against_controls(found, [fact])
    assert row["kind"] == kind
    assert ("which may be why" in row["text"]) is (kind == "inconclusive")


def test_beating_its_control_has_to_survive_the_number_of_controls() -> None:
    slightly = tuple(value - d for value, d in zip(PLAIN, (0.30, 0.08, 0.25, 0.20, 0.02), strict=True))
    for count, kind in ((1, "beats its control"), (3, "inconclusive")):
        arms = {name: values for n in range(count) for name, values in
                ((f"thin {n}", slightly), (f"thin {n} control", PLAIN))}  # fmt: skip
        found = result({"plain": PLAIN, **arms, "damaged": DAMAGED})
        found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
        matched = [{"arm": f"thin {n}", "control": f"thin {n} control", "match": "macs"} for n in range(count)]
        assert {row["kind"] for row in verdicts.judge_against_controls(found, matched)} == {kind}


def test_no_control_is_called_not_worse_without_a_damaged_arm_that_was_found_worse() -> None:
    found = result({"plain": PLAIN, "thin": tuple(v + 0.1 for v in PLAIN), "thin control": PLAIN})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    (row,) = verdicts.judge_against_controls(found, [{"arm": "thin", "control": "thin control", "match": "macs"}])
    assert row["difference"]["kind"] == "worse within margin"
    assert row["kind"] == "saves nothing"  # the control is better in every seed, which needs no damaged arm
    thin = tuple(v + 0.01 * (-1) ** n for n, v in enumerate(THIN))
    found = result({"plain": PLAIN, "thin": thin, "thin control": THIN})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    (row,) = verdicts.judge_against_controls(found, [{"arm": "thin", "control": "thin control", "match": "macs"}])
    assert row["kind"] == "inconclusive"
    assert "no damaged arm shows" in row["text"]


def test_an_arm_that_costs_no_less_has_the_baseline_for_its_control() -> None:
    found = result({"plain": PLAIN, "thin": tuple(v + 0.1 for v in PLAIN), "damaged": DAMAGED})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    (row,) = verdicts.judge_against_controls(found, [{"arm": "thin", "control": "plain", "match": "latency"}])
    assert row["kind"] == "saves nothing"
    assert "the baseline, which costs no more (latency)," in row["text"]


def test_a_control_that_costs_otherwise_says_so() -> None:
    found = result({"plain": PLAIN, "thin": tuple(v + 0.1 for v in PLAIN), "thin control": PLAIN, "damaged": DAMAGED})
    found["differences"] = {"fid": verdicts.judge_arms(found, "fid")}
    for reached, told in ((0.889, "; the control costs 11% less (macs)"), (1.05, "5% more"), (1.01, None)):
        fact = {"arm": "thin", "control": "thin control", "match": "macs", "wanted": 9.5, "reached": 9.5 * reached}
        (row,) = verdicts.judge_against_controls(found, [fact])
        assert told in row["text"] if told else "control costs" not in row["text"]


def test_comparison_statistics_sheet_4_fronts_of_a_comparison() -> None:
    """Parameters 1, 2, 3 and MACs 10, 9, 8 in the order of the arms."""
    found = result({"plain": PLAIN, "thin": THIN, "damaged": DAMAGED})
    parameters, macs = fronts.find_fronts(found)
    assert parameters["places"] == {"plain": "front", "thin": "front", "damaged": "dominated"}
    assert macs["places"] == {"plain": "undecided", "thin": "front", "damaged": "front"}
    assert parameters["reference"][0] == pytest.approx(3.3)
    assert parameters["hypervolume"] > 0


def test_no_arm_is_surely_dominated_by_few_seeds_or_by_one_judge_of_two() -> None:
    few = result({"plain": PLAIN[:4], "thin": THIN[:4], "damaged": DAMAGED[:4]})
    assert fronts.find_fronts(few)[0]["places"]["damaged"] == "undecided"
    arms = {"plain": PLAIN, "thin": THIN, "damaged": DAMAGED}
    agree = result(arms, **{name: judged(values) for name, values in arms.items()})
    assert fronts.find_fronts(agree)[0]["places"]["damaged"] == "dominated"
    apart = result(arms, **{name: judged(PLAIN) for name in arms})
    assert fronts.find_fronts(apart)[0]["places"]["damaged"] == "undecided"


def test_multiply_accumulates_that_are_not_believed_have_no_place_on_their_front() -> None:
    found = result({"plain": PLAIN, "thin": THIN, "damaged": DAMAGED})
    found["arms"][1]["generator"] |= {"macs_attention": 4, "doubts": []}
    found["arms"][2]["generator"]["doubts"] = ["a convolution outside of a layer"]
    parameters, macs = fronts.find_fronts(found)
    assert parameters["places"].keys() == {"plain", "thin", "damaged"}
    assert macs["costs"] == {"plain": 10.0, "thin": 13.0}
    assert macs["places"] == {"plain": "front", "thin": "front"}
    found["arms"][1]["generator"]["doubts"] = ["another"]
    assert [front["cost"] for front in fronts.find_fronts(found)] == ["parameters"]


def test_the_mean_of_survivors_puts_no_arm_on_the_front_and_unlike_networks_no_arm_in_it() -> None:
    """Three cheap runs failed; the two that did not are the best of all."""
    lucky = (11.9, 11.9, math.nan, math.nan, math.nan)
    found = result({"cheap": lucky, "plain": PLAIN, "thin": THIN})
    assert fronts.find_fronts(found)[1]["places"]["cheap"] == "undecided"  # the most MACs, and with its failures worse
    found["arms"][2]["apart"] = ["precision: cost with bfloat16, quality with float32"]
    assert list(fronts.find_fronts(found)[0]["places"]) == ["cheap", "plain"]


def test_comparison_statistics_sheet_3_a_variant_with_itself_is_called_different_in_five_of_a_hundred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 comparisons of seeds of one distribution, through the verdicts themselves."""
    for slow in ("bootstrap_interval", "welch"):  # and only shown
        monkeypatch.setattr(verdicts.intervals, slow, lambda *values: None)
    source = random.Random(1)
    claimed = 0
    for _ in range(2000):
        one, other = (dict(enumerate(source.gauss(20, 1) for _ in range(5))) for _ in range(2))
        found = find_difference(ArmValues("a", one), ArmValues("b", other), 100.0, "lower")
        assert found is not None
        claimed += found["kind"] in ("better", "worse within margin")
    assert claimed / 2000 == pytest.approx(0.05, abs=0.015)  # three standard errors
