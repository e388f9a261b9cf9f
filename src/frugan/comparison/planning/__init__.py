"""Planning: make arms and settings of the arguments, check them, and save them as the plan of the comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugan import evaluation, intervals
from frugan.arguments import names_in
from frugan.comparison.planning.arms import DAMAGED, Arm, damage, gather
from frugan.recipe import Recipe, parse_count
from frugan.registry import UserError, suggest

if TYPE_CHECKING:
    from frugan.comparison.planning.arguments import ComparisonArguments

PILOTS = (1000, 1001, 1002)
"""The pilots' seeds unless others are given."""

TUNING = (2000,)
"""The seeds of the trials that tune the arms, unless others are given."""


@dataclass(frozen=True)
class Design:
    """What is compared, and what is the same for all arms.

    Attributes:
        arms: the baseline first.
        settings: all other entries of the plan, by name, ready for JSON.
        notes: lines to print before the comparison begins.
    """

    arms: tuple[Arm, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def gives_verdicts(self) -> bool:
        """Whether there are enough seeds for verdicts. With fewer there are only directions."""
        return len(self.settings["seeds"]) >= intervals.SEEDS_FOR_A_VERDICT

    @property
    def evaluation(self) -> dict[str, Any]:
        """How every run is evaluated, as arguments of `frugan.evaluate`."""
        named = {key: self.settings[key] for key in ("metrics", "view", "count", "reference")}
        return {**named, "allow_few": self.settings["allow_few"] or ()}

    @property
    def folder(self) -> Path:
        """The comparison's folder if the user names none."""
        return Path("runs") / "-".join(["compare", *(arm.folder for arm in self.arms)])


def make_design(asked: ComparisonArguments) -> Design:
    """Turn the arguments into arms, the baseline first, and settings. With enough seeds, a damaged arm is added.

    Raises UserError for impossible arms, seeds, margins or trials.
    """
    listed = [asked.arms] if isinstance(asked.arms, (str, Recipe, Arm)) else list(asked.arms)
    common = {key: getattr(asked, key) for key in ("data", "images", "rounds", "batch_size", "precision")}
    arms = gather(listed, names_in(asked.families), common, asked.changes or {})
    seeds, baseline = _accept_seeds(asked.seeds, "--seeds 0-4"), _find_baseline(arms, asked.baseline)
    pilots = _choose_pilots(asked, seeds)
    arms.sort(key=lambda arm: arm.name != baseline)
    metrics = None if asked.metrics is None else list(names_in(asked.metrics))
    settings: dict[str, Any] = {
        "baseline": baseline, "seeds": seeds, "metrics": metrics,
        "primary": metrics[0] if metrics else evaluation.PRIMARY, "view": asked.view,
        "count": _number("--count", asked.count), "reference": asked.reference,
        "allow_few": list(names_in(asked.allow_few)) or None, "margin": asked.margin,
        "pilot_seeds": pilots, "match": asked.match,
        "equal": None if asked.equal == "images" else asked.equal, **_choose_trials(asked, [*seeds, *pilots]),
    }  # fmt: skip
    notes = []
    if len(seeds) >= intervals.SEEDS_FOR_A_VERDICT:
        if not any(arm.is_damaged for arm in arms) and not asked.no_damaged:
            arms.append(damage(arms[0]))
            notes.append(
                f"Added the arm '{arms[-1].name}', made worse on purpose. If the comparison does not find it worse, it "
                "cannot show that other arms are not worse."
            )
        elif not any(arm.is_damaged for arm in arms):
            notes.append(f"There is no {DAMAGED} arm, so no arm can be called not worse.")
        if asked.margin is None and not settings["pilot_seeds"]:
            notes.append(
                "Without pilots, the margin is the metric's convention, computed from the baseline's own runs in the "
                "test."
            )
    return Design(tuple(arms), settings, tuple(notes))


def _accept_seeds(seeds: Iterable[int], such_as: str) -> list[int]:
    listed = list(seeds)
    if not listed or len(set(listed)) < len(listed) or any(not isinstance(seed, int) or seed < 0 for seed in listed):
        what = such_as.partition(" ")[0].removeprefix("--").replace("-", " ")
        raise UserError(f"The {what} are {listed}. Give whole numbers from 0, none of them twice, e.g. {such_as}.")
    return listed


def _choose_pilots(asked: ComparisonArguments, seeds: Sequence[int]) -> list[int]:
    """The seeds of the pilots; none where the margin is given or no verdict is possible."""
    margin = asked.margin
    if margin is not None and not (margin > 0 and math.isfinite(margin)):
        raise UserError(f"The margin is {margin:g}; it must be above 0, in the unit of the first metric.")
    given = None if asked.pilot_seeds is None else list(asked.pilot_seeds)
    if margin is not None and given:
        raise UserError(
            f"Pilots measure the margin, but --margin {margin:g} already gives it. Leave out --pilot-seeds or --margin."
        )
    if margin is not None or len(seeds) < intervals.SEEDS_FOR_A_VERDICT:
        return []
    pilots = list(PILOTS) if given is None else given
    if pilots:
        _accept_seeds(pilots, "--pilot-seeds 1000-1002")
    inside = sorted(set(pilots) & set(seeds))
    if inside:
        raise UserError(
            f"The seed {inside[0]} is in --seeds and in --pilot-seeds. Pilots need other seeds than the test, e.g. "
            "--pilot-seeds 1000-1002."
        )
    return pilots


def _choose_trials(asked: ComparisonArguments, others: Sequence[int]) -> dict[str, Any]:
    """How many trials tune each arm, how long they are and with which seeds; `others` are those of test and pilots."""
    count, images = asked.tune, _number("--tune-images", asked.tune_images)
    given = None if asked.tune_seeds is None else list(asked.tune_seeds)
    if count is None:
        alone = "--tune-images" if images is not None else "--tune-seeds" if given is not None else None
        if alone is not None:
            raise UserError(f"{alone} only works together with --tune. Add e.g. --tune 8, or leave {alone} out.")
        return {"tune": None, "tune_images": None, "tune_seeds": None}
    if count < 1:
        raise UserError(f"--tune {count}: give 1 or more trials, e.g. --tune 8. To tune nothing, leave --tune out.")
    seeds = _accept_seeds(TUNING if given is None else given, "--tune-seeds 2000")
    inside = sorted(set(seeds) & set(others))
    if inside:
        raise UserError(
            f"The seed {inside[0]} is in --tune-seeds, and also in --seeds or --pilot-seeds. Trials need other seeds, "
            "e.g. --tune-seeds 2000."
        )
    return {"tune": count, "tune_images": images, "tune_seeds": seeds}


def _find_baseline(arms: Sequence[Arm], baseline: str | None) -> str:
    names = [arm.name for arm in arms]
    if baseline is not None and baseline not in names:
        raise UserError(f"--baseline {baseline}: no arm has this name. {suggest(baseline, names)}")
    return baseline or names[0]


def _number(option: str, count: int | str | None) -> int | None:
    try:
        return None if count is None else parse_count(count)
    except UserError as error:
        raise UserError(f"{option} {count}: {error}") from None
