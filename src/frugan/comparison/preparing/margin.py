"""The margin: how much worse still counts as not worse. Pilots measure it before any arm is judged.

Pilots are runs of the baseline with other seeds than the test. The margin is the largest of three numbers: what a tenth
less training costs the baseline, the metric's own convention, and twice the noise of evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frugan import evaluation, metrics
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.looks import find_value, may_stop
from frugan.comparison.running.workshop import Workshop
from frugan.registry import UserError

PILOT_SHARE = 0.9
"""Pilots are also measured once on the way, after this share of their training."""


def find_margin(baseline: Arm, seeds: Sequence[int], workshop: Workshop) -> dict[str, Any]:
    """Train the pilots, measure them, and choose the margin: ``{"margin", "margin_rule", "pilots"}``.

    Pilots that failed or did not train are left out; ``"pilots"`` says why. Raises UserError if none is left.
    """
    pilots = {
        seed: workshop.make_job(baseline, f"pilots/seed-{seed}", seed, title=f"pilot {baseline.name}") for seed in seeds
    }
    budget, before = baseline.recipe.images, int(PILOT_SHARE * baseline.recipe.images)
    shares = (PILOT_SHARE,) if may_stop([baseline]) else ()
    workshop.train(list(pilots.values()), shares=shares, values=[{}])
    failed = {seed: why for seed, job in pilots.items() if (why := job.why_failed()) is not None}
    untrained = {
        seed: why for seed, job in pilots.items() if seed not in failed and (why := job.why_untrained()) is not None
    }
    good = {seed: job for seed, job in pilots.items() if seed not in failed | untrained}
    if not good and untrained:
        raise UserError(
            f"All pilot runs of the baseline '{baseline.name}' ended untrained, so there is nothing to compare with: "
            f"{next(iter(untrained.values()))} The plan of this comparison cannot change any more. Begin a new "
            "comparison with another --out."
        )
    if not good:
        why = next(iter(failed.values()))
        raise UserError(f"Every pilot run of '{baseline.name}' failed: {why}. Fix that and add --retry-failed.")
    finals = {seed: workshop.evaluate(job.folder)[0] for seed, job in good.items()}
    primary = next(iter(finals.values()))
    workshop.say("Measuring the noise of evaluation on a pilot run.")
    noise = workshop.find_noise(next(iter(good.values())).folder, primary["metric"])
    full = {seed: float(value["values"][value["headline"]]) for seed, value in finals.items()}
    passed = {seed: find_value(pilots[seed], before, budget, value) for seed, value in finals.items()}
    short = {seed: value["number"] for seed, value in passed.items() if value is not None}
    return {
        **choose_margin(primary, short, full, noise.sd),
        "pilots": {
            "metric": primary["metric"], "protocol": evaluation.shared(primary["protocol"]),
            "seeds": list(seeds), "values": {str(seed): value for seed, value in full.items()},
            "values_before": {str(seed): value for seed, value in short.items()}, "share_before": PILOT_SHARE,
            "evaluation_sd": noise.sd, "evaluations": list(noise.values),
            "failed": {str(seed): why for seed, why in failed.items()},
            "untrained": {str(seed): why for seed, why in untrained.items()},
        },
    }  # fmt: skip


def choose_margin(
    primary: Mapping[str, Any], short: Mapping[int, float], full: Mapping[int, float], evaluation_sd: float
) -> dict[str, Any]:
    """Choose the largest of the numbers that may be the margin, and say in words how.

    Args:
        primary: a value of the primary metric; its name, its view and its better direction are used.
        short: pilot seed -> value after nine tenths of the training.
        full: pilot seed -> value at the end.
        evaluation_sd: standard deviation of repeated evaluations of one checkpoint.
    """
    sign = 1 if primary["better"] == "lower" else -1
    both = [seed for seed in full if seed in short]
    mean = sum(full.values()) / len(full)
    candidates = []
    if both:
        lost = sum(sign * (short[seed] - full[seed]) for seed in both) / len(both)
        candidates.append((lost, "what a tenth less training costs the baseline"))
    rule = metrics.find(primary["metric"]).margin
    if rule is not None:
        least = rule(mean, primary["protocol"]["view"])
        candidates.append((least, f"the convention of {primary['metric']}"))
    candidates.append((2 * evaluation_sd, "twice the deviation of repeated evaluations"))
    largest = max(number for number, _ in candidates)
    listed = "; ".join(f"{number:.3g} {words}" for number, words in candidates)
    if largest <= 0:
        return {"margin": None, "margin_rule": f"none: {listed}"}
    return {
        "margin": float(f"{largest:.3g}"),
        "margin_rule": f"the largest of: {listed} (pilot seeds {', '.join(map(str, full))}, before the test)",
    }


def check_margin(fixed: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Check that pilots and test were measured in the same way. Raises UserError if not.

    Args:
        fixed: what was measured before the test.
        measured: values of the test by metric, the primary one first.
    """
    pilots, primary = fixed.get("pilots", {}), next(iter(measured))
    if "protocol" not in pilots:
        return
    apart = evaluation.unequal([pilots["protocol"], measured[primary]["protocol"]])
    if pilots["metric"] != primary:
        apart = [f"metric: {pilots['metric']} | {primary}", *apart]
    if apart:
        raise UserError(
            f"The pilots, which gave the margin, were measured differently from the test: {'; '.join(apart)}. Begin a "
            "new comparison with another --out."
        )
